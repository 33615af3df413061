// Scales in floats of 8 bits.
#import small
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    let byte = (outer_word(at.scales + (i >> 2u)) >> ((i & 3u) * 8u)) & 255u;
    return vec2<f32>(small_e4m3(vec4<u32>(byte)).x, f32(outer_ZERO));
}
