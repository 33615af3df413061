// bfloat16, two to a word, as the bits of f32.
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 2]

fn slot_word(i: u32) -> u32 {
    return (slot_data[i >> 1u] >> ((i & 1u) * 16u)) << 16u;
}
