// Rows of numbers as they are.
#slot slot_read // how they are stored

// Numbers i … i + 3 of a row, i a multiple of 4; what is past the row is 0. The load is in no branch, so that none waits for another.
fn slot_load4(at: kv_At, row: u32, i: u32) -> vec4<f32> {
    let inside = min(i, (at.width - 1u) & ~3u);
    let v = slot_read_load4(at.first + row * at.width + inside, min(at.width - inside, 4u));
    return select(vec4<f32>(), v, i < at.width);
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_load32(at: kv_At, row: u32, block: u32) -> array<vec4<f32>, 8> {
    var v: array<vec4<f32>, 8>;
    for (var i = 0u; i < 8u; i++) { v[i] = slot_load4(at, row, block * 32u + i * 4u); }
    return v;
}
