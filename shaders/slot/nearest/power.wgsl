// Small floats with a power of two: e = ⌊log2 max|v|⌋ + 127 − DOWN, not below 0, and the float nearest to v / 2^(e − 127). A power of two divides
// exactly. With DOWN = 2 floats of 4 bits, E2M1: halves to the even code, and a zero has the sign of the quotient, if that is not 0 in f32; or
// halves to the lower code, and a zero has no sign. With DOWN = 8 floats of 8 bits, E4M3.
#import block
#const slot_DOWN = 2u
#const slot_EVEN = false
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>(block_magnitude(v), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let exponent = max(range.x >> 23u, slot_DOWN) - slot_DOWN;
    // What is as small as 2^(e − 277) has a quotient of 0.
    var least = select(0u, 1u << (max(exponent, 128u) - 128u), exponent >= 128u);
    if (exponent > 150u) { least = (exponent - 150u) << 23u; }
    return block_Grid(exponent, least, block_Factor(127 - i32(exponent), 1.0));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let x = exact_scaled4(v, grid.factor.by);
    if (slot_DOWN == 8u) { return block_e4m3_of(x); }
    let code = block_e2m1(bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu), slot_EVEN);
    let negative = bitcast<vec4<i32>>(v) < vec4<i32>();
    let signed = select(code > vec4<u32>(), (bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu)) > vec4<u32>(grid.beside), slot_EVEN);
    return code | select(vec4<u32>(), vec4<u32>(8u), signed & negative);
}
