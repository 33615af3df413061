// Writes whole numbers from −128 to 255 as bytes, four to a word; rows begin at multiples of four elements: 4 bytes a store.
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [elements / 4]

fn slot_store4(i: u32, v: vec4<f32>, n: u32) {
    let b = bitcast<vec4<u32>>(vec4<i32>(v)) & vec4<u32>(0xffu);
    slot_data[i >> 2u] = b.x | (b.y << 8u) | (b.z << 16u) | (b.w << 24u);
}
