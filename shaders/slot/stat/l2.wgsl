// L2 norm: 1 / max(norm, eps).
const slot_CENTER = false; // subtract the mean?

// What a row is multiplied by, from the sum and the sum of squares of its `count` numbers.
fn slot_factor(squares: f32, sum: f32, count: f32, eps: f32) -> f32 {
    let norm = sqrt(squares);
    return 1.0 / select(norm, eps, norm < eps); // max() may swallow a NaN; a comparison does not
}
