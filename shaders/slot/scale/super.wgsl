// Scales in signed bytes; OF of them share an f16 that they are multiplied with. The product is exact.
#import half
#const slot_OF = 16u
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    let byte = i32(outer_word(at.scales + (i >> 2u)) << (24u - (i & 3u) * 8u)) >> 24u;
    let s = i / slot_OF;
    return vec2<f32>(half_f32_from_f16(outer_word(at.supers + (s >> 1u)) >> ((s & 1u) * 16u)) * f32(byte), f32(outer_ZERO));
}
