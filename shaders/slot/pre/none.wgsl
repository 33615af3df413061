// Nothing happens to a value before it is normalised.
fn slot_apply(v: vec4<f32>, row: u32, i: u32) -> vec4<f32> {
    return v;
}
