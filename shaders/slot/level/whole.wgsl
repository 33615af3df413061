// A code is a whole number.
const slot_UNIT = 1.0;
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    return weight_bytes(quad);
}

// What all lanes do first: nothing.
fn slot_begin(at: weight_At, lane: u32) {}
