// The key of an f32 score.
#import order
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements]

fn slot_at(i: u32) -> u32 {
    return order_of(slot_data[i]);
}
