// A limit of magnitudes: their mean and number 1 times their deviation, which is unbiased.
// a = mean, b = squares about it, c = mean magnitude; number 0 is the count.
fn slot_of(i: u32) -> vec2<f32> {
    let mean = factors_a(i);
    let magnitude = factors_c(i);
    let count = factors_number(0u);
    // The squares about the mean magnitude. Where all numbers have one magnitude nothing is left but rounding.
    let squares = max(factors_b(i) + count * (mean - magnitude) * (mean + magnitude), 0.0);
    return vec2<f32>(magnitude + factors_number(1u) * sqrt(squares / max(count - 1.0, 1.0)), 0.0);
}
