// Reads native f16 whose rows begin at multiples of four elements: 8 bytes a load.
// A device may flush subnormals when it widens them; f16_packed does not.
enable f16;
#import half
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<f16>>; // [elements / 4]

// Four as they lie, for who does something else while they are on their way.
alias slot_Quad = vec4<f16>;

fn slot_fetch4(i: u32, n: u32) -> slot_Quad {
    return slot_data[i >> 2u];
}

fn slot_decode4(quad: slot_Quad) -> vec4<f32> {
    return vec4<f32>(quad);
}

fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    return slot_decode4(slot_fetch4(i, n));
}

fn slot_load1(i: u32) -> f32 {
    return f32(slot_data[i >> 2u][i & 3u]);
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return half_round4_f16(v);
}
