// Scales in bytes that a map of 256 widens; OF of them share an f32 that they are multiplied with, and all share an offset.
// `supers`: the offset, the map, the factors. The product is rounded before the sum: no device may fuse the two.
#const slot_OF = 256u
alias slot_Raw = vec3<u32>;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return vec3<u32>(outer_word(at.scales + (i >> 2u)), outer_word(at.supers + 257u + i / slot_OF), outer_word(at.supers));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    let byte = (raw.x >> ((i & 3u) * 8u)) & 255u;
    let widened = bitcast<f32>(outer_word(at.supers + 1u + byte));
    let product = bitcast<f32>(bitcast<u32>(widened * bitcast<f32>(raw.y)) ^ at.nothing);
    return vec2<f32>(product + bitcast<f32>(raw.z), 0.0);
}
