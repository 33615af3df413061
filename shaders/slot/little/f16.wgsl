// f16, two to a word, as the bits of f32.
#import half
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 2]

fn slot_word(i: u32) -> u32 {
    return bitcast<u32>(half_f32_from_f16(slot_data[i >> 1u] >> ((i & 1u) * 16u)));
}
