// attention/tiled: many queries. A workgroup makes ROWS rows of y whose keys are the same: queries of one head, or of all heads of a group.
//
//     y = Σ_j exp(logit_j − top)·v_j / Σ_j exp(logit_j − top), top the largest logit so far: where it grows, the sums shrink;
//                                                              0 where logits are bounded.
//
// KEYS keys go at a time. Their products with the queries are summed over D by slices of QUADS quads: both slices are staged, and a lane makes
// LANE_ROWS × 4 products of them. It finishes those logits by itself; the row's LANES_X lanes tell each other their largest. What
// exp makes of the logits, P, takes the place of the slices, and values come beside it by slices of KEYS columns, of which a lane adds
// one quad to each of its rows. The same lanes have the same rows throughout: top, sum and y never leave them.
// Good for prefill: a staged key serves ROWS rows, the heads of a group among them. Tiles of keys that are outside of what all the
// rows see are not looked at; the workgroups with most keys of a causal mask come first, so that none of them is left for the end.
// Wrong for few rows, which attention/split takes: rows of a tile that are not there are computed all the same.
// Keys may be parted among workgroups, as in attention/split, where tiles are too few for a device, as of one token whose many heads share keys;
// attention/merge adds the parts.
//
// A quad of queries or of P serves 4 keys or columns, and a quad of keys or values LANE_ROWS rows: with LANE_ROWS = 4, 8 quads of
// workgroup memory for 64 multiplications. Quads of keys are turned by fours, so that neighbouring lanes ask different banks.
// Which of its rows, or of four keys, a lane wants is a constant and an index of its own: for RDNA3 a quad of D takes 70 instructions of a
// lane where one index for all took 102. Those of values were 59 before.
// Sums of a slice of values are made by themselves and added to y once a tile, shrunk by then. Slices are written out, so that y stays in registers: an
// NVIDIA H100 takes 338 µs for 512 queries of Llama-3-8B where y was in memory 389, and 2,824 for 2,048 where it took 3,019.
// A value that a row does not see may be NaN, and 0·NaN is no 0. Asking for each row and value would cost as much as multiplying.
// So whoever stages a value that is not finite tells, and from then on this workgroup asks.
//
// Bytes: queries ⌈S / KEYS⌉ times, keys and values once for each ROWS rows, y once, and (E + 4)·4 for
// each row and part where the keys are parted. What is read again comes from a cache: the queries
// of a tile do not fit 16 KiB.
// Barriers for KEYS keys: 2, 2 for each slice of D, and 2 for each 256 quads of values: 18 where D = E = 128 and KEYS = 32. Of 64 keys a slice is
// half as wide, or keys and what exp makes of logits would not fit 16 KiB side by side.
// Where logits are bounded (BOUNDED), one less: a lane makes weights of its logits at once, and tells nobody the largest.
// Workgroup memory: ROWS·KEYS·4 bytes of queries or of P, 4 KiB of keys or of values, ROWS·KEYS of largest logits, ROWS·4 + KEYS·8 of places:
// less than 14.7 KiB for ROWS and KEYS of 64 and 32, or 32 and 64.
// Registers: SLICES·LANE_ROWS·4 of y, at most 64; LANE_ROWS·4 of products, as many of a slice of y, LANE_ROWS of top and sum.
#import attention
#const ROWS = 64u        // of a tile
#const KEYS = 32u        // of a tile
#const SLICES = 4u       // of KEYS columns of the values
#const LANE_COUNT = 128u // lanes of a workgroup
#slot q @binding(1)      // [B, H, L, D]
#slot keys @binding(2)   // [rows, D]
#slot values @binding(3) // [rows, E]
#slot y @binding(5)      // [B, H, L, E]
#slot lse @binding(6)    // [B, H, L]
#slot parts @binding(8)  // [rows, splits, ⌈E / 4⌉ + 1]
const LANES_X = KEYS / 4u; // lanes of a row
const LANES_Y = LANE_COUNT / LANES_X;
const LANE_ROWS = ROWS / LANES_Y;
const STAGED = 256u / LANES_X;  // keys whose values are staged at a time
const QUADS = 256u / KEYS;      // of a slice of D: 4 KiB of keys
const HIDDEN = 0xff800000u;     // the logit of a key that a row does not see
// What is a constant to a lane, which of its rows or of four keys, is an index of its own: the other, its place, is found and checked once for all.
var<workgroup> tile_q: array<array<vec4<f32>, ROWS / LANE_ROWS * max(QUADS, LANES_X)>, LANE_ROWS>; // queries; or exp of logits
var<workgroup> tile_k: array<array<vec4<f32>, 64>, 4>;                                             // keys; or values
var<workgroup> tile_top: array<array<u32, LANE_COUNT>, LANE_ROWS>; // the largest logit of each lane, in order; at the end its sum
var<workgroup> tile_at: array<u32, ROWS>;                  // rows of q
var<workgroup> tile_key: array<u32, KEYS>;                 // rows of keys and values
var<workgroup> tile_token: array<u32, KEYS>;
var<workgroup> tile_odd: atomic<u32>;                      // 1 where a value has not been finite

