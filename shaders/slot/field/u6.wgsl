// Codes of 6 bits: a plane of the lower 4 and a plane of the higher 2.
struct slot_Raw {
    low: vec4<u32>,
    high: vec2<u32>,
}

fn slot_fetch32(at: weight_At, row: u32, block: u32) -> slot_Raw {
    let i = row * at.blocks + block;
    let high = vec2<u32>(outer_word(at.high + i * 2u), outer_word(at.high + i * 2u + 1u));
    return slot_Raw(outer_data[(at.codes >> 2u) + i], high);
}

fn slot_codes(raw: slot_Raw) -> array<u32, 8> {
    let v = raw.low;
    let x = raw.high.x;
    let y = raw.high.y;
    let m = 0x0f0f0f0fu;
    let two = 0x30303030u;
    return array<u32, 8>(
        (v.x & m) | ((x << 4u) & two), ((v.x >> 4u) & m) | ((x << 2u) & two),
        (v.y & m) | (x & two), ((v.y >> 4u) & m) | ((x >> 2u) & two),
        (v.z & m) | ((y << 4u) & two), ((v.z >> 4u) & m) | ((y << 2u) & two),
        (v.w & m) | (y & two), ((v.w >> 4u) & m) | ((y >> 2u) & two));
}
