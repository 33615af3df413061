// Numbers of a weight in f32.
fn slot_load4(word0: u32, quad: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(outer_data[(word0 >> 2u) + quad]);
}
