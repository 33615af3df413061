// Floats of 8 bits.

// Sign, 4 of exponent, 3 of mantissa; 0x7f and 0xff are NaN.
fn small_e4m3(byte: vec4<u32>) -> vec4<f32> {
    let low = byte & vec4<u32>(0x7fu);
    let normal = (low << vec4<u32>(20u)) + vec4<u32>(0x3c000000u);
    // A subnormal is a multiple of 2^-9, which is the last place of 2^14.
    let small = bitcast<vec4<f32>>(low | vec4<u32>(0x46800000u)) - vec4<f32>(16384.0);
    var bits = select(normal, bitcast<vec4<u32>>(small), low < vec4<u32>(8u));
    bits = select(bits, vec4<u32>(0x7fc00000u), low == vec4<u32>(0x7fu));
    return bitcast<vec4<f32>>(bits | ((byte & vec4<u32>(0x80u)) << vec4<u32>(24u)));
}
