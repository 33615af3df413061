// Writes bfloat16 packed two to a word; rows begin at multiples of four elements: 8 bytes a store.
#import half
@group(0) @binding(0) var<storage, read_write> slot_data: array<vec2<u32>>; // [elements / 4]

fn slot_store4(i: u32, v: vec4<f32>, n: u32) {
    slot_data[i >> 2u] = half_store4_bf16(v);
}
