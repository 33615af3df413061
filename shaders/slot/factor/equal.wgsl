// What makes the ranges of a channel alike before and after it: sqrt(b / a) and sqrt(a / b); 1 where either is no more than number 0.
// a = range before, b = range after.
fn slot_of(i: u32) -> vec2<f32> {
    let before = factors_a(i);
    let after = factors_b(i);
    let least = factors_number(0u);
    let some = before > least && after > least;
    let roots = vec2<f32>(sqrt(select(1.0, after, some)), sqrt(select(1.0, before, some)));
    return roots / roots.yx;
}
