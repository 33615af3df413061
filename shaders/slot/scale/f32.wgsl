// Scales in f32.
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(outer_word(at.scales + i)), f32(outer_ZERO));
}
