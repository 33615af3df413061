// What makes a norm as long as it should be: length / norm, and 0 of a norm of 0.
// a = mean, b = squares about it, c = length; number 0 is the count.
fn slot_of(i: u32) -> vec2<f32> {
    let mean = factors_a(i);
    let norm = sqrt(factors_b(i) + factors_number(0u) * mean * mean);
    return vec2<f32>(factors_over(factors_c(i), norm), 0.0);
}
