// depth/select_sum: how many tokens of each tile of divided samples are kept, a workgroup a tile.
//
// Two numbers for each tile: what is kept whatever comes, and ties, of which only the first of the sample are chosen. The first tile of a
// sample also stores the choice.
// Good between depth/select_count and depth/select_place. Wrong for short samples, where depth/select_one is one dispatch.
// Reads the scores and flags once, 6 bytes a token. Barriers: 3, and 6 for each digit.
#import chunk
#import agreed

@compute @workgroup_size(pick_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * select_params.fold;
    if (id >= select_params.samples * select_params.tiles) { return; }
    let sample = id / select_params.tiles;
    let tile = id % select_params.tiles;
    let choice = agreed_choice(sample, select_DIGITS, lane);
    var counts = 0u;
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
        let i = tile * divided_TILE + chunk * chunk_TOKENS + lane * 4u;
        counts += chunk_counts(chunk_kinds(sample, i, choice.threshold));
    }
    let all = pick_before(counts, lane).y;
    if (lane != 0u) { return; }
    let state = divided_at(sample);
    if (tile == 0u) {
        atomicStore(&divided_state[state + divided_CHOICE], choice.threshold);
        atomicStore(&divided_state[state + divided_CHOICE + 1u], choice.ties);
    }
    atomicStore(&divided_state[state + divided_SUMS + tile * 2u], all & 0xffffu);
    atomicStore(&divided_state[state + divided_SUMS + tile * 2u + 1u], all >> 16u);
}
