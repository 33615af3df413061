// Rows of signed bytes, 32 to a scale: two loads of 16 bytes and one of the scale. Codes past the row are 0.
#import whole
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]

// Codes, and the word with their scale.
alias slot_Quad = vec2<u32>;
struct slot_Block {
    low: vec4<u32>,
    high: vec4<u32>,
    scale: u32,
}

// The word with the scale of a block, in one of its halves.
fn slot_fetch_scale(at: kv_At, row: u32, block: u32) -> u32 {
    let word = kv_scale(at, row, block);
    return slot_data[word >> 2u][word & 3u];
}

// The 16 bytes with number i of a row. Which of their words it is in follows from i alone: a lane that walks rows knows it before.
fn slot_place(at: kv_At, row: u32, block: u32, i: u32) -> u32 {
    return (at.first >> 2u) + (row * kv_blocks(at) + block) * 2u + i % 32u / 16u;
}

// Numbers i … i + 3 of a row as they lie, i a multiple of 4. The loads are in no branch, so that none waits for another.
fn slot_fetch4(at: kv_At, row: u32, i: u32) -> slot_Quad {
    let block = kv_block_of(at, i);
    return slot_Quad(slot_data[slot_place(at, row, block, i)][i % 16u / 4u], slot_fetch_scale(at, row, block));
}

// What they are; what is past the row may be any of its numbers.
fn slot_decode4(at: kv_At, quad: slot_Quad, i: u32) -> vec4<f32> {
    return whole_signed_bytes(quad.x) * kv_decode_scale(quad.y, kv_block_of(at, i));
}

// Numbers i … i + 7, i a multiple of 8: their scale is one.
struct slot_Eight {
    low: u32,
    high: u32,
    scale: u32,
}

fn slot_fetch8(at: kv_At, row: u32, i: u32) -> slot_Eight {
    let block = kv_block_of(at, i);
    let place = slot_place(at, row, block, i);
    return slot_Eight(slot_data[place][i % 16u / 4u], slot_data[place][i % 16u / 4u + 1u], slot_fetch_scale(at, row, block));
}

fn slot_decode8(at: kv_At, eight: slot_Eight, i: u32) -> array<vec4<f32>, 2> {
    let scale = kv_decode_scale(eight.scale, kv_block_of(at, i));
    return array<vec4<f32>, 2>(whole_signed_bytes(eight.low) * scale, whole_signed_bytes(eight.high) * scale);
}

// Numbers i … i + 3 of a row; what is past it is 0.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    return kv_inside4(at, slot_decode4(at, slot_fetch4(at, row, i), i), i);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_fetch32(at: kv_At, row: u32, block: u32) -> slot_Block {
    let i = (at.first >> 2u) + (row * kv_blocks(at) + block) * 2u;
    return slot_Block(slot_data[i], slot_data[i + 1u], slot_fetch_scale(at, row, block));
}

// What they are, but for their scale.
fn slot_codes32(at: kv_At, v: slot_Block, block: u32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        whole_signed_bytes(v.low.x), whole_signed_bytes(v.low.y), whole_signed_bytes(v.low.z), whole_signed_bytes(v.low.w),
        whole_signed_bytes(v.high.x), whole_signed_bytes(v.high.y), whole_signed_bytes(v.high.z), whole_signed_bytes(v.high.w));
}

fn slot_scale32(at: kv_At, v: slot_Block, block: u32) -> f32 {
    return kv_decode_scale(v.scale, block);
}

fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let fetched = slot_fetch32(at, row, block);
    let scale = slot_scale32(at, fetched, block);
    var v = slot_codes32(at, fetched, block);
    #unroll
    for (var i = 0u; i < 8u; i++) { v[i] *= scale; }
    return v;
}
