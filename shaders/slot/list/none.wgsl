// The list is not wanted.
fn slot_put(i: u32, word: u32) {
}
