// Scales in f16, two to a word.
#import half
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    return vec2<f32>(half_f32_from_f16(outer_word(at.scales + (i >> 1u)) >> ((i & 1u) * 16u)), f32(outer_ZERO));
}
