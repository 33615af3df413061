// Codes of 2 bits: two words hold 32.
alias slot_Raw = vec2<u32>;

fn slot_fetch32(at: weight_At, row: u32, block: u32) -> slot_Raw {
    let i = at.codes + (row * at.blocks + block) * 2u;
    return vec2<u32>(outer_word(i), outer_word(i + 1u));
}

fn slot_codes(v: slot_Raw) -> array<u32, 8> {
    let m = 0x03030303u;
    return array<u32, 8>(
        v.x & m, (v.x >> 2u) & m, (v.x >> 4u) & m, (v.x >> 6u) & m,
        v.y & m, (v.y >> 2u) & m, (v.y >> 4u) & m, (v.y >> 6u) & m);
}
