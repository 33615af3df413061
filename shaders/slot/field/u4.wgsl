// Codes of 4 bits: one load of 16 bytes holds 32.
alias slot_Raw = vec4<u32>;

fn slot_fetch32(at: weight_At, row: u32, block: u32) -> slot_Raw {
    return outer_data[(at.codes >> 2u) + row * at.blocks + block];
}

fn slot_codes(v: slot_Raw) -> array<u32, 8> {
    let m = 0x0f0f0f0fu;
    return array<u32, 8>(
        v.x & m, (v.x >> 4u) & m, v.y & m, (v.y >> 4u) & m, v.z & m, (v.z >> 4u) & m, v.w & m, (v.w >> 4u) & m);
}
