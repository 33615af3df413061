// Rows of floats of 8 bits, with one scale for all: two loads of 16 bytes hold 32. Codes past the row are 0.
#import small
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]

alias slot_Quad = u32;
struct slot_Block {
    low: vec4<u32>,
    high: vec4<u32>,
}

fn slot_bytes(at: kv_At, word: u32) -> vec4<f32> {
    return small_e4m3((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u)) * at.scale;
}

// Numbers i … i + 3 of a row as they lie, i a multiple of 4. The load is in no branch, so that none waits for another.
fn slot_fetch4(at: kv_At, row: u32, i: u32) -> slot_Quad {
    let words = kv_blocks(at) * 8u;
    let word = at.first + row * words + min(i / 4u, words - 1u);
    return slot_data[word >> 2u][word & 3u];
}

// What they are; what is past the row is 0.
fn slot_decode4(at: kv_At, quad: slot_Quad, i: u32) -> vec4<f32> {
    return select(vec4<f32>(), slot_bytes(at, quad), i < kv_blocks(at) * 32u);
}

fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    return slot_decode4(at, slot_fetch4(at, row, i), i);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_fetch32(at: kv_At, row: u32, block: u32) -> slot_Block {
    let i = (at.first >> 2u) + (row * kv_blocks(at) + block) * 2u;
    return slot_Block(slot_data[i], slot_data[i + 1u]);
}

fn slot_decode32(at: kv_At, v: slot_Block, block: u32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        slot_bytes(at, v.low.x), slot_bytes(at, v.low.y), slot_bytes(at, v.low.z), slot_bytes(at, v.low.w),
        slot_bytes(at, v.high.x), slot_bytes(at, v.high.y), slot_bytes(at, v.high.z), slot_bytes(at, v.high.w));
}

fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    return slot_decode32(at, slot_fetch32(at, row, block), block);
}
