// Scale and zero or bias in bfloat16: one word.
alias slot_Raw = u32;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return outer_word(at.scales + i);
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    return bitcast<vec2<f32>>(vec2<u32>(raw << 16u, raw & 0xffff0000u));
}
