// A code is a float of 4 bits: sign, 2 of exponent, 1 of mantissa. By its bits, without a load.
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    let q = vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u);
    let m = q & vec4<u32>(7u);
    let normal = (m << vec4<u32>(22u)) + vec4<u32>(0x3f000000u);
    // 0 and 0.5 have no leading one.
    let bits = select(normal, bitcast<vec4<u32>>(vec4<f32>(m) * 0.5), m < vec4<u32>(2u));
    return bitcast<vec4<f32>>(bits | ((q & vec4<u32>(8u)) << vec4<u32>(28u)));
}
