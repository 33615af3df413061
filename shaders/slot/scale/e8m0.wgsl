// Exponents in bytes: a byte e means 2^(e - 127), which the rule makes, since f32 does not hold all of them.
alias slot_Raw = u32;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return outer_word(at.scales + (i >> 2u));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    return vec2<f32>(f32((raw >> ((i & 3u) * 8u)) & 255u), 0.0);
}
