// L2 norm: 1 / max(norm, eps).
#import guarded
const slot_CENTER = false; // subtract the mean?

// What a row is multiplied by, from the sum and the sum of squares of its `count` numbers.
fn slot_factor(squares: f32, sum: f32, count: f32, eps: f32) -> f32 {
    return guarded_inverse(sqrt(squares), eps);
}
