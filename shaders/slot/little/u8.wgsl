// Bytes, four to a word, as whole numbers.
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 4]

fn slot_word(i: u32) -> u32 {
    return (slot_data[i >> 2u] >> ((i & 3u) * 8u)) & 255u;
}
