// level·2^(e − 127), bit for bit, by its bits: the power may be a number that f32 has not, and the product a subnormal that a device would flush.
fn slot_make(at: weight_At, level: vec4<f32>, e: vec4<f32>, zero: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(level);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let exponent = vec4<i32>(magnitude >> vec4<u32>(23u)) + vec4<i32>(e) - vec4<i32>(127);
    let normal = (magnitude & vec4<u32>(0x7fffffu)) | (vec4<u32>(exponent) << vec4<u32>(23u));
    let shift = vec4<u32>(clamp(vec4<i32>(1) - exponent, vec4<i32>(0), vec4<i32>(31)));
    let small = ((magnitude & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u)) >> shift;
    var out = select(normal, small, exponent < vec4<i32>(1));
    out = select(out, vec4<u32>(0x7f800000u), exponent > vec4<i32>(254)); // past the largest number
    out = select(out, magnitude, (magnitude == vec4<u32>()) | (magnitude >= vec4<u32>(0x7f800000u))); // zero, NaN
    return bitcast<vec4<f32>>(out | (bits & vec4<u32>(0x80000000u)));
}

// A power may be a number that f32 has not: each number by itself.
const slot_SUMS = false;
fn slot_term(level: vec4<f32>, zero: f32) -> vec4<f32> {
    return level;
}

fn slot_end(sum: f32, ones: f32, e: f32, zero: f32) -> f32 {
    return sum;
}
