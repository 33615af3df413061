// Little operands, as words: whole numbers, and the bits of f32; stored as words.
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements]

fn slot_word(i: u32) -> u32 {
    return slot_data[i];
}
