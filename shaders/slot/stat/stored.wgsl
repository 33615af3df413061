// No statistics of the row: they are stored with the model, and divide the weight (slot phi).
const slot_CENTER = false; // subtract the mean?

// What a row is multiplied by, from the sum and the sum of squares of its `count` numbers.
fn slot_factor(squares: f32, sum: f32, count: f32, eps: f32) -> f32 {
    return 1.0;
}
