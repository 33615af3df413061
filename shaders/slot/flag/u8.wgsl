// Flags as bytes, four to a word: 0 is no.
@group(0) @binding(0) var<storage, read> slot_data: array<u32>; // [elements / 4]

fn slot_on(i: u32) -> bool {
    return ((slot_data[i >> 2u] >> ((i & 3u) * 8u)) & 0xffu) != 0u;
}
