// Rows of floats of 8 bits, with one scale for all: two loads of 16 bytes hold 32. Codes past the row are 0.
#import small
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]

fn slot_bytes(at: kv_At, word: u32) -> vec4<f32> {
    return small_e4m3((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u)) * at.scale;
}

// Numbers i … i + 3 of a row, i a multiple of 4; what is past the row is 0. The load is in no branch, so that none waits for another.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    let blocks = kv_blocks(at);
    let word = row * blocks * 8u + min(i / 4u, blocks * 8u - 1u);
    return select(vec4<f32>(), slot_bytes(at, slot_data[(at.first + word) >> 2u][word & 3u]), i < blocks * 32u);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let i = (at.first >> 2u) + (row * kv_blocks(at) + block) * 2u;
    let a = slot_data[i];
    let b = slot_data[i + 1u];
    return array<vec4<f32>, 8>(
        slot_bytes(at, a.x), slot_bytes(at, a.y), slot_bytes(at, a.z), slot_bytes(at, a.w),
        slot_bytes(at, b.x), slot_bytes(at, b.y), slot_bytes(at, b.z), slot_bytes(at, b.w));
}
