// Numbers of a weight in f32.
fn slot_load4(word0: u32, quad: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(outer_data[(word0 >> 2u) + quad]);
}

alias slot_Raw = array<vec4<f32>, 8>;

// Eight quads as they lie.
fn slot_fetch32(word0: u32, quad: u32, whole: bool) -> slot_Raw {
    var v: slot_Raw;
    #unroll
    for (var j = 0u; j < 8u; j++) { v[j] = slot_load4(word0, quad + j); }
    return v;
}

// Quad i of the eight.
fn slot_decode4(raw: slot_Raw, i: u32) -> vec4<f32> {
    var all = raw;
    return all[i];
}
