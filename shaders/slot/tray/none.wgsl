// No terms are made in this dispatch.
const slot_ON = false;

fn slot_count(n: u32) {
}

fn slot_word(i: u32) -> u32 {
    return 0u;
}

fn slot_fresh(i: u32) -> u32 {
    return 0u;
}

fn slot_put(i: u32, word: u32) {
}
