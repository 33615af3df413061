// No flags are given: all say yes.
fn slot_on(i: u32) -> bool {
    return true;
}
