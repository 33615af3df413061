// An absent operand that is multiplied by: ones, and no binding.
fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    return vec4<f32>(1.0);
}

fn slot_load1(i: u32) -> f32 {
    return 1.0;
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return v;
}

alias slot_Quad = vec4<f32>;

fn slot_fetch4(i: u32, n: u32) -> slot_Quad {
    return slot_load4(i, n);
}

fn slot_decode4(quad: slot_Quad) -> vec4<f32> {
    return quad;
}
