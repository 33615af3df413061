// The key of a bfloat16 score, two to a word.
#import order
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 2]

fn slot_at(i: u32) -> u32 {
    return order_of((slot_data[i >> 1u] >> ((i & 1u) * 16u)) << 16u);
}
