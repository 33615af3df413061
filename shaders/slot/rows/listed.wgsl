// The rows that are read, one after the other.
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements]
const slot_LISTED = true;

fn slot_row(i: u32) -> u32 {
    return slot_data[i];
}
