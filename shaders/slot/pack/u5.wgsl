// Codes of 5 bits: a plane of the lower 4 and a plane of the highest.
fn slot_store32(at: weight_At, row: u32, block: u32, quads: array<u32, 8>) {
    var q = quads;
    let i = row * at.blocks + block;
    var high = 0u;
    #unroll
    for (var j = 0u; j < 4u; j++) {
        outer_put(at.codes + i * 4u + j, (q[2u * j] & 0x0f0f0f0fu) | ((q[2u * j + 1u] & 0x0f0f0f0fu) << 4u));
    }
    #unroll
    for (var j = 0u; j < 8u; j++) { high |= ((q[j] >> 4u) & 0x01010101u) << j; }
    outer_put(at.high + i, high);
}
