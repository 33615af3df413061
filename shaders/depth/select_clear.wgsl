// depth/select_clear: empties the histograms of divided samples, a workgroup for each histogram of each sample.
//
// Good before depth/select_count, which adds to them. Wrong where nothing is counted, as where a threshold is given. Costs 24 KiB of
// stores a sample.
#import divided

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * select_params.fold;
    if (id >= select_params.samples * select_DIGITS) { return; }
    let bins = divided_at(id / select_DIGITS) + id % select_DIGITS * select_BINS;
    for (var i = lane; i < select_BINS; i += 256u) { atomicStore(&divided_state[bins + i], 0u); }
}
