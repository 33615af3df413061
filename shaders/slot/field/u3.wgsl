// Codes of 3 bits: a plane of the lower 2 and a plane of the highest.
fn slot_load32(at: weight_At, row: u32, block: u32) -> array<u32, 8> {
    let i = row * at.blocks + block;
    let x = outer_word(at.codes + i * 2u);
    let y = outer_word(at.codes + i * 2u + 1u);
    let h = outer_word(at.high + i);
    let m = 0x03030303u;
    let one = 0x04040404u;
    return array<u32, 8>(
        (x & m) | ((h << 2u) & one), ((x >> 2u) & m) | ((h << 1u) & one),
        ((x >> 4u) & m) | (h & one), ((x >> 6u) & m) | ((h >> 1u) & one),
        (y & m) | ((h >> 2u) & one), ((y >> 2u) & m) | ((h >> 3u) & one),
        ((y >> 4u) & m) | ((h >> 4u) & one), ((y >> 6u) & m) | ((h >> 5u) & one));
}
