// Choices that keep a NaN. A comparison of floats does not always: NVIDIA's compiler makes a maximum of `select(v, 0, v < 0)`, and its
// maximum of NaN and a number is the number. Comparisons of bits stay what they are.

// 1 / max(norm, eps) for two numbers of at least 0, which order like their bits; a NaN is above all.
fn guarded_inverse(norm: f32, eps: f32) -> f32 {
    return 1.0 / select(norm, eps, bitcast<u32>(norm) < bitcast<u32>(eps));
}

// exp(v − largest), a share before it is divided by their sum. Below −87 it would leave f32; what is NaN stays so, and that an infinity is of itself.
fn guarded_share(v: f32, largest: f32) -> f32 {
    let below = v - largest;
    let is_nan = (bitcast<u32>(below) & 0x7fffffffu) > 0x7f800000u;
    return select(exp(max(below, -87.0)), below, is_nan);
}

// max(v, 0).
fn guarded_positive(v: f32) -> f32 {
    return guarded_positive4(vec4<f32>(v)).x;
}

fn guarded_positive4(v: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(v);
    // From −0 to −infinity; beyond are NaNs with a sign.
    return select(v, vec4<f32>(), (bits >= vec4<u32>(0x80000000u)) & (bits <= vec4<u32>(0xff800000u)));
}
