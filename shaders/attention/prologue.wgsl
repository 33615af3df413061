// attention/prologue: from projections to queries and to the keys and values of a cache, in one pass. The formula is in lib/prologue.
//
// A team of lanes holds a row, one token's query, key or value in one head, in registers, and ROWS rows share a workgroup: sums of a norm
// stay within a team, partners of a turn come through workgroup memory, and a lane makes the codes of a block of 32.
// Good for norms over a head, and for none. Wrong for norms over a whole projection, which attention/prologue_full has.
// Bytes: the projection once, queries, keys and values once as they are stored, cos and sin once for each token if caches hold them for its
// heads. By separate ops q and k are read and written by a split, a norm and a turn, and k and v once more for the cache: by bytes this takes
// 0.33 of their time for Qwen3's heads, and 0.46 for Llama-3's, which have no norm; `cargo xtask bench fused` times both ways.
// Barriers: two for a turn of halves, two for codes, and those of the sums. Workgroup memory: 16·TEAM·CHUNKS·ROWS bytes and that of the
// sums. Registers: 4·CHUNKS floats a lane.
// Tried on paper: pairs of a turn in one lane, so that nothing need be shared. It leaves odd head sizes and blocks of codes to other kernels.
#import team

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * prologue_params.fold) * ROWS;
    let rows = prologue_params.tokens * prologue_params.count;
    if (first >= rows) { return; }
    // Teams past the last row repeat it and store nothing: barriers need them all.
    let live = first + lane / TEAM < rows;
    let row = min(first + lane / TEAM, rows - 1u);
    let at = prologue_row(row / prologue_params.count, prologue_params.first + row % prologue_params.count);

    var v: array<vec4<f32>, CHUNKS>;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = team_i(lane, c);
        v[c] = prologue_x4(at, i, prologue_within(at, i));
    }
    if (ROPE == 1u) { v = team_turn(at, lane, v); }
    if (NORM || VALUE_NORM) {
        let count = f32(at.width);
        var mean = 0.0;
        if (NORM && stat_CENTER) {
            var sum = 0.0;
            #unroll
            for (var c = 0u; c < CHUNKS; c++) { sum += team_add(v[c]); }
            sum = reduce_sum2(vec2<f32>(sum, 0.0), lane).x;
            mean = select(0.0, sum / count, prologue_centers(at));
        }
        var squares = 0.0;
        #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            let n = prologue_within(at, team_i(lane, c));
            let d = select(vec4<f32>(), v[c] - mean, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n));
            squares += dot(d, d);
        }
        squares = reduce_sum2(vec2<f32>(squares, 0.0), lane).x;
        let factor = prologue_factor(at, squares, count);
        #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            let i = team_i(lane, c);
            v[c] = prologue_normal4(at, v[c], i, prologue_within(at, i), mean, factor);
        }
    }
    if (ROPE == 2u) { v = team_turn(at, lane, v); }
    team_store(at, lane, live, v);
}
