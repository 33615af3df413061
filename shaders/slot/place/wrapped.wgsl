// A scale serves every COLS-th number of the flat matrix.
#const slot_COLS = 64u
fn slot_of(at: weight_At, n: u32, k: u32) -> u32 {
    return (n * at.k + k) % slot_COLS;
}
