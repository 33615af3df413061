// The statistics are not wanted.
fn slot_store(row: u32, mean: f32, factor: f32) {
}
