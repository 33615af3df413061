// Writes native f16 whose rows begin at multiples of four elements: 8 bytes a store.
// The value is rounded before it is narrowed, because how a device rounds there is its own affair.
enable f16;
#import half
@group(0) @binding(0) var<storage, read_write> slot_data: array<vec4<f16>>; // [elements / 4]

fn slot_store4(i: u32, v: vec4<f32>, n: u32) {
    slot_data[i >> 2u] = vec4<f16>(half_round4_f16(v));
}
