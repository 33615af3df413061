// Codes of 1 bit: a word holds 32.
alias slot_Raw = u32;

fn slot_fetch32(at: weight_At, row: u32, block: u32) -> slot_Raw {
    return outer_word(at.codes + row * at.blocks + block);
}

fn slot_codes(word: slot_Raw) -> array<u32, 8> {
    let m = 0x01010101u;
    return array<u32, 8>(
        word & m, (word >> 1u) & m, (word >> 2u) & m, (word >> 3u) & m,
        (word >> 4u) & m, (word >> 5u) & m, (word >> 6u) & m, (word >> 7u) & m);
}
