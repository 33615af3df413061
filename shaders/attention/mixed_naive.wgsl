// attention/mixed_naive: attention whose heads are mixed, by the formula: the second reference, and what runs everywhere. A workgroup makes
// 64 quads of the H·E numbers of one query.
//
//     l = before(logits) + mask,  w[h, j] = exp(l[h, j] − top[h]) / Σ_j exp(l[h, j] − top[h]),  y[h] = Σ_j after(w)[h, j]·v[h, j]
//
// A first walk over the keys finds each head's top and sum, a second one the weights and what they make of the values. Lanes take pairs of
// a head and a key, then heads, then pairs again, then quads of y. Every feature of lib/attention, up to as many heads as there is workgroup
// memory for. Good for reading, and where nothing else fits. Wrong for speed: a lane reads a whole key by itself, twice, and nobody else's
// queries are served by it.
// Bytes: for each query, all its keys 2·⌈H·⌈E / 4⌉ / 64⌉ times and the values once. Barriers: 3 and 4 for KEYS keys. Workgroup memory:
// 8·H·(KEYS + 1) bytes, at most 16 KiB.
#import mixing
#const HEADS = 4u
#const KEYS = 64u        // at a time
#slot q @binding(1)      // [B, H, L, D]
#slot keys @binding(2)   // [rows, D]
#slot values @binding(3) // [rows, E]
#slot y @binding(5)      // [B, H, L, E]
#slot lse @binding(6)    // [B, H, L]
const LANE_COUNT = 64u;
const WRONG = -1.0;      // the sum, and the factor, of a head that has had a logit of NaN
var<workgroup> tile_raw: array<f32, HEADS * KEYS>;   // [H, KEYS]: logits before they are mixed, weights after it
var<workgroup> tile_logit: array<f32, HEADS * KEYS>; // logits after it, masks included
var<workgroup> tile_stat: array<vec2<f32>, HEADS>;   // the largest logit, and the sum or what a weight is multiplied by

fn product(row: u32, key: u32) -> f32 {
    let d = attention_params.keys.width;
    var sum = 0.0;
    for (var i = 0u; i < d; i += 4u) {
        sum += dot(q_load4(attention_params.q0 + row * d + i, min(d - i, 4u)), keys_load4(attention_params.keys, key, i));
    }
    return sum;
}

// What a pair's logit becomes.
fn logit_of(row: attention_Row, j: u32, key: u32) -> f32 {
    let token = attention_token(row.b, j);
    if (!attention_is_token(row.b, token) || !attention_sees(row, j, token)) { return mixing_hidden(); }
    var logit = tile_raw[row.h * KEYS + key];
    if (MIX_BEFORE) {
        logit = mixing_before_bias(row.h);
        for (var i = 0u; i < HEADS; i++) { logit += mixing_before(row.h, i) * tile_raw[i * KEYS + key]; }
    }
    return attention_masked(row, j, logit);
}

// What the softmax makes of a pair.
fn weight_of(h: u32, key: u32) -> f32 {
    return attention_exp(tile_logit[h * KEYS + key] - tile_stat[h].x) * tile_stat[h].y;
}

// And the mix of that.
fn mixed_weight_of(h: u32, key: u32) -> f32 {
    if (!MIX_AFTER) {
        if (mixing_is_hidden(tile_logit[h * KEYS + key])) { return mixing_hidden(); }
        return weight_of(h, key);
    }
    var weight = mixing_after_bias(h);
    var seen = false;
    for (var i = 0u; i < HEADS; i++) {
        if (!mixing_is_hidden(tile_logit[i * KEYS + key])) {
            weight += mixing_after(h, i) * weight_of(i, key);
            seen = true;
        }
    }
    return select(mixing_hidden(), weight, seen);
}

