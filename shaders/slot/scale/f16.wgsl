// Scales in f16, two to a word.
#import half
alias slot_Raw = u32;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return outer_word(at.scales + (i >> 1u));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    return vec2<f32>(half_f32_from_f16(raw >> ((i & 1u) * 16u)), 0.0);
}
