// Sums are of a slice of K each, and added later.
const slot_ON = true;
@group(0) @binding(0) var<storage, read_write> slot_data: array<vec4<f32>>; // [slices, matrices, M, ⌈outputs / 4⌉]
fn slot_store4(i: u32, v: vec4<f32>) {
    slot_data[i] = v;
}