// Where quad i of one of four keys of lanes x stands: turned, or neighbours would ask one bank.
fn place_key(lane_x: u32, i: u32) -> u32 {
    return lane_x * QUADS + ((i + lane_x) & (QUADS - 1u));
}

// Queries and keys, quads QUADS·slice … QUADS·slice + QUADS − 1.
fn stage(lane: u32, slice: u32) {
    let d = attention_params.keys.width;
    for (var i = lane; i < ROWS * QUADS; i += LANE_COUNT) {
        let row = i / QUADS;
        let n = (slice * QUADS + i % QUADS) * 4u;
        var v = vec4<f32>();
        if (n < d) { v = q_load4(attention_params.q0 + tile_at[row] * d + n, min(d - n, 4u)); }
        // What is past the end of a query may be anything.
        v = select(vec4<f32>(), v, vec4<u32>(n, n + 1u, n + 2u, n + 3u) < vec4<u32>(d));
        tile_q[row % LANE_ROWS][row / LANE_ROWS * QUADS + i % QUADS] = v;
    }
    for (var i = lane; i < KEYS * QUADS; i += LANE_COUNT) {
        let at = i / QUADS;
        let key = tile_key[at];
        var v = vec4<f32>();
        if (key != attention_NONE) { v = keys_load4(attention_params.keys, key, (slice * QUADS + i % QUADS) * 4u); }
        tile_k[at % 4u][place_key(at / 4u, i % QUADS)] = v;
    }
}

