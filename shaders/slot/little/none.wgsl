// No little operand is there, and no binding.
fn slot_word(i: u32) -> u32 {
    return 0u;
}
