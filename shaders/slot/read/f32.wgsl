// Reads f32 whose rows begin at multiples of four elements: 16 bytes a load.
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<f32>>; // [elements / 4]

// Four as they lie, for who does something else while they are on their way.
alias slot_Quad = vec4<f32>;

fn slot_fetch4(i: u32, n: u32) -> slot_Quad {
    return slot_data[i >> 2u];
}

fn slot_decode4(quad: slot_Quad) -> vec4<f32> {
    return quad;
}

fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    return slot_decode4(slot_fetch4(i, n));
}

fn slot_load1(i: u32) -> f32 {
    return slot_data[i >> 2u][i & 3u];
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return v;
}
