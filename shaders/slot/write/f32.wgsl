// Writes f32 whose rows begin at multiples of four elements: 16 bytes a store.
@group(0) @binding(0) var<storage, read_write> slot_data: array<vec4<f32>>; // [elements / 4]

fn slot_store4(i: u32, v: vec4<f32>, n: u32) {
    slot_data[i >> 2u] = v;
}
