// Rows of codes of 4 bits about 8, 32 to a scale: one load of 16 bytes and one of the scale. Numbers 8w … 8w + 3 of a block are in the
// low nibbles of the bytes of word w, the four after them in the high ones. Codes past the row are 8.
#import half
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]

fn slot_scale(at: kv_At, row: u32, block: u32) -> f32 {
    let word = kv_scale(at, row, block);
    return half_f32_from_f16(slot_data[word >> 2u][word & 3u] >> ((block & 1u) * 16u));
}

// The low nibbles of four bytes.
fn slot_nibbles(word: u32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u)) - 8.0;
}

// Numbers i … i + 3 of a row, i a multiple of 4; what is past the row is 0. The load is in no branch, so that none waits for another.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    let blocks = kv_blocks(at);
    let block = min(i / 32u, blocks - 1u);
    let codes = slot_data[(at.first >> 2u) + row * blocks + block][i % 32u / 8u];
    return select(vec4<f32>(), slot_nibbles(codes >> (i & 4u)) * slot_scale(at, row, block), i < blocks * 32u);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let v = slot_data[(at.first >> 2u) + row * kv_blocks(at) + block];
    let scale = slot_scale(at, row, block);
    return array<vec4<f32>, 8>(
        slot_nibbles(v.x) * scale, slot_nibbles(v.x >> 4u) * scale, slot_nibbles(v.y) * scale, slot_nibbles(v.y >> 4u) * scale,
        slot_nibbles(v.z) * scale, slot_nibbles(v.z >> 4u) * scale, slot_nibbles(v.w) * scale, slot_nibbles(v.w >> 4u) * scale);
}
