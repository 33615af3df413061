// attention/split: few queries against many keys, of which a workgroup takes one part for all heads of queries that share them.
//
//     part: top = max_j logit_j, sum = Σ_j exp(logit_j − top), values = Σ_j exp(logit_j − top)·v_j   over the keys j of the part
//     where logits are bounded, top = 0
//
// A tile is ROWS rows: the heads of a group, and where there are several queries those too, so that each byte of a key and a value
// is read once for as many of them. More rows than that, and heads whose keys are told one by one (KV_HEAD), read it again. 32 keys go at a time. LANES lanes share a key: each takes every LANES-th quad of it, neighbours side by
// side (of codes: a block of 32, whose scale and words are loaded once), for all rows at once, and their products are summed over lanes, each of
// which makes a weight of some rows'. Then COLUMNS lanes share a value, a quad each, and the lanes left over take other keys.
// Weights are about the base of their row, a logit that was the largest once: they may grow to 2^6 before it rises to the largest so far, LANES lanes a
// row, and sums shrink. So after the first keys nobody looks for the largest. Where logits are bounded (BOUNDED) the base is 0.
// A value that a row does not see may be NaN, and is not multiplied by its weight of 0; where all rows see all 32 keys, nothing asks.
// What memory has is asked for long before it is used, and kept as it lies until then: the values of 32 keys before their keys are looked at,
// and the next 32 keys before the softmax of these. (A compiler may ask later: RDNA3's asks for both once weights are there, all 16 quads at
// once.)
// Good for decoding, where bytes of keys and values are all that counts. Wrong for many queries: each ROWS of them read the keys again, where
// attention/tiled keeps a tile of keys for more.
//
// Bytes: keys and values once for each ROWS rows, and (E + 4)·4 for each row and part where the keys are parted. Keys are parted where the
// tiles alone would not fill a device; attention/merge adds the parts.
// What counts is how much of memory is on its way: a lane asks for 8 quads of values and 8 of keys at a time, and 512 workgroups of 128
// lanes for 8 MiB of f16, where 3 TB/s and 700 ns want 2 MiB. More parts than that would wait for each other, and cost a merge.
// An NVIDIA H100 takes 10 to 11 µs for 1,024 keys of 8 groups of 2 or 4 heads of 128 numbers, with the merge, 21 to 22 for 8,192 and 56 to 57 for 32,768 in f16:
// 8 µs for two dispatches, the first loads and the last sums, then the copy bandwidth. Q8_0 takes 46 µs for 32,768 keys of 2 heads and 53 of 4, Q4_0 41 and 48.
// Of those 53 the products with keys are 20, those with values 12, and what is between them, and its barriers, 2 to 4.
// Arithmetic: 4 rows of 128 numbers, compiled for RDNA3, take some 690 instructions a subgroup for 32 keys in f16 and 850 in Q8_0 and Q4_0, of which
// 256 multiply; the others widen, find addresses, and read queries and weights. An NVIDIA H100 issues those of 32768 keys of 8 heads in 25 and 31 µs,
// and has their bytes in 45, 24 and 13: codes wait for instructions, not for memory. The times above are of 790, 1050 and 1080, among them
// conversions of codes, which by themselves are 18 µs by what NVIDIA tells (lib/whole has what is done now): queries and weights had one index each, to
// be clamped and added to for every row anew, and a row's weights were summed by one subgroup of four. Of up to four rows a lane has two quads of a
// value (PAIRS): one scale and one load of a weight serve both; with one quad it was 80, 200 and 190 more.
// Barriers for 32 keys: 3 (4 in a browser, see slot/agree), those of 64 / LANES·⌈ROWS / 4⌉ sums, and 2 and those of a maximum where a base
// rises; without subgroups sums are what this waits for. BOUNDED has 2. At the end 2 for each TOGETHER quads of values of a lane, of which there are 8 for 4 rows.
// Workgroup memory: ROWS·D·4 bytes of queries, ROWS·128 of weights, ROWS·32 of rows, TOGETHER·2 KiB of sums, 0.1 KiB, and what the reduction takes.
// Registers: ROWS·4 of sums of values (of two quads 8), 2·ROWS of products, and what is on its way: of f16 2 for a quad, so 32. RDNA3 takes 168, and 120 for codes.
// Tried: loads in loops of which the compiler knew no end, with a branch around each, and values after the softmax; then in no branch, but arrays of
// what is on its way indexed by loops that NVIDIA's compiler did not unroll. It kept 672 bytes of them in memory, and that H100 took 213 µs for 32,768
// keys in f16, 191 in Q8_0, 187 in Q4_0, whatever was left out of the arithmetic. Keys asked for only when they are wanted (not PIPED): 73 µs in f16, 67 in
// Q8_0, 65 in Q4_0. Half as many values on their way: the same. Twice as many workgroups for 32,768 keys: 7 % longer in f16, as much in codes. 64 keys of codes at
// a time, so that a query is read from workgroup memory for two: 2 % less for 32,768 keys of 2 heads, nothing of 4, half as long again for 8,192. 256 lanes: 1.4
// times as long; 64: the same, and 1.5 times for 8,192 keys in f16. The largest logit for all 32 keys, by the lanes of ROWS·LANES alone, while the
// others waited: 143 instructions, 240 of codes, between two barriers. Scales multiplied into each code; now they are into the sum.
// By matrix units, as codes in f16 tiles, with the scales of keys and values beside them (attention/tiled_coop had that): 156 µs in Q8_0, 149 in Q4_0.
#import attention
#import four
#const ROWS = 4u
#const QUADS = 32u       // of a query, rounded up to whole blocks
#const LANES = 8u        // lanes that share a key, or a row
#const COLUMNS = 16u     // lanes that share a value
#const LANE_COUNT = 128u // lanes of a workgroup
#const SUBGROUP = 4u
#const BLOCKS = false    // keys go by blocks of 32
#const PAIRS = false     // a lane has two quads of a value
#const TOGETHER = 1u     // quads of a lane whose sums over lanes are made together at the end
#slot reduce
#slot q @binding(1)      // [B, H, L, D]
#slot keys @binding(2)   // [rows, D]
#slot values @binding(3) // [rows, E]
#slot y @binding(5)      // [B, H, L, E]
#slot lse @binding(6)    // [B, H, L]
#slot parts @binding(8)  // [rows, splits, ⌈E / 4⌉ + 1]
#slot agree // one more than the first of the last 32 keys of which a logit is too far above its base
const KEYS = 32u;
const TEAMS = LANE_COUNT / LANES;
const TURNS = (KEYS + TEAMS - 1u) / TEAMS;
const SHARES = LANE_COUNT / COLUMNS; // keys whose values are added at the same time
const MINE = KEYS / SHARES;          // of which so many are a lane's
const WIDE = select(1u, 2u, PAIRS);  // quads of a value of a lane
const AHEAD = min(MINE, 16u / WIDE); // keys whose values it asks for before it has looked at keys
const QUAD_TURNS = QUADS / LANES;
const BLOCK_TURNS = (QUADS / 8u + LANES - 1u) / LANES;
const FOURS = (ROWS + 3u) / 4u;
const FINISHED = (min(ROWS, 4u) + LANES - 1u) / LANES; // of four rows, how many logits a lane finishes
const PIPED = TURNS * QUAD_TURNS <= 16u; // keys are asked for while those before them are worked on, where registers hold them
const HIDDEN = 0xff800000u;          // the logit of a key that a row does not see
const ROOM = 4.158883;               // ln 2^6: how far a logit may be above the base of its row
// A row is an index of its own: it is a constant, and what a bounds check does to the other is done once for all rows.
var<workgroup> tile_q: array<array<vec4<f32>, QUADS>, ROWS>;
var<workgroup> tile_row: array<attention_Row, ROWS>;
var<workgroup> tile_weight: array<array<f32, ROWS>, KEYS>; // exp of a logit about the base of its row; while bases rise, the logit; at the end sums of teams
var<workgroup> tile_scale: array<vec2<f32>, ROWS>;   // what a row's sums shrink by, and its base; at the end its factor and lse
var<workgroup> tile_sum: array<array<vec4<f32>, LANE_COUNT>, TOGETHER>;
var<workgroup> tile_hidden: atomic<u32>;            // one more than the first of the last 32 keys that not all rows see

