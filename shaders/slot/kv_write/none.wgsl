// Rows that are not written: no binding.
const slot_CODED = false;

fn slot_store4(at: kv_At, row: u32, i: u32, v: vec4<f32>) {
}

fn slot_store32(at: kv_At, row: u32, block: u32, v: array<vec4<f32>, 8>) {
}
