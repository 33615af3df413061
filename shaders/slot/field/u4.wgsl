// Codes of 4 bits: one load of 16 bytes holds 32.
fn slot_load32(at: weight_At, row: u32, block: u32) -> array<u32, 8> {
    let v = outer_data[(at.codes >> 2u) + row * at.blocks + block];
    let m = 0x0f0f0f0fu;
    return array<u32, 8>(
        v.x & m, (v.x >> 4u) & m, v.y & m, (v.y >> 4u) & m, v.z & m, (v.z >> 4u) & m, v.w & m, (v.w >> 4u) & m);
}
