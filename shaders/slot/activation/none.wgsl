// No activation.
fn slot_of(v: vec4<f32>) -> vec4<f32> {
    return v;
}
