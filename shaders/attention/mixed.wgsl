// attention/mixed: attention whose heads are mixed before the softmax, after it, or both. A workgroup makes all heads of QUERIES queries.
//
//     l = before(logits) + mask,  w[h, j] = exp(l[h, j] − top[h]) / Σ_j exp(l[h, j] − top[h]),  y[h] = Σ_j after(w)[h, j]·v[h, j]
//
// A head's logit needs those of all heads, so the logits of all rows (a row is a query of one head) and of 32 keys stand in workgroup memory
// at a time; nothing grows with the keys. After the softmax a head's weight needs the sums of all heads: so where weights are mixed, a first
// walk over the keys finds each row's top and sum, and a second one makes the logits again, as weights, and adds values. Where only logits
// are mixed, one walk does, whose sums shrink where a top grows, as everywhere.
// For 32 keys: LANES lanes share a key, neighbours side by side, make its products with four rows, and sum them over lanes. Then a lane has
// one key and one query, and mixes the logits of MINE heads: it keeps them in registers until everybody has read the tile. Then
// LANES lanes share a row: top and sum. In the walk that adds values, a lane has a quad of columns of a head and TAKEN queries of it.
// Good for what has such mixes: vision transformers of a few hundred tokens. Wrong for anything else: it makes the products twice, and
// rows that share keys, such as heads of a group, ask the cache for the same values each. The keys are not parted over workgroups: one query
// of long context leaves a device idle.
//
// Without subgroups LANES is 1: a lane reads a key by itself, which asks for as many lines as there are lanes, but no sum waits at a barrier;
// sums by a tree of 8 lanes would take 5 barriers for every four rows.
//
// Bytes for QUERIES queries: keys of all heads once for each walk, values once; queries from a cache, D / 4 quads of each row for 32 keys.
// Mixes: H² multiplications for a key and a query, and as many numbers of a matrix, each for 32 lanes at once; D·H of products beside it.
// Barriers for 32 keys: 4 in the first walk, 6 in the second (5 where there is but one), and none for sums where LANES ≤ SUBGROUP.
// Workgroup memory: 144 bytes a row, of which there are at most 64, and what the reduction takes: at most 14 KiB.
// Registers: SLOTS·TAKEN quads of y, at most 16; MINE mixed logits, at most 8; 8 quads of a key, or of values, that are on their way.
// Tried on paper: products by staged slices of keys, as attention/tiled has them: a slice serves QUERIES rows only, each head having keys of
// its own, and for 12 heads of 64 numbers there would be 48 barriers for 32 keys. All logits in a buffer: grows with the square of the tokens.
#import mixing
#import four
#const HEADS = 4u
#const GROUP = 1u        // heads that share keys, neighbours
#const QUERIES = 4u      // 1, 2, 4 or 8
#const QUADS = 16u       // of a query, rounded up to whole turns of the lanes that share a key
#const COLUMNS = 16u     // quads of a value
#const TAKEN = 4u        // queries of which a lane adds values; they divide QUERIES
#const LANES = 8u        // lanes that share a key, or a row
#const LANE_COUNT = 256u // lanes of a workgroup
#const SUBGROUP = 8u
#slot reduce
#slot q @binding(1)      // [B, H, L, D]
#slot keys @binding(2)   // [rows, D]
#slot values @binding(3) // [rows, E]
#slot y @binding(5)      // [B, H, L, E]
#slot lse @binding(6)    // [B, H, L]
const KEYS = 32u;
const PITCH = KEYS + 1u;                               // from one row of the tile to the next, so that rows begin in different banks
const ROWS = HEADS * QUERIES;                          // row r is query r % QUERIES of head r / QUERIES
const TEAMS = LANE_COUNT / LANES;
const ROW_TURNS = (ROWS + TEAMS - 1u) / TEAMS;
const FOURS = TEAMS / KEYS;                            // fours of rows whose products are made at the same time
const FOUR_TURNS = (ROWS + FOURS * 4u - 1u) / (FOURS * 4u);
const GROUP_ROWS = GROUP * QUERIES;
const SAME = min(4u, GROUP_ROWS & (~GROUP_ROWS + 1u)); // rows of a four that surely share a key
const QUAD_TURNS = QUADS / LANES;
const AHEAD = min(QUAD_TURNS, 8u);                     // quads of a key that a lane asks for at a time
const PARTS = LANE_COUNT / KEYS / QUERIES;             // lanes that mix heads for the same key and query
const MINE = (HEADS + PARTS - 1u) / PARTS;             // heads of each
const SLOTS = (HEADS * COLUMNS * (QUERIES / TAKEN) + LANE_COUNT - 1u) / LANE_COUNT; // quads of columns of a lane
const VALUES_AHEAD = 8u;
const WRONG = -1.0;                                    // the factor of a row that has had a logit of NaN
var<workgroup> tile: array<f32, ROWS * PITCH>;         // logits, then mixed ones, then weights, then mixed weights
var<workgroup> tile_at: array<u32, ROWS>;              // rows of q
var<workgroup> tile_stat: array<vec2<f32>, ROWS>;      // two walks: top, and what weights are multiplied by; one: what sums shrink by

