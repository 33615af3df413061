// Numbers of a weight in f32.
fn slot_store4(word0: u32, quad: u32, v: vec4<f32>) {
    let bits = bitcast<vec4<u32>>(v);
    #unroll
    for (var i = 0u; i < 4u; i++) { outer_put(word0 + quad * 4u + i, bits[i]); }
}
