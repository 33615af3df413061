// Rows of floats of 8 bits, with one scale for all: two loads of 16 bytes hold 32. Codes past the row are 0.
#import small
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]

alias slot_Quad = u32;
struct slot_Block {
    low: vec4<u32>,
    high: vec4<u32>,
}

fn slot_bytes(word: u32) -> vec4<f32> {
    return small_e4m3((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
}

// Numbers i … i + 3 of a row as they lie, i a multiple of 4. The load is in no branch, so that none waits for another.
fn slot_fetch4(at: kv_At, row: u32, i: u32) -> slot_Quad {
    let words = kv_blocks(at) * 8u;
    let word = at.first + row * words + min(i / 4u, words - 1u);
    return slot_data[word >> 2u][word & 3u];
}

// What they are; what is past the row may be any of its numbers.
fn slot_decode4(at: kv_At, quad: slot_Quad, i: u32) -> vec4<f32> {
    return slot_bytes(quad) * at.scale;
}

// Numbers i … i + 7, i a multiple of 8.
alias slot_Eight = vec2<u32>;

fn slot_fetch8(at: kv_At, row: u32, i: u32) -> slot_Eight {
    return slot_Eight(slot_fetch4(at, row, i), slot_fetch4(at, row, i + 4u));
}

fn slot_decode8(at: kv_At, eight: slot_Eight, i: u32) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(slot_bytes(eight.x) * at.scale, slot_bytes(eight.y) * at.scale);
}

// Numbers i … i + 3 of a row; what is past it is 0.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    return kv_inside4(at, slot_decode4(at, slot_fetch4(at, row, i), i), i);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_fetch32(at: kv_At, row: u32, block: u32) -> slot_Block {
    let i = (at.first >> 2u) + (row * kv_blocks(at) + block) * 2u;
    return slot_Block(slot_data[i], slot_data[i + 1u]);
}

// What they are, but for their scale.
fn slot_codes32(at: kv_At, v: slot_Block, block: u32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        slot_bytes(v.low.x), slot_bytes(v.low.y), slot_bytes(v.low.z), slot_bytes(v.low.w),
        slot_bytes(v.high.x), slot_bytes(v.high.y), slot_bytes(v.high.z), slot_bytes(v.high.w));
}

fn slot_scale32(at: kv_At, v: slot_Block, block: u32) -> f32 {
    return at.scale;
}

fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let fetched = slot_fetch32(at, row, block);
    let scale = slot_scale32(at, fetched, block);
    var v = slot_codes32(at, fetched, block);
    #unroll
    for (var i = 0u; i < 8u; i++) { v[i] *= scale; }
    return v;
}
