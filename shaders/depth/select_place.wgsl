// depth/select_place: where the kept tokens of divided samples go, a workgroup for each tile of each sample.
//
// Adds up what depth/select_sum has found of the tiles before, and goes on from there as depth/select_one does.
// Good as the last step over a divided sample. Wrong for short samples, where depth/select_one is one dispatch.
// Reads the scores and flags once, 8 bytes for each tile of the sample; writes 9 bytes a token and 4 a kept one. Barriers: 12, and 3 for
// each 1024 tokens.
#import chunk
#import divided

@compute @workgroup_size(pick_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * select_params.fold;
    if (id >= select_params.samples * select_params.tiles) { return; }
    let sample = id / select_params.tiles;
    let tile = id % select_params.tiles;
    let state = divided_at(sample);
    let choice = candidate_Choice(
        atomicLoad(&divided_state[state + divided_CHOICE]), atomicLoad(&divided_state[state + divided_CHOICE + 1u]));
    var sums = vec2<u32>();   // of a lane's tiles
    var before = vec2<u32>(); // of those that lie before this one
    for (var t = lane; t < select_params.tiles; t += pick_LANES) {
        let of_tile = state + divided_SUMS + t * 2u;
        let sum = vec2<u32>(atomicLoad(&divided_state[of_tile]), atomicLoad(&divided_state[of_tile + 1u]));
        sums += sum;
        before += select(vec2<u32>(), sum, t < tile);
    }
    let all = vec2<u32>(pick_before(sums.x, lane).y, pick_before(sums.y, lane).y);
    var counts = vec2<u32>(pick_before(before.x, lane).y, pick_before(before.y, lane).y);
    let start = tile * divided_TILE;
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
        counts = chunk_store(sample, start + chunk * chunk_TOKENS, choice, counts, lane);
    }
    let count = min(chunk_kept(all, choice), select_params.places);
    if (tile == 0u && lane == 0u) { count_put(select_params.count0 + sample, count); }
    // There may be more places than tokens: the last tile has those.
    let end = select(start + divided_TILE, 0xffffffffu, tile + 1u == select_params.tiles);
    chunk_fill(sample, count, start, end, lane);
}
