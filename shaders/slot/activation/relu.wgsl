// max(v, 0); a NaN stays one, which `max` does not promise.
fn slot_of(v: vec4<f32>) -> vec4<f32> {
    return select(v, vec4<f32>(), v < vec4<f32>());
}
