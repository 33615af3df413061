// A list of what is added: where the entries of row n begin and end, in words, and column and value of one, which is two words.
fn slot_range(at: weight_At, n: u32) -> vec2<u32> {
    let i = at.side + n - at.row0;
    return vec2<u32>(outer_word(i), outer_word(i + 1u));
}

fn slot_entry(at: weight_At, i: u32) -> vec2<u32> {
    return vec2<u32>(outer_word(at.side + i), outer_word(at.side + i + 1u));
}
