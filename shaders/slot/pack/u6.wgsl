// Codes of 6 bits: a plane of the lower 4 and a plane of the higher 2.
fn slot_store32(at: weight_At, row: u32, block: u32, quads: array<u32, 8>) {
    var q = quads;
    let i = row * at.blocks + block;
    var high = vec2<u32>();
    #unroll
    for (var j = 0u; j < 4u; j++) {
        outer_put(at.codes + i * 4u + j, (q[2u * j] & 0x0f0f0f0fu) | ((q[2u * j + 1u] & 0x0f0f0f0fu) << 4u));
    }
    #unroll
    for (var j = 0u; j < 8u; j++) { high[j >> 2u] |= ((q[j] >> 4u) & 0x03030303u) << (2u * (j & 3u)); }
    outer_put(at.high + i * 2u, high.x);
    outer_put(at.high + i * 2u + 1u, high.y);
}
