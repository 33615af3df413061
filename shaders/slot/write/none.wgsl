// An absent output: nothing is written, and there is no binding.
fn slot_store4(i: u32, v: vec4<f32>, n: u32) {
}

fn slot_store1(i: u32, v: f32) {
}
