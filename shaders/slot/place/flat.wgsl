// A scale serves SIZE numbers of the flat matrix, which may run on over the end of a row.
#const slot_SIZE = 64u
fn slot_of(at: weight_At, n: u32, k: u32) -> u32 {
    return (n * at.k + k) / slot_SIZE;
}
