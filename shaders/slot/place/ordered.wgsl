// A list says which scale of the row serves a column.
fn slot_of(at: weight_At, n: u32, k: u32) -> u32 {
    return (n - at.row0) * at.scales_row + outer_word(at.order + k);
}
