// The output is stored as it is.
const slot_ON = false;

fn slot_store(row: u32, scale: f32) {
}
