// Rows of numbers as they are.
#slot slot_read // how they are stored

// Numbers i … i + 3 of a row, i a multiple of 4; what is past the row is 0.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    if (i >= at.width) { return vec4<f32>(); }
    return slot_read_load4(at.first + row * at.width + i, min(at.width - i, 4u));
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    var v: array<vec4<f32>, 8>;
    for (var i = 0u; i < 8u; i++) { v[i] = slot_load4(at, row, block * 32u + i * 4u); }
    return v;
}
