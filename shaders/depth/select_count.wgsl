// depth/select_count: one digit of the radix select of divided samples, a workgroup for each tile of each sample.
//
// Counts the candidates of a tile that share the digits found so far, by their next digit, in workgroup memory, and adds the counts to
// those of the sample. The earlier digits are found in lib/agreed.
// Good for long samples. Wrong for short ones, where depth/select_one is one dispatch.
// Reads the scores and flags once, 6 bytes a token; up to 2048 atomic additions a tile. Barriers: 2, and 6 for each earlier digit.
#const DIGIT = 0u // 0 is the highest
#import agreed

@compute @workgroup_size(pick_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * select_params.fold;
    if (id >= select_params.samples * select_params.tiles) { return; }
    let sample = id / select_params.tiles;
    let start = id % select_params.tiles * divided_TILE;
    let choice = agreed_choice(sample, DIGIT, lane);
    pick_clear(lane);
    workgroupBarrier();
    for (var i = start + lane; i < min(start + divided_TILE, select_params.tokens); i += pick_LANES) {
        pick_count(sample * select_params.tokens + i, DIGIT, choice.threshold);
    }
    workgroupBarrier();
    let bins = divided_at(sample) + DIGIT * select_BINS;
    for (var i = lane; i < select_BINS; i += pick_LANES) {
        let count = atomicLoad(&pick_bins[i]);
        if (count > 0u) { atomicAdd(&divided_state[bins + i], count); }
    }
}
