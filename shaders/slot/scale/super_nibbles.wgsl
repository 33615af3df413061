// Scale and least value in 4 bits each; OF of them share two f16 that they are multiplied with. The products are exact.
#import half
#const slot_OF = 16u
alias slot_Raw = vec2<u32>;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return vec2<u32>(outer_word(at.scales + (i >> 2u)), outer_word(at.supers + i / slot_OF));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    let pair = raw.x >> ((i & 3u) * 8u);
    let d = raw.y;
    return vec2<f32>(half_f32_from_f16(d) * f32(pair & 15u), -(half_f32_from_f16(d >> 16u) * f32((pair >> 4u) & 15u)));
}
