// The norm of what has this mean, and these squares about it: sqrt(squares + count · mean²).
// a = mean, b = squares; number 0 is the count.
fn slot_of(i: u32) -> vec2<f32> {
    let mean = factors_a(i);
    return vec2<f32>(sqrt(factors_b(i) + factors_number(0u) * mean * mean), 0.0);
}