// Adds the tile's logits of a head to its top and sum.
fn add(h: u32) {
    var top = tile_stat[h].x;
    var sum = tile_stat[h].y;
    for (var key = 0u; key < KEYS && sum != WRONG; key++) {
        let logit = tile_logit[h * KEYS + key];
        if (mixing_is_hidden(logit)) { continue; }
        let next = select(top, logit, logit > top);
        sum = sum * attention_exp(top - next) + attention_exp(logit - next);
        top = next;
        if (attention_ordered(logit) >= attention_ENDLESS) { sum = WRONG; }
    }
    tile_stat[h] = vec2<f32>(top, sum);
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * attention_params.fold;
    let e = attention_params.values.width;
    let quads = (e + 3u) / 4u;
    let slices = (HEADS * quads + LANE_COUNT - 1u) / LANE_COUNT;
    let query = id / slices;
    if (query >= attention_params.rows / HEADS) { return; }
    var one = attention_row_of(query * HEADS);
    if (!RAGGED_Q) { one = attention_row(query / attention_params.queries, 0u, query % attention_params.queries); }
    let mine = id % slices * LANE_COUNT + lane;
    let own = attention_row(one.b, min(mine / quads, HEADS - 1u), one.l);
    let column = mine % quads * 4u;

    for (var h = lane; h < HEADS; h += LANE_COUNT) { tile_stat[h] = vec2<f32>(attention_LOWEST, 0.0); }
    var values = vec4<f32>();
    let range = attention_range(one.b, one.keys, one.position, one.position);
    for (var walk = 0u; walk < 2u; walk++) {
        for (var first = range.x; first < range.y; first += KEYS) {
            for (var pair = lane; pair < HEADS * KEYS; pair += LANE_COUNT) {
                let j = first + pair % KEYS;
                var logit = 0.0;
                if (j < range.y) {
                    let row = attention_row(one.b, pair / KEYS, one.l);
                    let token = attention_token(one.b, j);
                    if (attention_is_token(one.b, token)) {
                        logit = attention_bare_logit(row, token, product(row.at, attention_key(row.b, row.g, token)));
                    }
                }
                tile_raw[pair] = logit;
            }
            workgroupBarrier();
            for (var pair = lane; pair < HEADS * KEYS; pair += LANE_COUNT) {
                let j = first + pair % KEYS;
                var logit = mixing_hidden();
                if (j < range.y) { logit = logit_of(attention_row(one.b, pair / KEYS, one.l), j, pair % KEYS); }
                tile_logit[pair] = logit;
            }
            workgroupBarrier();
            if (walk == 0u) {
                for (var h = lane; h < HEADS; h += LANE_COUNT) { add(h); }
            } else {
                for (var pair = lane; pair < HEADS * KEYS; pair += LANE_COUNT) {
                    tile_raw[pair] = mixed_weight_of(pair / KEYS, pair % KEYS);
                }
                workgroupBarrier();
                for (var key = 0u; key < KEYS; key++) {
                    let weight = tile_raw[own.h * KEYS + key];
                    if (mixing_is_hidden(weight)) { continue; }
                    let row = attention_key(own.b, own.g, attention_token(own.b, first + key));
                    values += weight * values_load4(attention_params.values, row, column);
                }
            }
            workgroupBarrier(); // the tiles are free again
        }
        if (walk == 0u) {
            for (var h = lane; h < HEADS; h += LANE_COUNT) {
                let row = attention_row(one.b, h, one.l);
                let stat = tile_stat[h];
                let wrong = stat.y == WRONG;
                let finish = attention_finish(row, stat.x, stat.y, wrong);
                tile_stat[h] = vec2<f32>(stat.x, select(finish.x, WRONG, wrong));
                if (id % slices == 0u) { lse_store4(attention_params.lse0 + row.stat, vec4<f32>(finish.y), 1u); }
            }
        }
        workgroupBarrier();
    }
    var wrong = tile_stat[own.h].y == WRONG;
    if (MIX_AFTER) {
        for (var i = 0u; i < HEADS; i++) { wrong = wrong || tile_stat[i].y == WRONG; }
    }
    if (wrong) { values = vec4<f32>(mixing_nan()); }
    if (mine < HEADS * quads) { y_store4(attention_params.y0 + own.at * e + column, values, min(e - column, 4u)); }
}
