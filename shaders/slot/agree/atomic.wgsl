// A word that lanes may raise, and on which then all lanes of the workgroup agree. `workgroupUniformLoad` takes an atomic in the WGSL of
// April 2025: naga's does, and of browsers no one can tell.
// Barriers: 2 of an agreement, before and after it is read, as `workgroupUniformLoad` has them. Workgroup memory: 16 bytes.
var<workgroup> slot_words: array<atomic<u32>, 4>; // the first; as many as keep what lies beside it at multiples of 16 bytes

// By one lane, with a barrier between it and whoever raises.
fn slot_clear() {
    atomicStore(&slot_words[0], 0u);
}

fn slot_raise(v: u32) {
    atomicMax(&slot_words[0], v);
}

// The largest that any lane has raised. All lanes call it.
fn slot_raised(lane: u32) -> u32 {
    return workgroupUniformLoad(&slot_words[0]);
}
