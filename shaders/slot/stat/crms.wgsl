// RMS norm of a row of count + 1 numbers that sum to zero, of which the last is not stored.
const slot_CENTER = false; // subtract the mean?

// What a row is multiplied by, from the sum and the sum of squares of its `count` numbers.
fn slot_factor(squares: f32, sum: f32, count: f32, eps: f32) -> f32 {
    return inverseSqrt((squares + sum * sum) / (count + 1.0) + eps);
}
