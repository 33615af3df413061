// max(a, number 1) to the power of number 0, and its reciprocal. a = mean magnitude.
fn slot_of(i: u32) -> vec2<f32> {
    let power = factors_number(0u) * log2(max(factors_a(i), factors_number(1u)));
    return vec2<f32>(exp2(power), exp2(-power));
}
