// Reads f16 whose rows begin at multiples of four elements: 8 bytes a load, as words, which the device widens.
// A device may flush subnormals when it widens them; f16_packed does not.
#import half
@group(0) @binding(0) var<storage, read> slot_data: array<vec2<u32>>; // [elements / 4]

// Four as they lie, for who does something else while they are on their way.
alias slot_Quad = vec2<u32>;

fn slot_fetch4(i: u32, n: u32) -> slot_Quad {
    return slot_data[i >> 2u];
}

fn slot_decode4(quad: slot_Quad) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(quad.x), unpack2x16float(quad.y));
}

fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    return slot_decode4(slot_fetch4(i, n));
}

fn slot_load1(i: u32) -> f32 {
    return unpack2x16float(slot_data[i >> 2u][(i >> 1u) & 1u] >> ((i & 1u) * 16u)).x;
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return half_round4_f16(v);
}
