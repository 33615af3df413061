// A list of words that is wanted.
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [elements]

fn slot_put(i: u32, word: u32) {
    slot_data[i] = word;
}
