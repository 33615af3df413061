// Scale and zero or bias in bfloat16: one word.
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    let word = outer_word(at.scales + i);
    return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
}
