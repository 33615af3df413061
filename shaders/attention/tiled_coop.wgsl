// attention/tiled_coop: attention/tiled by matrix units: f16 operands, f32 sums.
//
//     y = Σ_j f16(exp(logit_j − base)·2^9)·f16(v_j·2^u) / Σ_j exp(logit_j − base) · 2^(−9 − u),  logits of f16(q·2^s)·f16(k_j·2^t)
//
// PARTS subgroups share SUB_ROWS rows: each makes what its part of the numbers of a query gives to all products of a tile, and has the sums of
// its part of the columns of y. Queries and sums stay in registers. LANES lanes have a row for its softmax: they add the parts of its
// products from workgroup memory, and write what exp makes of the logits, P.
// Sums in registers of matrix units cannot be multiplied by row. So `base` is not the largest logit so far, as elsewhere, but one that
// was it: weights may grow to 2^6, and P to 2^15. Only when a logit is past that is the row's base raised, and the sums are brought
// through workgroup memory once, a matrix of each part at a time. After the first tile that is rare.
// Numbers fit f16 by powers of two: 2^s for each query, 2^t for the keys of a tile, 2^u for all values so far, which falls as they grow, as
// in linear/tiled_coop. What is stored in f16 needs none (SCALED and Q_SCALED are false), and passes exactly, as does bf16; other numbers lose
// what f16 loses. In P, what is below 2^-23 of a row's largest may be lost.
// A value that is not finite would spoil rows that do not see it. It goes as 0, and is added to those that do while sums are in workgroup memory.
// A bound of the logits is of no use here: it would put the base up to 50 above or below them, and f16 has room for 2^29 of weights, e^20. One that
// is wrong makes NaN of a row here too.
// Keys may be parted among workgroups, as in attention/split, where tiles are too few for a device; attention/merge adds the parts.
// Good for prefill on a device with matrix units. Wrong for few rows, and for f32 operands whose last bits matter: a logit of 1000 of
// f32 numbers is off by 1.
//
// Bytes: keys and values once for each ROWS rows; queries and y once.
// Memory: what a lane brings of a tile is asked for at once, in no branch, and lies in registers as it is stored until the tile before is done
// with: values for a whole tile, keys for two. Values are turned on their way into workgroup memory, so that of both tiles a matrix of operand B is
// read by runs of 16 numbers; row by row it was 16 loads of 2 bytes a lane on RDNA3.
// Barriers for KEYS keys: 3. Keys and values have a tile each: both are filled while weights are made, between products and sums.
// Workgroup memory: KEYS·2·(D + 8) of keys, E·2·(KEYS + 8) of values, ROWS·2·(max(KEYS, 16·PARTS) + 8) of weights, PARTS·ROWS·4·(KEYS + 4) of products:
// 43 KiB for 64 rows, 32 keys and two parts of 128 numbers.
// Registers are what shapes are made for: SUB_ROWS·(D + E) / PARTS numbers of queries and sums a subgroup, 8·(D + E) / PARTS bytes and 16·(D + E) / PARTS of a lane
// of 32 where a matrix lies there once (RDNA3 has operands twice), 4 quads each of keys and values on their way, and KEYS / LANES
// logits. Compiled for RDNA3, every shape that is chosen for 64, 128 and 256 numbers takes 120 … 240 registers and spills none.
// Arrays of matrices are indexed by constants, or they would not be in registers: where a loop has barriers inside, an array goes round instead of being
// written out, and its first matrix is meant.
// An NVIDIA H100 takes 46, 457 and 6,526 µs for 512, 2,048 and 8,192 queries of Llama-3-8B by 64 rows, 32 keys and two parts, 47, 75 and 84 TFLOP/s. 64 rows and
// 32 keys are 1.7 µs of a multiprocessor.
// Of the 455 for 2,048, without products with keys 451 are left, without those with values 458, without loads 377, without loads and what puts them into tiles
// 309, without the softmax 352, without all three 201: matrix units wait for all else. Loads before the barrier in place of after it: the same.
// Tried: 16 rows of 128 numbers a subgroup, queries and sums whole: RDNA3 spilled 72 registers of 256. A subgroup's part of the keys instead of the numbers: it
// needs all of its queries. Arrays indexed by loops that NVIDIA's compiler did not unroll: 480 bytes in memory, and 179, 1,818 and 25,536 µs for what is above.
// Tiles one head after the other, of each the longest first: 71 µs for the 512, where the last head's came when others were idle. 32 rows and
// four parts: 2.0 times as long; 32 rows, 16 keys and two parts 1.6 times, four parts 3.3 times.
// Codes of Q8_0 and Q4_0 as they are in tiles, scales beside them: no shape that has room for it was as quick as this with codes decoded, and in
// decoding it took 2.2 to 2.6 times as long as attention/split.
// Reckoned for that H100, 64 rows, 32 keys, 128 numbers: 8 subgroups of 16 multiplications of matrices each, 512 cycles; some 650
// instructions each, 1300 cycles; 150 KiB of workgroup memory, 1200 cycles.
enable subgroups;
#import attention
#import power
#const ROWS = 64u      // of a tile
#const KEYS = 64u      // of a tile, a power of two
#const SUB_ROWS = 16u  // of a subgroup
#const PARTS = 1u      // subgroups that share rows
#const D = 128u        // numbers of a query, rounded up to whole matrices of all parts
#const E = 128u        // of a value, likewise
#const SCALED = false  // keys or values may not fit f16
#const Q_SCALED = true // nor queries
#const SUBGROUP = 32u  // lanes of a subgroup, always as many
#slot matrix
const LANE_COUNT = ROWS / SUB_ROWS * PARTS * SUBGROUP;
const LANES = LANE_COUNT / ROWS; // of a row
#slot reduce
#slot q @binding(1)      // [B, H, L, D]
#slot keys @binding(2)   // [rows, D]
#slot values @binding(3) // [rows, E]
#slot y @binding(5)      // [B, H, L, E]
#slot lse @binding(6)    // [B, H, L]
#slot parts @binding(8)  // [rows, splits, ⌈E / 4⌉ + 1]
// Rows of tiles are 16 bytes longer than what is in them, so that 8 rows lie in different banks.
const K_STRIDE = (D / 4u + 2u) * matrix_CELLS; // cells
const V_STRIDE = (KEYS / 4u + 2u) * matrix_CELLS;
const P_STRIDE = (KEYS / 4u + 2u) * matrix_CELLS;
const Q_STRIDE = (SLICE / 4u + 2u) * matrix_CELLS;
const S_STRIDE = (KEYS / 4u + 1u) * matrix_CELLS;
const QUADS = matrix_SIZE / 4u;
const SIZE_CELLS = QUADS * matrix_CELLS;
const SUB_D = D / PARTS; // numbers of a query of which a subgroup makes products
const SUB_E = E / PARTS; // and of a value, of which it has sums
const SLICE = PARTS * matrix_SIZE; // numbers of a query, or sums, that pass through workgroup memory at a time: a matrix of each part
const DOWN = max(SUB_ROWS / matrix_SIZE, 1u); // matrices of a subgroup
const ACROSS = max(SUB_E / matrix_SIZE, 1u);
const STEPS = max(SUB_D / matrix_SIZE, 1u);
const MINE = max(KEYS / LANES, 4u); // keys whose logits a lane has
const K_QUADS = KEYS * (D / 4u); // of a tile of keys
const K_TURNS = (K_QUADS + LANE_COUNT - 1u) / LANE_COUNT; // of which a lane brings so many
const V_BLOCKS = (KEYS / 4u) * (E / 4u); // of a tile of values: quads of four keys
const V_TURNS = (V_BLOCKS + LANE_COUNT - 1u) / LANE_COUNT;
// The power falls when what it gives could be 2^15 or more, and leaves it below 2^10.
const MOST = 14;
const LEFT = 9;
const ROOM = 4.158883;           // ln 2^6: how far a logit may be above the base of its row
const WEIGHT = 512.0;            // 2^9, of which P is a multiple
const HIDDEN = 0xff800000u;      // the logit of a key that a row does not see
const OUTGROWN = 1u;
const ODD = 2u;
var<workgroup> tile_k: array<matrix_cell, KEYS * K_STRIDE>;      // a row a key
var<workgroup> tile_v: array<matrix_cell, E * V_STRIDE>;         // a row a column: both are read as matrix units want them
var<workgroup> tile_p: array<matrix_cell, ROWS * max(Q_STRIDE, P_STRIDE)>; // weights; at first queries
var<workgroup> tile_s: array<matrix_sum_cell, PARTS * ROWS * S_STRIDE>; // products of each part; sums on their way
var<workgroup> tile_at: array<u32, ROWS>;                      // rows of q
var<workgroup> tile_power: array<i32, ROWS>;                   // of queries
var<workgroup> tile_factor: array<f32, ROWS>;                  // what a row's sums are multiplied by
var<workgroup> tile_largest: array<atomic<u32>, 4>;            // of the keys of a tile, and of values, as bits; of every other tile the second two
var<workgroup> tile_mend: array<atomic<u32>, 4>;               // the first: why sums must be brought down: OUTGROWN, ODD

