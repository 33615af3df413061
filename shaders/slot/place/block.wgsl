// A scale serves a block of ROWS rows and COLS columns.
#const slot_ROWS = 1u
#const slot_COLS = 32u
fn slot_of(at: weight_At, n: u32, k: u32) -> u32 {
    return (n - at.row0) / slot_ROWS * at.scales_row + k / slot_COLS;
}
