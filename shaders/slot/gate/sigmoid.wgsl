// 1 / (1 + exp(−r)). Beyond 87 exp would leave f32.
fn slot_of(r: f32) -> f32 {
    return 1.0 / (1.0 + exp(-clamp(r, -87.0, 87.0)));
}
