// Codes of 5 bits: a plane of the lower 4 and a plane of the highest.
fn slot_load32(at: weight_At, row: u32, block: u32) -> array<u32, 8> {
    let i = row * at.blocks + block;
    let v = outer_data[(at.codes >> 2u) + i];
    let h = outer_word(at.high + i);
    let m = 0x0f0f0f0fu;
    let one = 0x10101010u;
    return array<u32, 8>(
        (v.x & m) | ((h << 4u) & one), ((v.x >> 4u) & m) | ((h << 3u) & one),
        (v.y & m) | ((h << 2u) & one), ((v.y >> 4u) & m) | ((h << 1u) & one),
        (v.z & m) | (h & one), ((v.z >> 4u) & m) | ((h >> 1u) & one),
        (v.w & m) | ((h >> 2u) & one), ((v.w >> 4u) & m) | ((h >> 3u) & one));
}
