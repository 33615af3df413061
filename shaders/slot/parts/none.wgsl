// Sums are whole.
const slot_ON = false;
fn slot_store4(i: u32, v: vec4<f32>) {}
