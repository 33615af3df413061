// Codes of 4 bits: four words hold 32.
fn slot_store32(at: weight_At, row: u32, block: u32, quads: array<u32, 8>) {
    var q = quads;
    let first = at.codes + (row * at.blocks + block) * 4u;
    #unroll
    for (var i = 0u; i < 4u; i++) { outer_put(first + i, q[2u * i] | (q[2u * i + 1u] << 4u)); }
}
