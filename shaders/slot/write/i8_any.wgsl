// Writes whole numbers from −128 to 255 as bytes, four to a word, at any alignment. A word may belong to several rows, whose
// invocations may run at the same time: each clears and sets its own byte, atomically.
@group(0) @binding(0) var<storage, read_write> slot_data: array<atomic<u32>>; // [elements / 4]

fn slot_store1(i: u32, v: f32) {
    let shift = (i & 3u) * 8u;
    atomicAnd(&slot_data[i >> 2u], ~(0xffu << shift));
    atomicOr(&slot_data[i >> 2u], (bitcast<u32>(i32(v)) & 0xffu) << shift);
}

// The first n of four elements from i on; n is at least 1.
fn slot_store4(i: u32, v: vec4<f32>, n: u32) {
    slot_store1(i, v.x);
    if (n > 1u) { slot_store1(i + 1u, v.y); }
    if (n > 2u) { slot_store1(i + 2u, v.z); }
    if (n > 3u) { slot_store1(i + 3u, v.w); }
}
