// Scale and zero or bias in f32.
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    let word = at.scales + 2u * i;
    return bitcast<vec2<f32>>(vec2<u32>(outer_word(word), outer_word(word + 1u)));
}
