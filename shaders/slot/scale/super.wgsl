// Scales in signed bytes; OF of them share an f16 that they are multiplied with. The product is exact.
#import half
#const slot_OF = 16u
alias slot_Raw = vec2<u32>;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return vec2<u32>(outer_word(at.scales + (i >> 2u)), outer_word(at.supers + ((i / slot_OF) >> 1u)));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    let byte = i32(raw.x << (24u - (i & 3u) * 8u)) >> 24u;
    return vec2<f32>(half_f32_from_f16(raw.y >> (((i / slot_OF) & 1u) * 16u)) * f32(byte), 0.0);
}
