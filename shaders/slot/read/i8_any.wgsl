// Reads int8 codes at any alignment: two loads for four.
#import whole
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 4]

fn slot_load1(i: u32) -> f32 {
    return f32(bitcast<i32>(slot_data[i >> 2u] << (24u - (i & 3u) * 8u)) >> 24u);
}

// The first n of four codes from i on, side by side, then zeros; n is at least 1.
fn slot_quad(i: u32, n: u32) -> u32 {
    let shift = (i & 3u) * 8u;
    let low = slot_data[i >> 2u] >> shift;
    let last = (i + n - 1u) >> 2u;
    let high = slot_data[last] << ((32u - shift) & 31u);
    let quad = select(low, low | high, shift > 0u && last > (i >> 2u));
    return quad & (0xffffffffu >> ((4u - n) * 8u));
}

// The same for who takes other numbers too.
alias slot_Quad = u32;

fn slot_fetch4(i: u32, n: u32) -> slot_Quad {
    return slot_quad(i, n);
}

fn slot_decode4(quad: slot_Quad) -> vec4<f32> {
    return whole_signed_bytes(quad);
}

fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    return slot_decode4(slot_fetch4(i, n));
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return v;
}
