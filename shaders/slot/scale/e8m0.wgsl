// Exponents in bytes: a byte e means 2^(e - 127), which the rule makes, since f32 does not hold all of them.
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    return vec2<f32>(f32((outer_word(at.scales + (i >> 2u)) >> ((i & 3u) * 8u)) & 255u), f32(outer_ZERO));
}
