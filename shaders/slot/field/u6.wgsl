// Codes of 6 bits: a plane of the lower 4 and a plane of the higher 2.
fn slot_load32(at: weight_At, row: u32, block: u32) -> array<u32, 8> {
    let i = row * at.blocks + block;
    let v = outer_data[(at.codes >> 2u) + i];
    let x = outer_word(at.high + i * 2u);
    let y = outer_word(at.high + i * 2u + 1u);
    let m = 0x0f0f0f0fu;
    let two = 0x30303030u;
    return array<u32, 8>(
        (v.x & m) | ((x << 4u) & two), ((v.x >> 4u) & m) | ((x << 2u) & two),
        (v.y & m) | (x & two), ((v.y >> 4u) & m) | ((x >> 2u) & two),
        (v.z & m) | ((y << 4u) & two), ((v.z >> 4u) & m) | ((y << 2u) & two),
        (v.w & m) | (y & two), ((v.w >> 4u) & m) | ((y >> 2u) & two));
}