// Where quad i of a block of a query stands: turned by its block, or lanes with a block each would ask one bank.
fn place(block: u32, i: u32) -> u32 {
    return block * 8u + ((block + i) & 7u);
}

// The row of weight i of those of a key that lane t makes. Past the four of its turn it is another lane's.
fn finished(i: u32, t: u32) -> u32 {
    return i / FINISHED * 4u + i % FINISHED * LANES + t;
}

// A lane's share of a key, as it lies in memory.
struct Share {
    quads: array<keys_Quad, QUAD_TURNS>,
    blocks: array<keys_Block, BLOCK_TURNS>,
}

// The block of a lane's share, of which some have none at last.
fn block_of(turn: u32, lane_of_key: u32) -> u32 {
    return min(turn * LANES + lane_of_key, QUADS / 8u - 1u);
}

// All loads of a share, in no branch.
fn fetched(lane_of_key: u32, key: u32) -> Share {
    var share = Share();
    if (BLOCKS) {
        #unroll
        for (var turn = 0u; turn < BLOCK_TURNS; turn++) {
            share.blocks[turn] = keys_fetch32(attention_params.keys, key, block_of(turn, lane_of_key));
        }
    } else {
        #unroll
        for (var turn = 0u; turn < QUAD_TURNS; turn++) {
            share.quads[turn] = keys_fetch4(attention_params.keys, key, (turn * LANES + lane_of_key) * 4u);
        }
    }
    return share;
}

