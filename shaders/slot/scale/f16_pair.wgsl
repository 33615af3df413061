// Scale and zero or bias in f16: one word.
#import half
alias slot_Raw = u32;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return outer_word(at.scales + i);
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    return vec2<f32>(half_f32_from_f16(raw), half_f32_from_f16(raw >> 16u));
}
