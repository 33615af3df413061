// The tray of terms that are made in the dispatch that takes them (lib/make): words, each read and written by itself.
@group(0) @binding(0) var<storage, read_write> slot_data: array<atomic<u32>>; // [64 + two halves]
const slot_ON = true;

// Counts on by n, for which nobody waits.
fn slot_count(n: u32) {
    atomicAdd(&slot_data[0], n);
}

fn slot_word(i: u32) -> u32 {
    return atomicLoad(&slot_data[i]);
}

// The same, from where words are changed.
fn slot_fresh(i: u32) -> u32 {
    return atomicOr(&slot_data[i], 0u);
}

fn slot_put(i: u32, word: u32) {
    atomicStore(&slot_data[i], word);
}
