// Scales in bytes that a map of 256 widens; OF of them share an f32 that they are multiplied with, and all share an offset.
// `supers`: the offset, the map, the factors. The product is rounded before the sum: no device may fuse the two.
#const slot_OF = 256u
fn slot_load(at: weight_At, i: u32) -> vec2<f32> {
    let byte = (outer_word(at.scales + (i >> 2u)) >> ((i & 3u) * 8u)) & 255u;
    let factor = bitcast<f32>(outer_word(at.supers + 257u + i / slot_OF));
    let product = bitcast<f32>(bitcast<u32>(bitcast<f32>(outer_word(at.supers + 1u + byte)) * factor) ^ at.nothing);
    return vec2<f32>(product + bitcast<f32>(outer_word(at.supers)), f32(outer_ZERO));
}
