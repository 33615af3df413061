// The score itself.
fn slot_of(r: f32) -> f32 {
    return r;
}