// What a lane has of values, as they lie in memory.
struct Asked {
    quads: array<values_Quad, AHEAD>,
    eights: array<values_Eight, AHEAD>,
}

// Of key n that was asked for, the quads of a lane.
fn value_of(asked: Asked, n: u32, column: u32) -> array<vec4<f32>, WIDE> {
    var all = asked;
    var v = array<vec4<f32>, WIDE>();
    if (PAIRS) {
        let both = values_decode8(attention_params.values, all.eights[n], column * 8u);
        v[0] = both[0];
        v[WIDE - 1u] = both[1];
    } else {
        v[0] = values_decode4(attention_params.values, all.quads[n], column * 4u);
    }
    return v;
}

// What a share gives for each row.
fn products(lane_of_key: u32, share: Share) -> array<f32, ROWS> {
    var sums = array<f32, ROWS>();
    if (BLOCKS) {
        #unroll
        for (var turn = 0u; turn < BLOCK_TURNS; turn++) {
            let block = block_of(turn, lane_of_key);
            let of_key = keys_codes32(attention_params.keys, share.blocks[turn], block);
            let scale = keys_scale32(attention_params.keys, share.blocks[turn], block);
            let is_own = turn * LANES + lane_of_key < QUADS / 8u;
            #unroll
            for (var r = 0u; r < ROWS; r++) {
                var sum = 0.0;
                #unroll
                for (var i = 0u; i < 8u; i++) { sum += dot(tile_q[r][place(block, i)], of_key[i]); }
                sums[r] += select(0.0, sum * scale, is_own);
            }
        }
    } else {
        #unroll
        for (var turn = 0u; turn < QUAD_TURNS; turn++) {
            let quad = turn * LANES + lane_of_key;
            let v = keys_decode4(attention_params.keys, share.quads[turn], quad * 4u);
            let of_key = kv_inside4(attention_params.keys, v, quad * 4u);
            #unroll
            for (var r = 0u; r < ROWS; r++) { sums[r] += dot(tile_q[r][place(quad / 8u, quad)], of_key); }
        }
    }
    return sums;
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * attention_params.fold;
    let split = id % attention_params.splits;
    let tile = attention_tile(id / attention_params.splits, ROWS);
    if (tile.count == 0u) { return; }
    let count = tile.count;
    let b = tile.b;
    let d = attention_params.keys.width;
    let e = attention_params.values.width;

    // What is past the last row is the last row again, and stored by nobody.
    let one = attention_tile_row(tile, 0u);
    let own_keys = attention_part(attention_tile_range(tile), split, KEYS);
    let from_key = own_keys.x;
    let to_key = own_keys.y;
    let team = lane / LANES;
    let t = lane % LANES;
    // The first keys are on their way while queries are brought. What is past the last key is the last key again, and seen by nobody.
    let last_key = max(to_key, 1u) - 1u;
    var shares = array<Share, TURNS>();
    if (PIPED) {
        #unroll
        for (var turn = 0u; turn < TURNS; turn++) {
            shares[turn] = fetched(t, attention_some_key(b, one.g, min(from_key + turn * TEAMS + team, last_key)));
        }
    }
    if (lane < ROWS) {
        tile_row[lane] = attention_tile_row(tile, lane);
        tile_scale[lane] = vec2<f32>(1.0, attention_first_top());
    }
    if (lane == 0u) {
        // Workgroup memory may hold anything at first.
        atomicStore(&tile_hidden, 0u);
        agree_clear();
    }
    for (var i = lane; i < ROWS * QUADS; i += LANE_COUNT) {
        let at = attention_tile_row(tile, i / QUADS).at;
        let quad = i % QUADS * 4u;
        var v = vec4<f32>();
        if (quad < d) { v = q_load4(attention_params.q0 + at * d + quad, min(d - quad, 4u)); }
        // What is past the end of a query may be anything.
        v = select(vec4<f32>(), v, vec4<u32>(quad, quad + 1u, quad + 2u, quad + 3u) < vec4<u32>(d));
        tile_q[i / QUADS][place(i % QUADS / 8u, i)] = v;
    }
    workgroupBarrier();

    let own = min(team, ROWS - 1u); // the row of this lane, where it has one
    let column = lane % COLUMNS;
    var top = attention_first_top();
    var mine = array<f32, FOURS * FINISHED>(); // sums of the weights that this lane makes; −1 where one was wrong
    var wrong = false;
    var values: array<vec4<f32>, ROWS * WIDE>;
    for (var key0 = from_key; key0 < to_key; key0 += KEYS) {
        var asked = Asked();
        #unroll
        for (var n = 0u; n < AHEAD; n++) {
            let key = attention_some_key(b, one.g, min(key0 + n * SHARES + lane / COLUMNS, last_key));
            if (PAIRS) {
                asked.eights[n] = values_fetch8(attention_params.values, key, column * 8u);
            } else {
                asked.quads[n] = values_fetch4(attention_params.values, key, column * 4u);
            }
        }
        var sums = array<f32, TURNS * ROWS>();
        var logits = array<f32, TURNS * FOURS * FINISHED>(); // that this lane finishes
        #unroll
        for (var turn = 0u; turn < TURNS; turn++) {
            if (!PIPED) { shares[turn] = fetched(t, attention_some_key(b, one.g, min(key0 + turn * TEAMS + team, last_key))); }
            let of_key = products(t, shares[turn]);
            #unroll
            for (var r = 0u; r < ROWS; r++) { sums[turn * ROWS + r] = of_key[r]; }
        }
        if (PIPED) {
            #unroll
            for (var turn = 0u; turn < TURNS; turn++) {
                shares[turn] = fetched(t, attention_some_key(b, one.g, min(key0 + KEYS + turn * TEAMS + team, last_key)));
            }
        }
        #unroll
        for (var turn = 0u; turn < TURNS; turn++) {
            let place_of_key = turn * TEAMS + team;
            let j = key0 + place_of_key;
            let token = attention_token(b, min(j, last_key));
            let here = j < to_key && attention_is_token(b, token);
            #unroll
            for (var r0 = 0u; r0 < ROWS; r0 += 4u) {
                let at = turn * ROWS + r0;
                var four = vec4<f32>(sums[at], 0.0, 0.0, 0.0);
                if (ROWS > 1u) { four.y = sums[at + min(1u, ROWS - 1u)]; }
                if (ROWS > 2u) { four = vec4<f32>(four.xy, sums[at + min(2u, ROWS - 1u)], sums[at + min(3u, ROWS - 1u)]); }
                four = reduce_sum4(four, lane);
                // Rows are finished by different lanes.
                #unroll
                for (var n = 0u; n < FINISHED; n++) {
                    let r = r0 + n * LANES + t;
                    if (r < min(ROWS, r0 + 4u) && place_of_key < KEYS) {
                        let row = tile_row[r];
                        var logit = bitcast<f32>(HIDDEN | attention_params.nothing);
                        var weight = 0.0;
                        if (here && attention_sees(row, j, token)) {
                            logit = attention_logit(row, j, token, four_at(four, n * LANES + t));
                            if (BOUNDED) {
                                weight = attention_weight(logit);
                            } else {
                                let above = logit - tile_scale[r].y;
                                if (!(above <= ROOM)) { agree_raise(key0 + 1u); } // or it is NaN
                                weight = attention_exp(min(above, ROOM));
                            }
                        } else {
                            atomicMax(&tile_hidden, key0 + 1u);
                        }
                        tile_weight[place_of_key][r] = weight;
                        logits[(turn * FOURS + r0 / 4u) * FINISHED + n] = logit;
                    }
                }
            }
        }
        if (BOUNDED) {
            workgroupBarrier();
        } else if (agree_raised(lane) == key0 + 1u) {
            // Bases rise to the largest logits so far, and the weights of these keys are made again.
            #unroll
            for (var turn = 0u; turn < TURNS; turn++) {
                #unroll
                for (var r0 = 0u; r0 < ROWS; r0 += 4u) {
                    #unroll
                    for (var n = 0u; n < FINISHED; n++) {
                        let r = r0 + n * LANES + t;
                        let place_of_key = turn * TEAMS + team;
                        if (r < min(ROWS, r0 + 4u) && place_of_key < KEYS) {
                            tile_weight[place_of_key][r] = logits[(turn * FOURS + r0 / 4u) * FINISHED + n];
                        }
                    }
                }
            }
            workgroupBarrier();
            var largest = 0u;
            for (var n = 0u; n < KEYS; n += LANES) {
                let logit = tile_weight[n + t][own];
                if (bitcast<u32>(logit) != HIDDEN) { largest = max(largest, attention_ordered(logit)); }
            }
            largest = reduce_max(largest, lane);
            wrong = wrong || largest >= attention_ENDLESS;
            var next = top;
            if (largest != 0u && !wrong) { next = max(top, attention_from_ordered(largest)); }
            let shrink = attention_exp(top - next);
            top = next;
            if (team < ROWS) {
                for (var n = 0u; n < KEYS; n += LANES) {
                    let logit = tile_weight[n + t][own];
                    var weight = 0.0;
                    if (bitcast<u32>(logit) != HIDDEN && !wrong) { weight = attention_exp(logit - top); }
                    tile_weight[n + t][own] = weight;
                }
                if (t == 0u) { tile_scale[own] = vec2<f32>(shrink, top); }
            }
            workgroupBarrier();
            #unroll
            for (var i = 0u; i < ROWS * WIDE; i++) { values[i] *= tile_scale[i / WIDE].x; }
            #unroll
            for (var i = 0u; i < FOURS * FINISHED; i++) {
                mine[i] *= tile_scale[min(finished(i, t), ROWS - 1u)].x;
            }
        }
        #unroll
        for (var turn = 0u; turn < TURNS; turn++) {
            #unroll
            for (var i = 0u; i < FOURS * FINISHED; i++) {
                let weight = tile_weight[min(turn * TEAMS + team, KEYS - 1u)][min(finished(i, t), ROWS - 1u)];
                mine[i] = select(-1.0, mine[i] + weight, min(mine[i], weight) >= 0.0);
            }
        }

        // A value that a row does not see may be NaN.
        if (atomicLoad(&tile_hidden) == key0 + 1u) {
            #unroll
            for (var n = 0u; n < AHEAD; n++) {
                var v = value_of(asked, n, column);
                #unroll
                for (var i = 0u; i < ROWS * WIDE; i++) {
                    let weight = tile_weight[n * SHARES + lane / COLUMNS][i / WIDE];
                    if (weight > 0.0) { values[i] += weight * v[i % WIDE]; }
                }
            }
        } else {
            #unroll
            for (var n = 0u; n < AHEAD; n++) {
                var v = value_of(asked, n, column);
                #unroll
                for (var i = 0u; i < ROWS * WIDE; i++) {
                    values[i] += tile_weight[n * SHARES + lane / COLUMNS][i / WIDE] * v[i % WIDE];
                }
            }
        }
        #unroll
        for (var n = AHEAD; n < MINE; n++) {
            let j = n * SHARES + lane / COLUMNS;
            let key = attention_some_key(b, one.g, min(key0 + j, last_key));
            #unroll
            for (var q = 0u; q < WIDE; q++) {
                let v = values_load4(attention_params.values, key, (column * WIDE + q) * 4u);
                #unroll
                for (var r = 0u; r < ROWS; r++) {
                    let weight = tile_weight[j][r];
                    if (weight > 0.0) { values[r * WIDE + q] += weight * v; }
                }
            }
        }
        workgroupBarrier(); // the tiles are free again
    }

    // The sums of a row are those of all teams that had keys.
    #unroll
    for (var i = 0u; i < FOURS * FINISHED; i++) {
        let r = finished(i, t);
        if (r < min(ROWS, i / FINISHED * 4u + 4u) && team < KEYS) { tile_weight[team][r] = mine[i]; }
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var n = t; n < min(TEAMS, KEYS); n += LANES) {
        let of_team = tile_weight[n][own];
        wrong = wrong || of_team < 0.0;
        sum += of_team;
    }
    let whole = reduce_sum2(vec2<f32>(sum, select(0.0, 1.0, wrong)), lane);
    wrong = whole.y > 0.0;
    let quads = (e + 3u) / 4u;
    if (t == 0u && team < count) {
        let row = tile_row[own];
        if (parts_ON) {
            let at = (row.at * attention_params.splits + split) * (quads + 1u) + quads;
            parts_store4(at, vec4<f32>(top, whole.x, select(0.0, 1.0, wrong), 0.0));
        } else {
            let finish = attention_finish(row, top, whole.x, wrong);
            tile_scale[own] = finish;
            lse_store4(attention_params.lse0 + row.stat, vec4<f32>(finish.y), 1u);
        }
    }
    // Lanes make and store as many sums at a time as they can, one each.
    #unroll
    for (var first = 0u; first < ROWS * WIDE; first += TOGETHER) {
        #unroll
        for (var n = 0u; n < TOGETHER; n++) { tile_sum[n][lane] = values[first + n]; }
        workgroupBarrier();
        let own_sum = lane / COLUMNS;
        let r = (first + own_sum) / WIDE;
        let quad = column * WIDE + (first + own_sum) % WIDE;
        if (own_sum < TOGETHER && quad < quads && r < count) {
            var v = tile_sum[own_sum][column];
            for (var share = 1u; share < SHARES; share++) { v += tile_sum[own_sum][share * COLUMNS + column]; }
            let at = tile_row[r].at;
            if (parts_ON) {
                parts_store4((at * attention_params.splits + split) * (quads + 1u) + quad, v);
            } else {
                y_store4(attention_params.y0 + at * e + quad * 4u, v * tile_scale[r].x, min(e - quad * 4u, 4u));
            }
        }
        workgroupBarrier();
    }
}
