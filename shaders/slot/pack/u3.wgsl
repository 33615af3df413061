// Codes of 3 bits: a plane of the lower 2 and a plane of the highest.
fn slot_store32(at: weight_At, row: u32, block: u32, quads: array<u32, 8>) {
    var q = quads;
    let i = row * at.blocks + block;
    var words = vec2<u32>();
    var high = 0u;
    #unroll
    for (var j = 0u; j < 8u; j++) {
        words[j >> 2u] |= (q[j] & 0x03030303u) << (2u * (j & 3u));
        high |= ((q[j] >> 2u) & 0x01010101u) << j;
    }
    outer_put(at.codes + i * 2u, words.x);
    outer_put(at.codes + i * 2u + 1u, words.y);
    outer_put(at.high + i, high);
}
