// E2M1 with an E4M3 scale for 16 numbers, that nearest to max|v| / 6 and at most 448: the float nearest to v / scale by the scale as stored.
// Halves go to the even code, and a zero has the sign of the quotient, if that is not 0 in f32; or they go to the lower code, and a zero has none.
// A device's quotient is off by 2.5 ulp, which moves a code only next to a tie: where 4 ulp to either side do not have the same code,
// numbers are divided again, by integers.
#import block
#import small
#const slot_EVEN = false
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return block_magnitudes(v);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let byte = block_e4m3_of(vec4<f32>(bitcast<f32>(exact_quotient(range.x, 0x40c00000u)))).x;
    let scale = small_e4m3(vec4<u32>(byte)).x;
    // What is as small as half a step of 2^-149 has a quotient of 0.
    return block_Grid(byte, u32(scale * 0.5), block_Factor(0, scale));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    if (grid.factor.times == 0.0) { return vec4<u32>(); }
    let x = bitcast<vec4<u32>>(abs(v / grid.factor.times));
    let four = vec4<u32>(4u);
    var code = block_e2m1(max(x, four) - four, slot_EVEN);
    if (any(code != block_e2m1(x + four, slot_EVEN))) {
        code = block_e2m1(bitcast<vec4<u32>>(abs(block_quotient4(v, grid.factor.times))), slot_EVEN);
    }
    let negative = bitcast<vec4<i32>>(v) < vec4<i32>();
    let signed = select(code > vec4<u32>(), (bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu)) > vec4<u32>(grid.beside), slot_EVEN);
    return code | select(vec4<u32>(), vec4<u32>(8u), signed & negative);
}
