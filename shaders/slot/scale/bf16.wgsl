// Scales in bfloat16, two to a word.
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    let word = outer_word(at.scales + (i >> 1u)) >> ((i & 1u) * 16u);
    return vec2<f32>(bitcast<f32>(word << 16u), f32(outer_ZERO));
}
