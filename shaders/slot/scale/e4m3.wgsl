// Scales in floats of 8 bits.
#import small
alias slot_Raw = u32;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return outer_word(at.scales + (i >> 2u));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    let byte = (raw >> ((i & 3u) * 8u)) & 255u;
    return vec2<f32>(small_e4m3(vec4<u32>(byte)).x, 0.0);
}
