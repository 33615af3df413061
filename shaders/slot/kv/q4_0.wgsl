// Rows of codes of 4 bits about 8, 32 to a scale: one load of 16 bytes and one of the scale. Numbers 8w … 8w + 3 of a block are in the
// low nibbles of the bytes of word w, the four after them in the high ones. Codes past the row are 8.
#import whole
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]

// Eight codes, and the word with their scale.
alias slot_Quad = vec2<u32>;
struct slot_Block {
    codes: vec4<u32>,
    scale: u32,
}

// The word with the scale of a block, in one of its halves.
fn slot_fetch_scale(at: kv_At, row: u32, block: u32) -> u32 {
    let word = kv_scale(at, row, block);
    return slot_data[word >> 2u][word & 3u];
}

// The low nibbles of four bytes.
fn slot_nibbles(word: u32) -> vec4<f32> {
    return whole_codes(word & 0x0f0f0f0fu, 8.0);
}

// Numbers i … i + 3 of a row as they lie, i a multiple of 4. The loads are in no branch, so that none waits for another.
fn slot_fetch4(at: kv_At, row: u32, i: u32) -> slot_Quad {
    let block = kv_block_of(at, i);
    return slot_Quad(slot_data[(at.first >> 2u) + row * kv_blocks(at) + block][i % 32u / 8u], slot_fetch_scale(at, row, block));
}

// What they are; what is past the row may be any of its numbers.
fn slot_decode4(at: kv_At, quad: slot_Quad, i: u32) -> vec4<f32> {
    return slot_nibbles(quad.x >> (i & 4u)) * kv_decode_scale(quad.y, kv_block_of(at, i));
}

// Numbers i … i + 7, i a multiple of 8: they are one word.
alias slot_Eight = slot_Quad;

fn slot_fetch8(at: kv_At, row: u32, i: u32) -> slot_Eight {
    return slot_fetch4(at, row, i);
}

fn slot_decode8(at: kv_At, eight: slot_Eight, i: u32) -> array<vec4<f32>, 2> {
    let scale = kv_decode_scale(eight.y, kv_block_of(at, i));
    return array<vec4<f32>, 2>(slot_nibbles(eight.x) * scale, slot_nibbles(eight.x >> 4u) * scale);
}

// Numbers i … i + 3 of a row; what is past it is 0.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    return kv_inside4(at, slot_decode4(at, slot_fetch4(at, row, i), i), i);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_fetch32(at: kv_At, row: u32, block: u32) -> slot_Block {
    return slot_Block(slot_data[(at.first >> 2u) + row * kv_blocks(at) + block], slot_fetch_scale(at, row, block));
}

// What they are, but for their scale.
fn slot_codes32(at: kv_At, v: slot_Block, block: u32) -> array<vec4<f32>, 8> {
    let c = v.codes;
    return array<vec4<f32>, 8>(
        slot_nibbles(c.x), slot_nibbles(c.x >> 4u), slot_nibbles(c.y), slot_nibbles(c.y >> 4u),
        slot_nibbles(c.z), slot_nibbles(c.z >> 4u), slot_nibbles(c.w), slot_nibbles(c.w >> 4u));
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
