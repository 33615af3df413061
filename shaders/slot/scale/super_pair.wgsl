// Scale and least value in a byte each; OF of them share two f16 that they are multiplied with. The products are exact.
#import half
#const slot_OF = 8u
alias slot_Raw = vec2<u32>;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return vec2<u32>(outer_word(at.scales + (i >> 1u)), outer_word(at.supers + i / slot_OF));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    let pair = raw.x >> ((i & 1u) * 16u);
    let d = raw.y;
    return vec2<f32>(half_f32_from_f16(d) * f32(pair & 255u), -(half_f32_from_f16(d >> 16u) * f32((pair >> 8u) & 255u)));
}