// v·2^n in two steps, either of which is a number.
fn by_power(v: f32, n: i32) -> f32 {
    return v * power_of_two(n / 2) * power_of_two(n - n / 2);
}

fn bits4(v: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu);
}

// The bits of the largest of four magnitudes that are numbers.
fn largest4(v: vec4<f32>) -> u32 {
    let bits = select(bits4(v), vec4<u32>(), bits4(v) >= vec4<u32>(0x7f800000u));
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

// The power by which what is below 2 of these bits is below 2^15.
fn fitting(largest: u32) -> i32 {
    return clamp(141 - i32(largest >> 23u), -126, 126);
}

// Numbers i … i + 3 of the query of row r of the tile.
fn query4(r: u32, i: u32) -> vec4<f32> {
    let d = attention_params.keys.width;
    var v = vec4<f32>();
    if (i < d) { v = q_load4(attention_params.q0 + tile_at[r] * d + i, min(d - i, 4u)); }
    // What is past the end of a query may be anything.
    return select(vec4<f32>(), v, vec4<u32>(i, i + 1u, i + 2u, i + 3u) < vec4<u32>(d));
}

// A lane's quads of a tile as they lie in memory, all asked for at once. What is past the last key is the last key again, and seen by nobody.
alias KeyQuads = array<keys_Quad, K_TURNS>;
alias ValueQuads = array<values_Quad, 4u * V_TURNS>;

fn keys_of(lane: u32, b: u32, g: u32, key0: u32, last_key: u32) -> KeyQuads {
    var quads: KeyQuads;
    #unroll
    for (var n = 0u; n < K_TURNS; n++) {
        let i = n * LANE_COUNT + lane;
        quads[n] = keys_fetch4(attention_params.keys, attention_some_key(b, g, min(key0 + i / (D / 4u), last_key)), i % (D / 4u) * 4u);
    }
    return quads;
}

fn values_of(lane: u32, b: u32, g: u32, key0: u32, last_key: u32) -> ValueQuads {
    var quads: ValueQuads;
    #unroll
    for (var n = 0u; n < 4u * V_TURNS; n++) {
        let i = n / 4u * LANE_COUNT + lane;
        let key = key0 + i % (KEYS / 4u) * 4u + n % 4u;
        quads[n] = values_fetch4(attention_params.values, attention_some_key(b, g, min(key, last_key)), i / (KEYS / 4u) * 4u);
    }
    return quads;
}

fn key4(lane: u32, asked: KeyQuads, n: u32) -> vec4<f32> {
    var quads = asked;
    let i = (n * LANE_COUNT + lane) % (D / 4u) * 4u;
    return kv_inside4(attention_params.keys, keys_decode4(attention_params.keys, quads[n], i), i);
}

fn value4(lane: u32, asked: ValueQuads, n: u32) -> vec4<f32> {
    var quads = asked;
    return values_decode4(attention_params.values, quads[n], (n / 4u * LANE_COUNT + lane) / (KEYS / 4u) * 4u);
}

// How large they are.
fn survey_keys(lane: u32, asked: KeyQuads, at: u32) {
    var largest = 0u;
    #unroll
    for (var n = 0u; n < K_TURNS; n++) { largest = max(largest, largest4(key4(lane, asked, n))); }
    atomicMax(&tile_largest[at], largest);
}

fn survey_values(lane: u32, asked: ValueQuads, at: u32) {
    var largest = 0u;
    #unroll
    for (var n = 0u; n < 4u * V_TURNS; n++) { largest = max(largest, largest4(value4(lane, asked, n))); }
    atomicMax(&tile_largest[at], largest);
}

fn stage_keys(lane: u32, asked: KeyQuads, power: i32) {
    #unroll
    for (var n = 0u; n < K_TURNS; n++) {
        let i = n * LANE_COUNT + lane;
        var v = key4(lane, asked, n);
        if (SCALED) { v *= power_of_two(power); }
        let stored = matrix_of4(v);
        let at = i / (D / 4u) * K_STRIDE + i % (D / 4u) * matrix_CELLS;
        if (K_QUADS == K_TURNS * LANE_COUNT || i < K_QUADS) {
            #unroll
            for (var c = 0u; c < matrix_CELLS; c++) { tile_k[at + c] = matrix_cell_of(stored, c); }
        }
    }
}

// Keeps four numbers of each of four keys: columns e … e + 3 of keys 4·quad … 4·quad + 3.
fn turn4(of_keys: array<matrix_number4, 4>, e: u32, quad: u32) {
    var v = of_keys;
    #unroll
    for (var c = 0u; c < 4u; c++) {
        var of_column = v[0];
        #unroll
        for (var k = 0u; k < 4u; k++) { of_column[k] = v[k][c]; }
        let at = (e + c) * V_STRIDE + quad * matrix_CELLS;
        #unroll
        for (var n = 0u; n < matrix_CELLS; n++) { tile_v[at + n] = matrix_cell_of(of_column, n); }
    }
}

fn stage_values(lane: u32, asked: ValueQuads, power: i32) {
    #unroll
    for (var n = 0u; n < V_TURNS; n++) {
        let i = n * LANE_COUNT + lane;
        var v = array<vec4<f32>, 4>();
        var bits = vec4<u32>();
        #unroll
        for (var k = 0u; k < 4u; k++) {
            v[k] = value4(lane, asked, 4u * n + k);
            bits = max(bits, bits4(v[k]));
        }
        if (max(max(bits.x, bits.y), max(bits.z, bits.w)) >= 0x7f800000u) {
            #unroll
            for (var k = 0u; k < 4u; k++) { v[k] = select(v[k], vec4<f32>(), bits4(v[k]) >= vec4<u32>(0x7f800000u)); }
            atomicOr(&tile_mend[0], ODD);
        }
        var of_keys = array<matrix_number4, 4>();
        #unroll
        for (var k = 0u; k < 4u; k++) {
            if (SCALED) { v[k] *= power_of_two(power); }
            of_keys[k] = matrix_of4(v[k]);
        }
        if (V_BLOCKS == V_TURNS * LANE_COUNT || i < V_BLOCKS) {
            turn4(of_keys, i / (KEYS / 4u) * 4u, i % (KEYS / 4u));
        }
    }
}

// Quad `quad` of a row of a part's products, or sums.
fn sums4(r: u32, quad: u32) -> vec4<f32> {
    var cells = array<matrix_sum_cell, matrix_CELLS>();
    #unroll
    for (var c = 0u; c < matrix_CELLS; c++) { cells[c] = tile_s[r * S_STRIDE + quad * matrix_CELLS + c]; }
    return matrix_sum4(cells);
}

// The row of a part's sums that has quad `quad` of row r of a slice.
fn sums_at(r: u32, quad: u32) -> u32 {
    return quad / QUADS * ROWS + r;
}

// Keeps a quad of weights, or of queries, from cell `at` on.
fn keep4(at: u32, v: matrix_number4) {
    #unroll
    for (var c = 0u; c < matrix_CELLS; c++) { tile_p[at + c] = matrix_cell_of(v, c); }
}

// Which column of all is column c of the slice that begins at `first` of the columns of each part, so many.
fn column_of(first: u32, c: u32, of_part: u32) -> u32 {
    return c / matrix_SIZE * of_part + first + c % matrix_SIZE;
}

// What is not finite of columns e … e + 3 of the values that row r of the tile sees.
fn odd_sum(own: attention_Tile, r: u32, e: u32, key0: u32, end: u32) -> vec4<f32> {
    let row = attention_tile_row(own, r);
    var sum = vec4<f32>();
    for (var j = key0; j < min(key0 + KEYS, end); j++) {
        if (attention_sees(row, j, attention_token(row.b, j))) {
            let v = values_load4(attention_params.values, attention_some_key(row.b, row.g, j), e);
            sum += select(vec4<f32>(), v, bits4(v) >= vec4<u32>(0x7f800000u));
        }
    }
    return sum;
}

@compute @workgroup_size(LANE_COUNT)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    // No early return: matrix units want all lanes in one flow, as far as the compiler can see. Where there is no tile, there are no keys.
    let id = group.x + group.y * attention_params.fold;
    let split = id % attention_params.splits;
    let own = attention_tile(id / attention_params.splits, ROWS);
    let r = lane / LANES; // this lane's row
    let t = lane % LANES;
    let row = attention_tile_row(own, r);
    let range = attention_part(attention_tile_range(own), split, KEYS);
    let last_key = max(range.y, 1u) - 1u;
    let sub_row = subgroup / PARTS * SUB_ROWS;
    let part = subgroup % PARTS;
    let products_at = (part * ROWS + sub_row) * S_STRIDE; // of this subgroup in tile_s

    var asked_keys = keys_of(lane, own.b, row.g, range.x, last_key);
    var asked_values = values_of(lane, own.b, row.g, range.x, last_key);
    if (lane < 4u) {
        // Workgroup memory may hold anything at first.
        atomicStore(&tile_mend[lane], 0u);
        atomicStore(&tile_largest[lane], 0u);
    }
    if (t == 0u) { tile_at[r] = row.at; }
    // Sums begin as zeros that are loaded: that a matrix begins as zeros is not said of every device.
    for (var i = lane; i < PARTS * ROWS * S_STRIDE; i += LANE_COUNT) { tile_s[i] = matrix_sum_cell_of(vec4<f32>(), 0u); }
    workgroupBarrier();
    let zero = coopLoadT<matrix_sum>(&tile_s[products_at], S_STRIDE);
    var y: array<matrix_sum, DOWN * ACROSS>;
    #unroll
    for (var i = 0u; i < DOWN * ACROSS; i++) { y[i] = zero; }

    var query_power = 0;
    if (Q_SCALED) {
        var largest = 0u;
        for (var i = t * 4u; i < D; i += LANES * 4u) { largest = max(largest, largest4(query4(r, i))); }
        query_power = fitting(reduce_max(largest, lane));
        if (t == 0u) { tile_power[r] = query_power; }
    }
    if (SCALED) { survey_keys(lane, asked_keys, 2u); }
    workgroupBarrier();
    var key_power = 0;
    if (SCALED) { key_power = fitting(atomicLoad(&tile_largest[2])); }
    stage_keys(lane, asked_keys, key_power);
    asked_keys = keys_of(lane, own.b, row.g, range.x + KEYS, last_key);
    // Arrays of matrices are indexed by constants, or they would not be in registers; so an array goes round.
    var q: array<matrix_a, DOWN * STEPS>;
    for (var first = 0u; first < SUB_D; first += matrix_SIZE) {
        for (var i = lane; i < ROWS * (SLICE / 4u); i += LANE_COUNT) {
            let of_row = i / (SLICE / 4u);
            var of_query = query4(of_row, column_of(first, i % (SLICE / 4u) * 4u, SUB_D));
            if (Q_SCALED) { of_query *= power_of_two(tile_power[of_row]); }
            keep4(of_row * Q_STRIDE + i % (SLICE / 4u) * matrix_CELLS, matrix_of4(of_query));
        }
        workgroupBarrier();
        #unroll
        for (var i = 0u; i < DOWN; i++) {
            #unroll
            for (var k = 1u; k < STEPS; k++) { q[i * STEPS + k - 1u] = q[i * STEPS + k]; }
            let at = (sub_row + i * matrix_SIZE) * Q_STRIDE + part * SIZE_CELLS;
            q[i * STEPS + STEPS - 1u] = coopLoadT<matrix_a>(&tile_p[at], Q_STRIDE);
        }
        workgroupBarrier(); // the tile is free again
    }

    var base = attention_LOWEST;
    var sum = 0.0;
    var wrong = false;
    var begun = false; // the row has seen a key
    var value_power = select(0, 126, SCALED);
    var odd_tile = 0u; // 2 of every other tile
    // Of what is past the last row nobody wants weights or sums. A subgroup, which has so many rows, is busy as a whole.
    let is_busy = r / (SUBGROUP / LANES) * (SUBGROUP / LANES) < own.count;
    for (var key0 = range.x; key0 < range.y; key0 += KEYS) {
        #unroll
        for (var c = 0u; c < KEYS / matrix_SIZE; c++) {
            var products: array<matrix_sum, DOWN> = array<matrix_sum, DOWN>();
            #unroll
            for (var i = 0u; i < DOWN; i++) { products[i] = zero; }
            #unroll
            for (var k = 0u; k < STEPS; k++) {
                let b = coopLoad<matrix_b>(&tile_k[c * matrix_SIZE * K_STRIDE + (part * STEPS + k) * SIZE_CELLS], K_STRIDE);
                #unroll
                for (var i = 0u; i < DOWN; i++) { products[i] = coopMultiplyAdd(q[i * STEPS + k], b, products[i]); }
            }
            #unroll
            for (var i = 0u; i < DOWN; i++) {
                coopStoreT(products[i], &tile_s[products_at + i * matrix_SIZE * S_STRIDE + c * SIZE_CELLS], S_STRIDE);
            }
        }
        if (SCALED) {
            survey_values(lane, asked_values, odd_tile + 1u);
            survey_keys(lane, asked_keys, odd_tile);
        }
        workgroupBarrier(); // products are whole, and the tile of keys is free

        let power = -query_power - key_power;
        var fall = 1.0;
        if (SCALED) {
            let largest = i32(atomicLoad(&tile_largest[odd_tile + 1u]) >> 23u) - 127; // below 2^(largest + 1)
            if (largest + value_power > MOST) {
                fall = power_of_two(LEFT - largest - value_power);
                value_power = LEFT - largest;
                if (lane == 0u && key0 > range.x) { atomicOr(&tile_mend[0], OUTGROWN); }
            }
            key_power = fitting(atomicLoad(&tile_largest[odd_tile]));
            odd_tile = 2u - odd_tile;
            if (lane < 2u) { atomicStore(&tile_largest[odd_tile + lane], 0u); }
        }
        if (is_busy) {
            // The logits of a lane's keys, and the largest.
            var logits = array<f32, MINE>();
            let hidden = bitcast<f32>(HIDDEN | attention_params.nothing);
            var top = hidden;
            var bits = 0u;
            #unroll
            for (var n = 0u; n < MINE; n += 4u) {
                let quad = min(t * MINE + n, KEYS - 4u) / 4u;
                var dots = vec4<f32>();
                for (var other = 0u; other < PARTS; other++) { dots += sums4(other * ROWS + r, quad); }
                if (SCALED || Q_SCALED) { dots = dots * power_of_two(power / 2) * power_of_two(power - power / 2); }
                #unroll
                for (var c = 0u; c < 4u; c++) {
                    let j = key0 + t * MINE + n + c;
                    let at = min(j, last_key);
                    let token = attention_token(own.b, at);
                    let logit = attention_logit(row, at, token, dots[c]);
                    let seen = attention_sees(row, at, token) & (j <= last_key) & (t * MINE < KEYS);
                    logits[n + c] = select(hidden, logit, seen);
                    top = max(top, logits[n + c]);
                    bits = max(bits, bitcast<u32>(logits[n + c]) & 0x7fffffffu);
                    if (BOUNDED && seen && attention_weight(logit) < 0.0) { bits = 0xffffffffu; }
                }
            }
            var of_row = attention_ordered(top);
            if (bits > 0x7f800000u) { of_row = 0xffffffffu; }
            of_row = reduce_max(of_row, lane);
            wrong = wrong || of_row >= attention_ENDLESS;
            top = attention_from_ordered(of_row);
            var factor = 1.0;
            if (!wrong && top > base + ROOM) {
                factor = attention_exp(base - top);
                base = top;
                if (begun && t == 0u) { atomicOr(&tile_mend[0], OUTGROWN); }
            }
            begun = begun || of_row > 0x007fffffu; // what is above −∞
            if (t == 0u) { tile_factor[r] = factor; }
            // And their weights.
            sum *= factor;
            #unroll
            for (var n = 0u; n < MINE; n += 4u) {
                let quad = (t * MINE + n) / 4u;
                var weights = vec4<f32>();
                #unroll
                for (var c = 0u; c < 4u; c++) {
                    let weight = attention_exp(min(logits[n + c] - base, ROOM));
                    weights[c] = select(0.0, weight, bitcast<u32>(logits[n + c]) != HIDDEN);
                    sum += weights[c];
                }
                if (t * MINE < KEYS) { keep4(r * P_STRIDE + quad * matrix_CELLS, matrix_of4(weights * WEIGHT)); }
            }
        }
        stage_values(lane, asked_values, value_power);
        stage_keys(lane, asked_keys, key_power);
        let mend = workgroupUniformLoad(&tile_mend[0]); // and all tiles are whole
        asked_keys = keys_of(lane, own.b, row.g, key0 + 2u * KEYS, last_key);
        asked_values = values_of(lane, own.b, row.g, key0 + KEYS, last_key);
        if (mend != 0u) {
            for (var first = 0u; first < SUB_E; first += matrix_SIZE) {
                #unroll
                for (var i = 0u; i < DOWN; i++) {
                    coopStoreT(y[i * ACROSS], &tile_s[products_at + i * matrix_SIZE * S_STRIDE], S_STRIDE);
                }
                workgroupBarrier();
                for (var i = lane; i < ROWS * (SLICE / 4u); i += LANE_COUNT) {
                    let of_row = i / (SLICE / 4u);
                    let quad = i % (SLICE / 4u);
                    let at = sums_at(of_row, quad);
                    var v = sums4(at, quad % QUADS) * tile_factor[of_row] * fall;
                    if ((mend & ODD) != 0u) { v += odd_sum(own, of_row, column_of(first, quad * 4u, SUB_E), key0, range.y); }
                    #unroll
                    for (var c = 0u; c < matrix_CELLS; c++) { tile_s[at * S_STRIDE + quad % QUADS * matrix_CELLS + c] = matrix_sum_cell_of(v, c); }
                }
                workgroupBarrier();
                #unroll
                for (var i = 0u; i < DOWN; i++) {
                    #unroll
                    for (var c = 1u; c < ACROSS; c++) { y[i * ACROSS + c - 1u] = y[i * ACROSS + c]; }
                    let at = products_at + i * matrix_SIZE * S_STRIDE;
                    y[i * ACROSS + ACROSS - 1u] = coopLoadT<matrix_sum>(&tile_s[at], S_STRIDE);
                }
                workgroupBarrier();
            }
            if (lane == 0u) { atomicStore(&tile_mend[0], 0u); }
        }
        #unroll
        for (var k = 0u; k < KEYS; k += matrix_SIZE) {
            var a: array<matrix_a, DOWN> = array<matrix_a, DOWN>();
            #unroll
            for (var i = 0u; i < DOWN; i++) {
                a[i] = coopLoadT<matrix_a>(&tile_p[(sub_row + i * matrix_SIZE) * P_STRIDE + k / 4u * matrix_CELLS], P_STRIDE);
            }
            #unroll
            for (var c = 0u; c < ACROSS; c++) {
                let b = coopLoad<matrix_b>(&tile_v[(part * ACROSS + c) * matrix_SIZE * V_STRIDE + k / 4u * matrix_CELLS], V_STRIDE);
                #unroll
                for (var i = 0u; i < DOWN; i++) { y[i * ACROSS + c] = coopMultiplyAdd(a[i], b, y[i * ACROSS + c]); }
            }
        }
    }

    let width = attention_params.values.width;
    let quads = (width + 3u) / 4u;
    let whole = reduce_sum2(vec2<f32>(sum, 0.0), lane).x;
    if (parts_ON) {
        if (t == 0u) { tile_factor[r] = 1.0; }
        if (t == 0u && r < own.count) {
            let at = (row.at * attention_params.splits + split) * (quads + 1u) + quads;
            parts_store4(at, vec4<f32>(base, whole, select(0.0, 1.0, wrong), 0.0));
        }
    } else {
        let finish = attention_finish(row, base, whole, wrong);
        if (t == 0u) { tile_factor[r] = finish.x; }
        if (t == 0u && r < own.count) { lse_store4(attention_params.lse0 + row.stat, vec4<f32>(finish.y), 1u); }
    }
    for (var first = 0u; first < SUB_E; first += matrix_SIZE) {
        #unroll
        for (var i = 0u; i < DOWN; i++) {
            coopStoreT(y[i * ACROSS], &tile_s[products_at + i * matrix_SIZE * S_STRIDE], S_STRIDE);
            #unroll
            for (var c = 1u; c < ACROSS; c++) { y[i * ACROSS + c - 1u] = y[i * ACROSS + c]; }
        }
        workgroupBarrier();
        for (var i = lane; i < own.count * (SLICE / 4u); i += LANE_COUNT) {
            let of_row = i / (SLICE / 4u);
            let quad = i % (SLICE / 4u);
            let e = column_of(first, quad * 4u, SUB_E);
            if (e >= width) { continue; }
            var v = sums4(sums_at(of_row, quad), quad % QUADS) * tile_factor[of_row];
            #unroll
            for (var n = 0u; n < 4u; n++) { v[n] = by_power(v[n], -9 - value_power); }
            if (parts_ON) {
                parts_store4((tile_at[of_row] * attention_params.splits + split) * (quads + 1u) + e / 4u, v);
            } else {
                y_store4(attention_params.y0 + tile_at[of_row] * width + e, v, min(width - e, 4u));
            }
        }
        workgroupBarrier();
    }
}
