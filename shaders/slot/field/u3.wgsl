// Codes of 3 bits: a plane of the lower 2 and a plane of the highest.
alias slot_Raw = vec3<u32>;

fn slot_fetch32(at: weight_At, row: u32, block: u32) -> slot_Raw {
    let i = row * at.blocks + block;
    return vec3<u32>(outer_word(at.codes + i * 2u), outer_word(at.codes + i * 2u + 1u), outer_word(at.high + i));
}

fn slot_codes(v: slot_Raw) -> array<u32, 8> {
    let m = 0x03030303u;
    let one = 0x04040404u;
    return array<u32, 8>(
        (v.x & m) | ((v.z << 2u) & one), ((v.x >> 2u) & m) | ((v.z << 1u) & one),
        ((v.x >> 4u) & m) | (v.z & one), ((v.x >> 6u) & m) | ((v.z >> 1u) & one),
        (v.y & m) | ((v.z >> 2u) & one), ((v.y >> 2u) & m) | ((v.z >> 3u) & one),
        ((v.y >> 4u) & m) | ((v.z >> 4u) & one), ((v.y >> 6u) & m) | ((v.z >> 5u) & one));
}
