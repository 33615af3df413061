// (level − zero)·scale.
fn slot_make(at: weight_At, level: vec4<f32>, scale: vec4<f32>, zero: vec4<f32>) -> vec4<f32> {
    return (level - zero) * scale;
}
