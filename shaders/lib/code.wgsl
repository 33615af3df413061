// Codes: whole numbers that stand for the numbers of a row, which has one scale.

// The largest magnitude among the first n, as bits: they order like the numbers, and a NaN is above all.
fn code_magnitude(v: vec4<f32>, n: u32) -> u32 {
    let bits = bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu);
    let real = select(vec4<u32>(), bits, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n));
    return max(max(real.x, real.y), max(real.z, real.w));
}

// Four codes: the whole numbers nearest to v / scale, ties to even, moved by `zero`.
fn code_round4(v: vec4<f32>, scale: f32, zero: f32, low: f32, high: f32) -> vec4<f32> {
    return clamp(round(v / scale) + zero, vec4<f32>(low), vec4<f32>(high));
}
