// Codes of 2 bits: two words hold 32.
fn slot_store32(at: weight_At, row: u32, block: u32, quads: array<u32, 8>) {
    let q = quads;
    let first = at.codes + (row * at.blocks + block) * 2u;
    outer_put(first, q[0] | (q[1] << 2u) | (q[2] << 4u) | (q[3] << 6u));
    outer_put(first + 1u, q[4] | (q[5] << 2u) | (q[6] << 4u) | (q[7] << 6u));
}
