// Reads f16 packed two to a word, on devices without f16, at any alignment: four loads of 4 bytes.
#import half
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 2]

fn slot_load1(i: u32) -> f32 {
    return half_f32_from_f16(slot_data[i >> 1u] >> ((i & 1u) * 16u));
}

// The first n elements from i on, then zeros; n is at least 1.
fn slot_load4(i: u32, n: u32) -> vec4<f32> {
    let last = i + n - 1u;
    let v = vec4<f32>(slot_load1(i), slot_load1(min(i + 1u, last)), slot_load1(min(i + 2u, last)), slot_load1(min(i + 3u, last)));
    return select(vec4<f32>(), v, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n));
}

alias slot_Quad = vec4<f32>;

fn slot_fetch4(i: u32, n: u32) -> slot_Quad {
    return slot_load4(i, n);
}

fn slot_decode4(quad: slot_Quad) -> vec4<f32> {
    return quad;
}

fn slot_round4(v: vec4<f32>) -> vec4<f32> {
    return half_round4_f16(v);
}
