// Codes of 2 bits: two words hold 32.
fn slot_load32(at: weight_At, row: u32, block: u32) -> array<u32, 8> {
    let i = at.codes + (row * at.blocks + block) * 2u;
    let x = outer_word(i);
    let y = outer_word(i + 1u);
    let m = 0x03030303u;
    return array<u32, 8>(
        x & m, (x >> 2u) & m, (x >> 4u) & m, (x >> 6u) & m,
        y & m, (y >> 2u) & m, (y >> 4u) & m, (y >> 6u) & m);
}
