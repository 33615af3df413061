// Scale and zero or bias in f32.
alias slot_Raw = vec2<u32>;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    let word = at.scales + 2u * i;
    return vec2<u32>(outer_word(word), outer_word(word + 1u));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    return bitcast<vec2<f32>>(raw);
}
