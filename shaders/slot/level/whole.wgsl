// A code is a whole number.
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    return weight_bytes(quad);
}
