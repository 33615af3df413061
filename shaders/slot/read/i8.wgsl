// Reads int8 codes, four to a word, whose rows begin at multiples of four: 4 bytes a load.
#import whole
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 4]

// Four codes as they lie in memory.
fn slot_quad(i: u32, n: u32) -> u32 {
    return slot_data[i >> 2u];
}

// The same for who takes other numbers too.
alias slot_Quad = u32;

fn slot_fetch4(i: u32, n: u32) -> slot_Quad {
    return slot_quad(i, n);
}

fn slot_decode4(quad: slot_Quad) -> vec4<f32> {
    return whole_signed_bytes(quad);
}

fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    return slot_decode4(slot_fetch4(i, n));
}

fn slot_load1(i: u32) -> f32 {
    return f32(bitcast<i32>(slot_data[i >> 2u] << (24u - (i & 3u) * 8u)) >> 24u);
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return v;
}
