// Codes of 5 bits: a plane of the lower 4 and a plane of the highest.
struct slot_Raw {
    low: vec4<u32>,
    high: u32,
}

fn slot_fetch32(at: weight_At, row: u32, block: u32) -> slot_Raw {
    let i = row * at.blocks + block;
    return slot_Raw(outer_data[(at.codes >> 2u) + i], outer_word(at.high + i));
}

fn slot_codes(raw: slot_Raw) -> array<u32, 8> {
    let v = raw.low;
    let h = raw.high;
    let m = 0x0f0f0f0fu;
    let one = 0x10101010u;
    return array<u32, 8>(
        (v.x & m) | ((h << 4u) & one), ((v.x >> 4u) & m) | ((h << 3u) & one),
        (v.y & m) | ((h << 2u) & one), ((v.y >> 4u) & m) | ((h << 1u) & one),
        (v.z & m) | (h & one), ((v.z >> 4u) & m) | ((h >> 1u) & one),
        (v.w & m) | ((h >> 2u) & one), ((v.w >> 4u) & m) | ((h >> 3u) & one));
}
