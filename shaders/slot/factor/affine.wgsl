// A norm with kept statistics as x·scale + shift: weight / sqrt(variance + eps), and bias − mean · scale.
// a = variance, b = mean, c = weight, d = bias; number 0 is eps.
fn slot_of(i: u32) -> vec2<f32> {
    let scale = factors_c(i) / sqrt(factors_a(i) + factors_number(0u));
    return vec2<f32>(scale, factors_d(i) - factors_b(i) * scale);
}
