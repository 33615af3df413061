// What the kernels of quantize_rows share: params, operands, and the way from a row's extent to its codes.
//
//   symmetric:      scale = max(max|x|, floor) / high,              q = clamp(round(x / scale), low, high)
//   not symmetric:  scale = (hi − lo) / high, zero = −lo / scale,   q = clamp(round(x / scale) + round(zero), 0, high)
//
// with lo = min(0, min x) and hi = max(0, max x). A row's extent is (−lo, hi), or where symmetric (0, max|x|): with the floor in
// its second part, the scale is one formula for both.
#const SYMMETRIC = true
#import code
#import guarded

struct quantize_Params {
    fold: u32,    // the grid's x, to which long grids are folded
    rows: u32,    // rows of this dispatch
    len: u32,     // numbers in a row
    x0: u32,      // where each operand begins in its binding, in elements
    q0: u32,
    scale0: u32,
    zero0: u32,
    floor: f32,   // symmetric: no largest magnitude is taken smaller; else 0
    low: f32,     // the least code
    high: f32,    // the greatest
}

@group(0) @binding(0) var<uniform> quantize_params: quantize_Params;
#slot x @binding(1)     // [rows, len]
#slot q @binding(2)     // [rows, len]
@group(0) @binding(3) var<storage, read_write> quantize_scales: array<f32>; // [rows]
#slot zero @binding(4)  // [rows]

// How many of the four numbers from i on are in the row.
fn quantize_within(i: u32) -> u32 {
    return min(quantize_params.len - i, 4u);
}

// Where to load what stands at i or later: the last four numbers stand for all that is past them, and change no extent.
fn quantize_inside(i: u32) -> u32 {
    return min(i, (quantize_params.len - 1u) & ~3u);
}

// Four numbers of x from i on, of which the first n are real.
fn quantize_x4(row: u32, i: u32, n: u32) -> vec4<f32> {
    return x_load4(quantize_params.x0 + row * quantize_params.len + i, n);
}

// The extent of the first n of four numbers, as bits that order like magnitudes. A NaN is in both parts, above all.
fn quantize_extent(v: vec4<f32>, n: u32) -> vec2<u32> {
    if (SYMMETRIC) { return vec2<u32>(0u, code_magnitude(v, n)); }
    return vec2<u32>(code_magnitude(guarded_positive4(-v), n), code_magnitude(guarded_positive4(v), n));
}

// The scale of a row: 1 where its extent is so small that the scale, or what it is made of, might be subnormal, which some
// devices flush: below 2^-100. (An extent above f32 is left to the caller: adding halves was tried, and lavapipe's compiler
// takes the half out of the sum again.)
fn quantize_scale(extent: vec2<u32>) -> f32 {
    let above = max(extent.y, bitcast<u32>(quantize_params.floor));
    let whole = bitcast<f32>(extent.x) + bitcast<f32>(above);
    return select(whole / quantize_params.high, 1.0, whole < 7.888609052210118e-31);
}

// The code that stands for 0.
fn quantize_zero(extent: vec2<u32>, scale: f32) -> f32 {
    return min(round(bitcast<f32>(extent.x) / scale), quantize_params.high);
}

// Stores what is one number a row.
fn quantize_keep(row: u32, scale: f32, zero: f32) {
    quantize_scales[quantize_params.scale0 + row] = scale;
    zero_store1(quantize_params.zero0 + row, zero);
}

// Stores the codes of four numbers from i on, of which the first n are real.
fn quantize_store4(row: u32, i: u32, v: vec4<f32>, n: u32, scale: f32, zero: f32) {
    let codes = code_round4(v, scale, zero, quantize_params.low, quantize_params.high);
    q_store4(quantize_params.q0 + row * quantize_params.len + i, codes, n);
}
