// Codes of 1 bit: one word holds 32.
fn slot_store32(at: weight_At, row: u32, block: u32, quads: array<u32, 8>) {
    var q = quads;
    var word = 0u;
    #unroll
    for (var i = 0u; i < 8u; i++) { word |= (q[i] & 0x01010101u) << i; }
    outer_put(at.codes + row * at.blocks + block, word);
}
