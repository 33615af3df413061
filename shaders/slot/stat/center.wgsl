// Layer norm: 1 / sqrt(variance + eps), of the deviations from the mean; the variance is the biased one.
const slot_CENTER = true; // subtract the mean?

// What a row is multiplied by, from the sum and the sum of squares of its `count` numbers.
fn slot_factor(squares: f32, sum: f32, count: f32, eps: f32) -> f32 {
    return inverseSqrt(squares / count + eps);
}