// Values of STAGED keys of the tile from `first` on, one quad for each lane of a row.
fn stage_values(lane: u32, slice: u32, first: u32) {
    for (var i = lane; i < STAGED * LANES_X; i += LANE_COUNT) {
        let at = i / LANES_X;
        let key = tile_key[first + at];
        var v = vec4<f32>();
        if (key != attention_NONE) { v = values_load4(attention_params.values, key, (slice * LANES_X + i % LANES_X) * 4u); }
        let exponents = bitcast<vec4<u32>>(v) & vec4<u32>(0x7f800000u);
        if (any(exponents == vec4<u32>(0x7f800000u))) { atomicStore(&tile_odd, 1u); }
        tile_k[at % 4u][at / 4u * LANES_X + i % LANES_X] = v;
    }
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * attention_params.fold;
    let split = id % attention_params.splits;
    let own = attention_tile(id / attention_params.splits, ROWS);
    if (own.count == 0u) { return; }
    let count = own.count;
    let one = attention_tile_row(own, 0u);
    let range = attention_part(attention_tile_range(own), split, KEYS);

    if (lane == 0u) { atomicStore(&tile_odd, 0u); } // workgroup memory may hold anything at first
    // What is past the last row is the last row again, and stored by nobody.
    for (var i = lane; i < ROWS; i += LANE_COUNT) { tile_at[i] = attention_tile_row(own, i).at; }
    let lane_x = lane % LANES_X;
    let lane_y = lane / LANES_X;
    let lane_row = lane_y * LANE_ROWS;
    var rows: array<attention_Row, LANE_ROWS>;
    var top: array<f32, LANE_ROWS>;
    var sum: array<f32, LANE_ROWS>; // of this lane's keys
    var wrong: array<bool, LANE_ROWS>;
    var y: array<vec4<f32>, SLICES * LANE_ROWS>;
    #unroll
    for (var i = 0u; i < LANE_ROWS; i++) {
        rows[i] = attention_tile_row(own, lane_row + i);
        top[i] = attention_first_top();
    }

    for (var key0 = range.x; key0 < range.y; key0 += KEYS) {
        for (var i = lane; i < KEYS; i += LANE_COUNT) {
            var token = 0u;
            var key = attention_NONE;
            if (key0 + i < range.y) {
                token = attention_token(own.b, key0 + i);
                if (attention_is_token(own.b, token)) { key = attention_key(own.b, one.g, token); }
            }
            tile_token[i] = token;
            tile_key[i] = key;
        }
        workgroupBarrier();

        var products = array<vec4<f32>, LANE_ROWS>();
        for (var slice = 0u; slice * QUADS * 4u < attention_params.keys.width; slice++) {
            stage(lane, slice);
            workgroupBarrier();
            for (var i = 0u; i < QUADS; i++) {
                let at = place_key(lane_x, i);
                let k0 = tile_k[0][at];
                let k1 = tile_k[1][at];
                let k2 = tile_k[2][at];
                let k3 = tile_k[3][at];
                #unroll
                for (var r = 0u; r < LANE_ROWS; r++) {
                    let v = tile_q[r][lane_y * QUADS + i];
                    products[r] += vec4<f32>(dot(v, k0), dot(v, k1), dot(v, k2), dot(v, k3));
                }
            }
            workgroupBarrier(); // the tile is free again
        }

        var largest = array<u32, LANE_ROWS>();
        #unroll
        for (var i = 0u; i < 4u; i++) {
            let at = lane_x * 4u + i;
            let token = tile_token[at];
            let is_key = tile_key[at] != attention_NONE;
            #unroll
            for (var r = 0u; r < LANE_ROWS; r++) {
                var logit = bitcast<f32>(HIDDEN | attention_params.nothing);
                if (BOUNDED) { logit = 0.0; } // its weight
                if (is_key && attention_sees(rows[r], key0 + at, token)) {
                    logit = attention_logit(rows[r], key0 + at, token, products[r][i]);
                    if (BOUNDED) {
                        logit = attention_weight(logit);
                        wrong[r] = wrong[r] || logit < 0.0;
                    } else {
                        largest[r] = max(largest[r], attention_ordered(logit));
                    }
                }
                products[r][i] = logit;
            }
        }
        if (!BOUNDED) {
            #unroll
            for (var r = 0u; r < LANE_ROWS; r++) { tile_top[r][lane] = largest[r]; }
            workgroupBarrier();
        }

        var shrink = array<f32, LANE_ROWS>();
        #unroll
        for (var r = 0u; r < LANE_ROWS; r++) {
            if (BOUNDED) {
                let weights = products[r];
                shrink[r] = 1.0;
                sum[r] += weights.x + weights.y + weights.z + weights.w;
                tile_q[r][lane] = weights;
            } else {
                var all = 0u;
                for (var i = 0u; i < LANES_X; i++) { all = max(all, tile_top[r][lane_y * LANES_X + i]); }
                wrong[r] = wrong[r] || all >= attention_ENDLESS;
                var next = top[r];
                if (all != 0u && !wrong[r]) { next = max(next, attention_from_ordered(all)); }
                shrink[r] = attention_exp(top[r] - next);
                top[r] = next;
                var weights = vec4<f32>();
                #unroll
                for (var i = 0u; i < 4u; i++) {
                    let logit = products[r][i];
                    if (bitcast<u32>(logit) != HIDDEN && !wrong[r]) { weights[i] = attention_exp(logit - next); }
                }
                sum[r] = sum[r] * shrink[r] + (weights.x + weights.y + weights.z + weights.w);
                tile_q[r][lane] = weights;
            }
        }

        #unroll
        for (var slice = 0u; slice < SLICES; slice++) {
            var more = array<vec4<f32>, LANE_ROWS>();
            for (var key = 0u; key < KEYS; key += STAGED) {
                stage_values(lane, slice, key);
                workgroupBarrier();
                let odd = atomicLoad(&tile_odd) != 0u;
                for (var i = 0u; i < STAGED; i += 4u) {
                    let at = i / 4u * LANES_X + lane_x;
                    let v0 = tile_k[0][at];
                    let v1 = tile_k[1][at];
                    let v2 = tile_k[2][at];
                    let v3 = tile_k[3][at];
                    #unroll
                    for (var r = 0u; r < LANE_ROWS; r++) {
                        let weights = tile_q[r][lane_y * LANES_X + (key + i) / 4u];
                        if (odd) {
                            if (weights.x > 0.0) { more[r] += weights.x * v0; }
                            if (weights.y > 0.0) { more[r] += weights.y * v1; }
                            if (weights.z > 0.0) { more[r] += weights.z * v2; }
                            if (weights.w > 0.0) { more[r] += weights.w * v3; }
                        } else {
                            more[r] += weights.x * v0 + weights.y * v1 + weights.z * v2 + weights.w * v3;
                        }
                    }
                }
                workgroupBarrier(); // the tile is free again
            }
            #unroll
            for (var r = 0u; r < LANE_ROWS; r++) {
                y[slice * LANE_ROWS + r] = y[slice * LANE_ROWS + r] * shrink[r] + more[r];
            }
        }
    }

    // What is wrong for one lane of a row is for all.
    #unroll
    for (var r = 0u; r < LANE_ROWS; r++) {
        tile_top[r][lane] = bitcast<u32>(select(sum[r], -1.0, wrong[r]));
    }
    workgroupBarrier();
    let e = attention_params.values.width;
    let quads = (e + 3u) / 4u;
    #unroll
    for (var r = 0u; r < LANE_ROWS; r++) {
        if (lane_row + r < count) {
            var all = 0.0;
            var is_wrong = false;
            for (var i = 0u; i < LANES_X; i++) {
                let of_lane = bitcast<f32>(tile_top[r][lane_y * LANES_X + i]);
                is_wrong = is_wrong || of_lane < 0.0;
                all += of_lane;
            }
            let finish = attention_finish(rows[r], top[r], all, is_wrong);
            let part = (rows[r].at * attention_params.splits + split) * (quads + 1u);
            #unroll
            for (var slice = 0u; slice < SLICES; slice++) {
                let quad = slice * LANES_X + lane_x;
                let v = y[slice * LANE_ROWS + r];
                if (quad < quads) {
                    if (parts_ON) {
                        parts_store4(part + quad, v);
                    } else {
                        y_store4(attention_params.y0 + rows[r].at * e + quad * 4u, v * finish.x, min(e - quad * 4u, 4u));
                    }
                }
            }
            if (lane_x == 0u) {
                if (parts_ON) {
                    parts_store4(part + quads, vec4<f32>(top[r], all, select(0.0, 1.0, is_wrong), 0.0));
                } else {
                    lse_store4(attention_params.lse0 + rows[r].stat, vec4<f32>(finish.y), 1u);
                }
            }
        }
    }
}
