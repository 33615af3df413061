// Rows of numbers as they are.
#slot slot_read // how they are stored

alias slot_Quad = slot_read_Quad;
alias slot_Block = array<slot_read_Quad, 8>;

// Numbers i … i + 3 of a row as they lie, i a multiple of 4. The load is in no branch, so that none waits for another.
fn slot_fetch4(at: kv_At, row: u32, i: u32) -> slot_Quad {
    let inside = min(i, (at.width - 1u) & ~3u);
    return slot_read_fetch4(at.first + row * at.width + inside, min(at.width - inside, 4u));
}

// What they are; what is past the row may be any of its numbers.
fn slot_decode4(at: kv_At, quad: slot_Quad, i: u32) -> vec4<f32> {
    return slot_read_decode4(quad);
}

// Numbers i … i + 7, i a multiple of 8, as the width is.
alias slot_Eight = array<slot_read_Quad, 2>;

fn slot_fetch8(at: kv_At, row: u32, i: u32) -> slot_Eight {
    let first = at.first + row * at.width + min(i, at.width - 8u);
    return slot_Eight(slot_read_fetch4(first, 4u), slot_read_fetch4(first + 4u, 4u));
}

fn slot_decode8(at: kv_At, eight: slot_Eight, i: u32) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(slot_decode4(at, eight[0], i), slot_decode4(at, eight[1], i + 4u));
}

// Numbers i … i + 3 of a row; what is past it is 0.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    return kv_inside4(at, slot_decode4(at, slot_fetch4(at, row, i), i), i);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_fetch32(at: kv_At, row: u32, block: u32) -> slot_Block {
    var quads: slot_Block;
    #unroll
    for (var i = 0u; i < 8u; i++) { quads[i] = slot_fetch4(at, row, block * 32u + i * 4u); }
    return quads;
}

// What they are, but for their scale.
fn slot_codes32(at: kv_At, quads: slot_Block, block: u32) -> array<vec4<f32>, 8> {
    var v: array<vec4<f32>, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { v[i] = kv_inside4(at, slot_read_decode4(quads[i]), block * 32u + i * 4u); }
    return v;
}

fn slot_scale32(at: kv_At, v: slot_Block, block: u32) -> f32 {
    return 1.0;
}

fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    return slot_codes32(at, slot_fetch32(at, row, block), block);
}
