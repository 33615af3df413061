// Reads int8 codes, four to a word, whose rows begin at multiples of four: 4 bytes a load.
#import whole
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 4]

fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    return whole_signed_bytes(slot_data[i >> 2u]);
}

fn slot_load1(i: u32) -> f32 {
    return f32(bitcast<i32>(slot_data[i >> 2u] << (24u - (i & 3u) * 8u)) >> 24u);
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return v;
}

// Four codes as they lie in memory.
fn slot_quad(i: u32, n: u32) -> u32 {
    return slot_data[i >> 2u];
}
