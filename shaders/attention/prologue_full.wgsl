// attention/prologue_full: attention/prologue where the norm is over a token's whole projection (OLMo2): a workgroup has one token's queries,
// keys or values. It reads them once for the sums, twice where the mean is subtracted, and once more, from the nearest cache, for what it
// stores. The formula is in lib/prologue.
//
// Good for norms over a projection. Wrong for others: a token of a decoder keeps three workgroups busy, no more.
// Bytes of memory: as attention/prologue. Barriers: those of one or two sums, then for each ROWS heads two for a turn of halves and two for codes.
#import team
#import four

// Four numbers of a row before the norm, of which the first n are real.
fn before4(at: prologue_Row, i: u32, n: u32) -> vec4<f32> {
    var v = prologue_x4(at, i, n);
    if (ROPE == 1u && prologue_turns(at) && n > 0u) {
        let table = prologue_table(at);
        #unroll
        for (var j = 0u; j < 4u; j++) {
            if (j < n && i + j < 2u * prologue_params.half) {
                let p = prologue_partner(i + j);
                let quad = prologue_x4(at, p & ~3u, prologue_within(at, p & ~3u));
                v[j] = prologue_turn1(v[j], four_at(quad, p & 3u), i + j, table);
            }
        }
    }
    return v;
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Parts of this dispatch: queries, keys, values, as far as they are asked for.
    let p = prologue_params;
    let begin = select(select(2u, 1u, p.first < p.heads + p.groups), 0u, p.first < p.heads);
    let end = p.first + p.count;
    let to = select(select(1u, 2u, end > p.heads), 3u, end > p.heads + p.groups);
    let id = group.x + group.y * p.fold;
    let token = id / (to - begin);
    if (token >= p.tokens) { return; }
    let kind = begin + id % (to - begin);
    let heads = select(p.groups, p.heads, kind == 0u);
    let row0 = select(select(p.heads + p.groups, p.heads, kind == 1u), 0u, kind == 0u);
    let one = prologue_row(token, row0);

    var mean = 0.0;
    var factor = 1.0;
    if (NORM && kind != 2u) {
        let quads = (one.width + 3u) / 4u;
        let count = f32(one.width * heads);
        if (stat_CENTER) {
            var sum = 0.0;
            for (var j = lane; j < quads * heads; j += LANE_COUNT) {
                let at = prologue_Row(one.kind, j / quads, one.token, one.b, one.l, one.width);
                let i = j % quads * 4u;
                sum += team_add(before4(at, i, prologue_within(at, i)));
            }
            mean = reduce_sum2(vec2<f32>(sum, 0.0), lane).x / count;
        }
        var squares = 0.0;
        for (var j = lane; j < quads * heads; j += LANE_COUNT) {
            let at = prologue_Row(one.kind, j / quads, one.token, one.b, one.l, one.width);
            let i = j % quads * 4u;
            let n = prologue_within(at, i);
            let d = select(vec4<f32>(), before4(at, i, n) - mean, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n));
            squares += dot(d, d);
        }
        squares = reduce_sum2(vec2<f32>(squares, 0.0), lane).x;
        factor = prologue_factor(one, squares, count);
    }
    for (var head0 = 0u; head0 < heads; head0 += ROWS) {
        // Teams past the last head repeat it and store nothing.
        let live = head0 + lane / TEAM < heads;
        let head = min(head0 + lane / TEAM, heads - 1u);
        let at = prologue_Row(one.kind, head, one.token, one.b, one.l, one.width);
        var v = array<vec4<f32>, CHUNKS>();
        #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            let i = team_i(lane, c);
            let n = prologue_within(at, i);
            v[c] = prologue_normal4(at, before4(at, i, n), i, n, mean, factor);
        }
        if (ROPE == 2u) { v = team_turn(at, lane, v); }
        team_store(at, lane, live, v);
    }
}
