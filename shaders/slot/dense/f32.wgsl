// Numbers of a weight in f32.
fn slot_load4(word0: u32, quad: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(outer_data[(word0 >> 2u) + quad]);
}

fn slot_load32(word0: u32, quad: u32) -> array<vec4<f32>, 8> {
    var v = array<vec4<f32>, 8>();
    for (var j = 0u; j < 8u; j++) { v[j] = slot_load4(word0, quad + j); }
    return v;
}
