// Scale and zero or bias in f16: one word.
#import half
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    let word = outer_word(at.scales + i);
    return vec2<f32>(half_f32_from_f16(word), half_f32_from_f16(word >> 16u));
}
