// Rows of signed bytes, 32 to a scale: two loads of 16 bytes and one of the scale. Codes past the row are 0.
#import half
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]

fn slot_scale(at: kv_At, row: u32, block: u32) -> f32 {
    let word = kv_scale(at, row, block);
    return half_f32_from_f16(slot_data[word >> 2u][word & 3u] >> ((block & 1u) * 16u));
}

fn slot_bytes(word: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

// Numbers i … i + 3 of a row, i a multiple of 4; what is past the row is 0. The load is in no branch, so that none waits for another.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    let blocks = kv_blocks(at);
    let block = min(i / 32u, blocks - 1u);
    let word = (row * blocks + block) * 8u + i % 32u / 4u;
    let v = slot_bytes(slot_data[(at.first + word) >> 2u][word & 3u]) * slot_scale(at, row, block);
    return select(vec4<f32>(), v, i < blocks * 32u);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let i = (at.first >> 2u) + (row * kv_blocks(at) + block) * 2u;
    let a = slot_data[i];
    let b = slot_data[i + 1u];
    let scale = slot_scale(at, row, block);
    return array<vec4<f32>, 8>(
        slot_bytes(a.x) * scale, slot_bytes(a.y) * scale, slot_bytes(a.z) * scale, slot_bytes(a.w) * scale,
        slot_bytes(b.x) * scale, slot_bytes(b.y) * scale, slot_bytes(b.z) * scale, slot_bytes(b.w) * scale);
}
