// Reads f32 whose rows begin at multiples of four elements: 16 bytes a load.
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<f32>>; // [elements / 4]

fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    return slot_data[i >> 2u];
}

fn slot_load1(i: u32) -> f32 {
    return slot_data[i >> 2u][i & 3u];
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return v;
}
