// As slot/agree/atomic, where `workgroupUniformLoad` may not take atomics: one lane copies the word, and the copy is agreed on.
// Barriers: 3 of an agreement. Workgroup memory: 32 bytes.
var<workgroup> slot_words: array<atomic<u32>, 4>;
var<workgroup> slot_copied: array<u32, 4>;

fn slot_clear() {
    atomicStore(&slot_words[0], 0u);
}

fn slot_raise(v: u32) {
    atomicMax(&slot_words[0], v);
}

fn slot_raised(lane: u32) -> u32 {
    workgroupBarrier();
    if (lane == 0u) { slot_copied[0] = atomicLoad(&slot_words[0]); }
    return workgroupUniformLoad(&slot_copied[0]);
}
