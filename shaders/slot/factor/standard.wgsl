// What makes a deviation 1, and the mean: gain · factor / (sqrt(max(squares / divisor + inside, least)) + outside).
// a = mean, b = squares about it, c = gain; numbers: divisor, inside, least, outside, factor.
fn slot_of(i: u32) -> vec2<f32> {
    let variance = factors_b(i) / factors_number(0u) + factors_number(1u);
    let deviation = sqrt(max(variance, factors_number(2u))) + factors_number(3u);
    return vec2<f32>(factors_over(factors_c(i) * factors_number(4u), deviation), factors_a(i));
}