fn query(at: u32, quad: u32) -> vec4<f32> {
    let d = attention_params.keys.width;
    let n = quad * 4u;
    let inside = min(n, (d - 1u) & ~3u);
    let v = q_load4(attention_params.q0 + at * d + inside, min(d - inside, 4u));
    // What is past the end of a query may be anything.
    return select(vec4<f32>(), v, vec4<u32>(n, n + 1u, n + 2u, n + 3u) < vec4<u32>(d));
}

// This lane's share of the products of a token's keys with rows r0 … r0 + 3. All loads of a turn stand before their first use, and in no branch.
fn products(b: u32, token: u32, lane_of_key: u32, r0: u32) -> vec4<f32> {
    var sums = vec4<f32>();
    #unroll
    for (var s = 0u; s < 4u; s += SAME) {
        let g = attention_row(b, min(r0 + s, ROWS - 1u) / QUERIES, 0u).g;
        let key = attention_key(b, g, token);
        for (var turn = 0u; turn < QUAD_TURNS; turn += AHEAD) {
            var v = array<vec4<f32>, AHEAD>();
            #unroll
            for (var n = 0u; n < AHEAD; n++) {
                v[n] = keys_load4(attention_params.keys, key, ((turn + n) * LANES + lane_of_key) * 4u);
            }
            #unroll
            for (var n = 0u; n < AHEAD; n++) {
                #unroll
                for (var i = 0u; i < SAME; i++) {
                    let at = tile_at[min(r0 + s + i, ROWS - 1u)];
                    sums[s + i] += dot(query(at, (turn + n) * LANES + lane_of_key), v[n]);
                }
            }
        }
    }
    return sums;
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own_tile = attention_tile_of(group.x + group.y * attention_params.fold, QUERIES, 1u, 1u);
    if (own_tile.count == 0u) { return; }
    let count = own_tile.count;
    let b = own_tile.b;
    let l0 = own_tile.row0;
    let range = attention_tile_range(own_tile);

    // What is past the last query is the last query again, and stored by nobody.
    for (var r = lane; r < ROWS; r += LANE_COUNT) {
        tile_at[r] = attention_row(b, r / QUERIES, l0 + min(r % QUERIES, count - 1u)).at;
    }
    workgroupBarrier();

    let team = lane / LANES;
    let t = lane % LANES;
    let key = lane % KEYS; // of this lane, where heads are mixed
    let way = lane / KEYS;
    let q = way % QUERIES;
    let part = way / QUERIES;
    var row = attention_row(b, 0u, l0 + min(q, count - 1u)); // of whatever head
    var top: array<f32, ROW_TURNS>;
    var sum: array<f32, ROW_TURNS>; // of this lane's logits
    var wrong: array<bool, ROW_TURNS>;
    #unroll
    for (var turn = 0u; turn < ROW_TURNS; turn++) { top[turn] = attention_LOWEST; }
    var y: array<vec4<f32>, SLOTS * TAKEN>;

    for (var walk = select(1u, 0u, MIX_AFTER); walk < 2u; walk++) {
        for (var key0 = range.x; key0 < range.y; key0 += KEYS) {
            // What is past the last key is the last key again, and seen by nobody.
            let of_team = attention_some_token(b, min(key0 + team % KEYS, range.y - 1u));
            #unroll
            for (var turn = 0u; turn < FOUR_TURNS; turn++) {
                let r0 = (turn * FOURS + team / KEYS) * 4u;
                let four = reduce_sum4(products(b, of_team, t, r0), lane);
                // Rows are finished by different lanes.
                for (var i = t; i < 4u; i += LANES) {
                    let r = r0 + i;
                    if (r >= ROWS) { break; }
                    let finished = attention_row(b, r / QUERIES, l0 + min(r % QUERIES, count - 1u));
                    tile[r * PITCH + team % KEYS] = attention_bare_logit(finished, of_team, four_at(four, i));
                }
            }
            workgroupBarrier();

            var mixed = array<f32, MINE>();
            #unroll
            for (var n = 0u; n < MINE; n++) {
                let h = min(part + n * PARTS, HEADS - 1u);
                if (MIX_BEFORE) { mixed[n] = mixing_before_bias(h); } else { mixed[n] = tile[(h * QUERIES + q) * PITCH + key]; }
            }
            if (MIX_BEFORE) {
                for (var i = 0u; i < HEADS; i++) {
                    let logit = tile[(i * QUERIES + q) * PITCH + key];
                    #unroll
                    for (var n = 0u; n < MINE; n++) {
                        mixed[n] += mixing_before(min(part + n * PARTS, HEADS - 1u), i) * logit;
                    }
                }
            }
            workgroupBarrier();
            let j = key0 + key;
            let token = attention_token(b, min(j, range.y - 1u));
            let here = j < range.y && attention_is_token(b, token);
            #unroll
            for (var n = 0u; n < MINE; n++) {
                row.h = part + n * PARTS;
                if (row.h < HEADS) {
                    let r = row.h * QUERIES + q;
                    var made = mixing_hidden();
                    if (here && attention_sees(row, j, token)) {
                        made = attention_masked(row, j, mixed[n]);
                        if (MIX_AFTER && walk == 1u) { made = attention_exp(made - tile_stat[r].x) * tile_stat[r].y; }
                    }
                    tile[r * PITCH + key] = made;
                }
            }
            workgroupBarrier();

            if (!MIX_AFTER || walk == 0u) {
                #unroll
                for (var turn = 0u; turn < ROW_TURNS; turn++) {
                    let own = min(turn * TEAMS + team, ROWS - 1u);
                    var largest = 0u;
                    for (var at = t; at < KEYS; at += LANES) {
                        let logit = tile[own * PITCH + at];
                        if (!mixing_is_hidden(logit)) { largest = max(largest, attention_ordered(logit)); }
                    }
                    largest = reduce_max(largest, lane);
                    wrong[turn] = wrong[turn] || largest >= attention_ENDLESS;
                    var next = top[turn];
                    if (largest != 0u && !wrong[turn]) { next = max(next, attention_from_ordered(largest)); }
                    let shrink = attention_exp(top[turn] - next);
                    top[turn] = next;
                    sum[turn] *= shrink;
                    if (turn * TEAMS + team < ROWS) {
                        for (var at = t; at < KEYS; at += LANES) {
                            let logit = tile[own * PITCH + at];
                            if (mixing_is_hidden(logit)) { continue; }
                            var weight = 0.0;
                            if (!wrong[turn]) { weight = attention_exp(logit - next); }
                            sum[turn] += weight;
                            if (!MIX_AFTER) { tile[own * PITCH + at] = weight; }
                        }
                        if (!MIX_AFTER && t == 0u) { tile_stat[own] = vec2<f32>(shrink, 0.0); }
                    }
                }
                workgroupBarrier(); // the tile is free again, or has weights
            }
            if (walk == 0u) { continue; }

            if (MIX_AFTER) {
                var seen = false; // by some head
                #unroll
                for (var n = 0u; n < MINE; n++) { mixed[n] = mixing_after_bias(min(part + n * PARTS, HEADS - 1u)); }
                for (var i = 0u; i < HEADS; i++) {
                    let weight = tile[(i * QUERIES + q) * PITCH + key];
                    if (mixing_is_hidden(weight)) { continue; }
                    seen = true;
                    #unroll
                    for (var n = 0u; n < MINE; n++) {
                        mixed[n] += mixing_after(min(part + n * PARTS, HEADS - 1u), i) * weight;
                    }
                }
                workgroupBarrier();
                #unroll
                for (var n = 0u; n < MINE; n++) {
                    let h = part + n * PARTS;
                    if (h < HEADS) { tile[(h * QUERIES + q) * PITCH + key] = select(mixing_hidden(), mixed[n], seen); }
                }
                workgroupBarrier();
            }

            #unroll
            for (var slot = 0u; slot < SLOTS; slot++) {
                let index = lane + slot * LANE_COUNT;
                let h = min(index / COLUMNS, HEADS * (QUERIES / TAKEN) - 1u) % HEADS;
                let q0 = min(index / COLUMNS / HEADS, QUERIES / TAKEN - 1u) * TAKEN;
                let g = attention_row(b, h, 0u).g;
                if (!MIX_AFTER) {
                    #unroll
                    for (var i = 0u; i < TAKEN; i++) { y[slot * TAKEN + i] *= tile_stat[h * QUERIES + q0 + i].x; }
                }
                for (var first = 0u; first < KEYS; first += VALUES_AHEAD) {
                    var v = array<vec4<f32>, VALUES_AHEAD>();
                    #unroll
                    for (var n = 0u; n < VALUES_AHEAD; n++) {
                        let at = attention_some_key(b, g, min(key0 + first + n, range.y - 1u));
                        v[n] = values_load4(attention_params.values, at, index % COLUMNS * 4u);
                    }
                    #unroll
                    for (var n = 0u; n < VALUES_AHEAD; n++) {
                        #unroll
                        for (var i = 0u; i < TAKEN; i++) {
                            // A value that is not seen may be NaN.
                            let weight = tile[(h * QUERIES + q0 + i) * PITCH + first + n];
                            if (!mixing_is_hidden(weight)) { y[slot * TAKEN + i] += weight * v[n]; }
                        }
                    }
                }
            }
            workgroupBarrier(); // the tile is free again
        }
        if (MIX_AFTER && walk == 1u) { break; }

        // The sums are whole.
        #unroll
        for (var turn = 0u; turn < ROW_TURNS; turn++) {
            let whole = reduce_sum4(vec4<f32>(sum[turn], 0.0, 0.0, 0.0), lane).x;
            let r = turn * TEAMS + team;
            if (t == 0u && r < ROWS) {
                let own = attention_row(b, r / QUERIES, l0 + min(r % QUERIES, count - 1u));
                let finish = attention_finish(own, top[turn], whole, wrong[turn]);
                tile_stat[r] = vec2<f32>(top[turn], select(finish.x, WRONG, wrong[turn]));
                if (r % QUERIES < count) { lse_store4(attention_params.lse0 + own.stat, vec4<f32>(finish.y), 1u); }
            }
        }
        workgroupBarrier();
    }

    let e = attention_params.values.width;
    #unroll
    for (var slot = 0u; slot < SLOTS; slot++) {
        let index = lane + slot * LANE_COUNT;
        let h = index / COLUMNS % HEADS;
        let q0 = index / COLUMNS / HEADS * TAKEN;
        let column = index % COLUMNS * 4u;
        #unroll
        for (var i = 0u; i < TAKEN; i++) {
            if (q0 + i < count) {
                let r = h * QUERIES + q0 + i;
                let factor = tile_stat[r].y;
                var bad = factor == WRONG;
                var v = y[slot * TAKEN + i];
                if (MIX_AFTER) {
                    for (var other = 0u; other < HEADS; other++) { bad = bad || tile_stat[other * QUERIES + q0 + i].y == WRONG; }
                } else {
                    v *= factor;
                }
                if (bad) { v = vec4<f32>(mixing_nan()); }
                y_store4(attention_params.y0 + tile_at[r] * e + column, v, min(e - column, 4u));
            }
        }
    }
}
