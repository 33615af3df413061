// Writes whole numbers as i32, or as u32 below 2^31, at any alignment: four stores of 4 bytes.
@group(0) @binding(0) var<storage, read_write> slot_data: array<i32>; // [elements]

fn slot_store1(i: u32, v: f32) {
    slot_data[i] = i32(v);
}

// The first n of four elements from i on; n is at least 1.
fn slot_store4(i: u32, v: vec4<f32>, n: u32) {
    slot_store1(i, v.x);
    if (n > 1u) { slot_store1(i + 1u, v.y); }
    if (n > 2u) { slot_store1(i + 2u, v.z); }
    if (n > 3u) { slot_store1(i + 3u, v.w); }
}
