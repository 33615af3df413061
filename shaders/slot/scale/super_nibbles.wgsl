// Scale and least value in 4 bits each; OF of them share two f16 that they are multiplied with. The products are exact.
#import half
#const slot_OF = 16u
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    let pair = outer_word(at.scales + (i >> 2u)) >> ((i & 3u) * 8u);
    let d = outer_word(at.supers + i / slot_OF);
    return vec2<f32>(half_f32_from_f16(d) * f32(pair & 15u), -(half_f32_from_f16(d >> 16u) * f32((pair >> 4u) & 15u)));
}
