// Codes of 8 bits: eight words hold 32.
fn slot_store32(at: weight_At, row: u32, block: u32, quads: array<u32, 8>) {
    var q = quads;
    let first = at.codes + (row * at.blocks + block) * 8u;
    #unroll
    for (var i = 0u; i < 8u; i++) { outer_put(first + i, q[i]); }
}
