// c / a, and 0 where a is 0.
fn slot_of(i: u32) -> vec2<f32> {
    return vec2<f32>(factors_over(factors_c(i), factors_a(i)), 0.0);
}
