// attention/tiled_coop: attention/tiled by matrix units: f16 operands, f32 sums.
//
//     y = Σ_j f16(exp(logit_j − base)·2^9)·f16(v_j·2^u) / Σ_j exp(logit_j − base) · 2^(−9 − u),  logits of f16(q·2^s)·f16(k_j·2^t)
//
// A subgroup has SUB_ROWS rows of the tile, whose queries and sums stay in its registers; or PARTS subgroups share the rows, each with its part
// of the keys for the products and of the columns for the sums. LANES lanes have a row for its softmax: they read its products from
// workgroup memory and write what exp makes of the logits, P, beside them.
// Sums in registers of matrix units cannot be multiplied by row. So `base` is not the largest logit so far, as elsewhere, but one that
// was it: weights may grow to 2^6, and P to 2^15. Only when a logit is past that is the row's base raised, and the sums are brought
// through workgroup memory once. Nothing else depends on what the largest is, so that products are read once: a row
// that has outgrown its base makes its weights again. After the first tile that is rare.
// Numbers fit f16 by powers of two: 2^s for each query, 2^t for the keys of a tile, 2^u for all values so far, which falls as they grow, as
// in linear/tiled_coop. What is stored in f16 needs none (SCALED is false), and passes exactly, as does bf16; other numbers lose
// what f16 loses. In P, what is below 2^-23 of a row's largest may be lost.
// A value that is not finite would spoil rows that do not see it. It goes as 0, and is added to those that do while sums are in workgroup memory.
// A bound of the logits is of no use here: it would put the base up to 50 above or below them, and f16 has room for 2^29 of weights, e^20.
// Good for prefill on a device with matrix units. Wrong for few rows, and for f32 operands whose last bits matter: a logit of 1000 of
// f32 numbers is off by 1.
//
// Bytes: keys and values once for each ROWS rows, twice from a cache where SCALED; queries and y once.
// Workgroup memory, which is the limit: a subgroup reads keys and values whole, 2·KEYS·(D + E) bytes, and moves its rows' products and
// weights, SUB_ROWS·KEYS·12 bytes, for SUB_ROWS·KEYS·(D + E) multiplications. With rows of 128 numbers, 16 rows and 64 keys that is 45 KiB for
// 2^18: an H100 has 131072 bytes and 2^18 multiplications of f16 in 1024 and 128 cycles of an SM, so that it can have a third of its peak. 32 rows
// a subgroup would make that a half, but take 192 registers a lane for sums and queries alone.
// Barriers for KEYS keys: 4, and one more where SCALED.
// Workgroup memory: KEYS·(2·max(D, E) + 24) of keys, then values; ROWS·(KEYS·6 + 56): 45 KiB for 64 rows, 64 keys and 128 numbers.
// Registers of a lane of 32: SUB_ROWS·E / PARTS / 32 sums and SUB_ROWS·D / 64 of queries: 64 and 32 for 16 rows of 128 numbers.
enable subgroups;
#import attention
#import power
#const ROWS = 64u      // of a tile
#const KEYS = 64u      // of a tile, a power of two
#const SUB_ROWS = 16u  // of a subgroup
#const PARTS = 1u      // subgroups that share rows
#const D = 128u        // numbers of a query, rounded up to a multiple of KEYS
#const E = 128u        // of a value, likewise
#const SCALED = false  // keys or values may not fit f16
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
// Rows of tiles are 16 bytes longer than what is in them, so that 8 rows lie in different banks.
const STRIDE = max(D, E) + 8u;
const P_STRIDE = KEYS + 8u;
const S_STRIDE = KEYS + 4u;
const SUB_KEYS = KEYS / PARTS; // of a subgroup, and as many of its columns are in workgroup memory at a time
const SUB_COLS = E / PARTS;
const DOWN = max(SUB_ROWS / matrix_SIZE, 1u); // matrices of a subgroup
const ACROSS = SUB_COLS / matrix_SIZE;
const STEPS = D / matrix_SIZE;
const CHUNK = SUB_KEYS / matrix_SIZE;
const ROOM = 4.158883;           // ln 2^6: how far a logit may be above the base of its row
const WEIGHT = 512.0;            // 2^9, of which P is a multiple
const OUTGROWN = 1u;
const ODD = 2u;
var<workgroup> tile: array<matrix_number, KEYS * STRIDE>;      // keys, then values
var<workgroup> tile_p: array<matrix_number, ROWS * P_STRIDE>;  // weights; at first queries
var<workgroup> tile_s: array<f32, ROWS * S_STRIDE>;            // products; sums that are brought down
var<workgroup> tile_at: array<u32, ROWS>;                      // rows of q
var<workgroup> tile_power: array<i32, ROWS>;                   // of queries
var<workgroup> tile_factor: array<f32, ROWS>;                  // what a row's sums are multiplied by
var<workgroup> tile_key: array<u32, KEYS>;                     // rows of keys and values
var<workgroup> tile_token: array<u32, KEYS>;
var<workgroup> tile_largest: array<atomic<u32>, 4>;            // of the keys of a tile, and of its values, as bits; the rest is room
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

fn keep4(at: u32, v: matrix_number4) {
    tile[at] = v.x;
    tile[at + 1u] = v.y;
    tile[at + 2u] = v.z;
    tile[at + 3u] = v.w;
}

// Numbers i … i + 3 of the query of row r of the tile.
fn query4(r: u32, i: u32) -> vec4<f32> {
    let d = attention_params.keys.width;
    var v = vec4<f32>();
    if (i < d) { v = q_load4(attention_params.q0 + tile_at[r] * d + i, min(d - i, 4u)); }
    // What is past the end of a query may be anything.
    return select(vec4<f32>(), v, vec4<u32>(i, i + 1u, i + 2u, i + 3u) < vec4<u32>(d));
}

fn key4(key: u32, i: u32) -> vec4<f32> {
    if (key == attention_NONE) { return vec4<f32>(); }
    return keys_load4(attention_params.keys, key, i);
}

fn value4(key: u32, i: u32) -> vec4<f32> {
    if (key == attention_NONE) { return vec4<f32>(); }
    return values_load4(attention_params.values, key, i);
}

// Which keys a tile has.
fn list(lane: u32, b: u32, g: u32, key0: u32, end: u32) {
    for (var i = lane; i < KEYS; i += LANE_COUNT) {
        var token = 0u;
        var key = attention_NONE;
        if (key0 + i < end) {
            token = attention_token(b, key0 + i);
            if (!LISTED || token < attention_params.place.room) { key = attention_key(b, g, token); }
        }
        tile_token[i] = token;
        tile_key[i] = key;
    }
    if (lane < 2u) { atomicStore(&tile_largest[lane], 0u); }
}

// How large they and their values are.
fn survey(lane: u32) {
    var largest = vec2<u32>();
    for (var i = lane; i < KEYS * (D / 4u); i += LANE_COUNT) {
        largest.x = max(largest.x, largest4(key4(tile_key[i / (D / 4u)], i % (D / 4u) * 4u)));
    }
    for (var i = lane; i < KEYS * (E / 4u); i += LANE_COUNT) {
        largest.y = max(largest.y, largest4(value4(tile_key[i / (E / 4u)], i % (E / 4u) * 4u)));
    }
    atomicMax(&tile_largest[0], largest.x);
    atomicMax(&tile_largest[1], largest.y);
}

fn stage_keys(lane: u32, power: i32) {
    for (var i = lane; i < KEYS * (D / 4u); i += LANE_COUNT) {
        let number = i % (D / 4u) * 4u;
        var v = key4(tile_key[i / (D / 4u)], number);
        if (SCALED) { v *= power_of_two(power); }
        keep4(i / (D / 4u) * STRIDE + number, matrix_of4(v));
    }
}

fn stage_values(lane: u32, power: i32) {
    for (var i = lane; i < KEYS * (E / 4u); i += LANE_COUNT) {
        let number = i % (E / 4u) * 4u;
        var v = value4(tile_key[i / (E / 4u)], number);
        let is_odd = bits4(v) >= vec4<u32>(0x7f800000u);
        if (any(is_odd)) {
            v = select(v, vec4<f32>(), is_odd);
            atomicOr(&tile_mend[0], ODD);
        }
        if (SCALED) { v *= power_of_two(power); }
        keep4(i / (E / 4u) * STRIDE + number, matrix_of4(v));
    }
}

// What a lane has seen of its row in a tile: the largest logit, the sum of the weights, and whether a logit was NaN.
struct Weighed {
    top: f32,
    sum: f32,
    wrong: bool,
}

// Makes the weights of a lane's keys of row r about `base`.
fn weigh(row: attention_Row, r: u32, t: u32, key0: u32, base: f32, power: i32) -> Weighed {
    var all = Weighed(bitcast<f32>(0xff800000u | attention_params.nothing), 0.0, false);
    let half_power = power_of_two(power / 2);
    let other_half = power_of_two(power - power / 2);
    for (var n = 0u; n < KEYS; n += LANES) {
        let i = (n + t + r / 8u * LANES) % KEYS; // neighbouring rows begin in different banks
        var weight = 0.0;
        if (tile_key[i] != attention_NONE && attention_sees(row, key0 + i, tile_token[i])) {
            let dot = tile_s[r * S_STRIDE + i] * half_power * other_half;
            let logit = attention_logit(row, key0 + i, tile_token[i], dot);
            all.top = max(all.top, logit);
            all.wrong = all.wrong || attention_is_nan(logit);
            weight = attention_exp(min(logit - base, ROOM));
            all.sum += weight;
        }
        tile_p[r * P_STRIDE + i] = matrix_of4(vec4<f32>(weight * WEIGHT)).x;
    }
    return all;
}

// The column of y that is in column c of workgroup memory, when it has the chunk of each subgroup's sums that begins at matrix `first`.
fn column_of(first: u32, c: u32) -> u32 {
    return c / SUB_KEYS * SUB_COLS + first * matrix_SIZE + c % SUB_KEYS;
}

// What is not finite of column e of the values that row r of the tile sees.
fn odd_sum(own: attention_Tile, r: u32, e: u32, key0: u32) -> f32 {
    let row = attention_tile_row(own, r);
    var sum = 0.0;
    for (var i = 0u; i < KEYS; i++) {
        if (tile_key[i] != attention_NONE && attention_sees(row, key0 + i, tile_token[i])) {
            let v = value4(tile_key[i], e & ~3u)[e & 3u];
            if ((bitcast<u32>(v) & 0x7f800000u) == 0x7f800000u) { sum += v; }
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
    let own = attention_tile(group.x + group.y * attention_params.fold, ROWS);
    let r = lane / LANES; // this lane's row
    let t = lane % LANES;
    let row = attention_tile_row(own, r);
    let range = attention_tile_range(own);
    let sub_row = subgroup / PARTS * SUB_ROWS;
    let part = subgroup % PARTS;
    let band_at = sub_row * S_STRIDE + part * SUB_KEYS; // of this subgroup in tile_s

    list(lane, own.b, row.g, range.x, range.y);
    if (lane == 0u) { atomicStore(&tile_mend[0], 0u); } // workgroup memory may hold anything at first
    if (t == 0u) { tile_at[r] = row.at; }
    // Sums begin as zeros that are loaded: that a matrix begins as zeros is not said of every device.
    for (var i = lane; i < ROWS * S_STRIDE; i += LANE_COUNT) { tile_s[i] = 0.0; }
    workgroupBarrier();
    let zero = coopLoadT<matrix_sum>(&tile_s[band_at], S_STRIDE);
    var y: array<matrix_sum, DOWN * ACROSS>;
    for (var i = 0u; i < DOWN * ACROSS; i++) { y[i] = zero; }

    var largest = 0u;
    for (var i = t * 4u; i < D; i += LANES * 4u) { largest = max(largest, largest4(query4(r, i))); }
    let query_power = fitting(reduce_max(largest, lane));
    if (t == 0u) { tile_power[r] = query_power; }
    workgroupBarrier();
    var q: array<matrix_a, DOWN * STEPS>;
    for (var first = 0u; first < D; first += KEYS) {
        for (var i = lane; i < ROWS * (KEYS / 4u); i += LANE_COUNT) {
            let of_row = i / (KEYS / 4u);
            let number = i % (KEYS / 4u) * 4u;
            let v = matrix_of4(query4(of_row, first + number) * power_of_two(tile_power[of_row]));
            let at = of_row * P_STRIDE + number;
            for (var n = 0u; n < 4u; n++) { tile_p[at + n] = v[n]; }
        }
        workgroupBarrier();
        for (var i = 0u; i < DOWN; i++) {
            for (var k = 0u; k < KEYS / matrix_SIZE; k++) {
                let at = (sub_row + i * matrix_SIZE) * P_STRIDE + k * matrix_SIZE;
                q[i * STEPS + first / matrix_SIZE + k] = coopLoadT<matrix_a>(&tile_p[at], P_STRIDE);
            }
        }
        workgroupBarrier(); // the tile is free again
    }

    var base = attention_LOWEST;
    var sum = 0.0;
    var wrong = false;
    var begun = false; // the row has seen a key
    var key_power = 0;
    var value_power = select(0, 126, SCALED);
    for (var key0 = range.x; key0 < range.y; key0 += KEYS) {
        var fall = 1.0;
        if (SCALED) {
            survey(lane);
            workgroupBarrier();
            key_power = fitting(atomicLoad(&tile_largest[0]));
            let top = i32(atomicLoad(&tile_largest[1]) >> 23u) - 127; // below 2^(top + 1)
            if (top + value_power > 14) {
                fall = power_of_two(9 - top - value_power);
                value_power = 9 - top;
                if (lane == 0u && key0 > range.x) { atomicOr(&tile_mend[0], OUTGROWN); }
            }
        }
        stage_keys(lane, key_power);
        workgroupBarrier();
        for (var c = 0u; c < CHUNK; c++) {
            var products: array<matrix_sum, DOWN> = array<matrix_sum, DOWN>();
            for (var i = 0u; i < DOWN; i++) { products[i] = zero; }
            for (var k = 0u; k < STEPS; k++) {
                let b = coopLoad<matrix_b>(&tile[(part * SUB_KEYS + c * matrix_SIZE) * STRIDE + k * matrix_SIZE], STRIDE);
                for (var i = 0u; i < DOWN; i++) { products[i] = coopMultiplyAdd(q[i * STEPS + k], b, products[i]); }
            }
            for (var i = 0u; i < DOWN; i++) {
                coopStoreT(products[i], &tile_s[band_at + i * matrix_SIZE * S_STRIDE + c * matrix_SIZE], S_STRIDE);
            }
        }
        workgroupBarrier(); // the tile is free again

        stage_values(lane, value_power);
        var weighed = weigh(row, r, t, key0, base, -query_power - key_power);
        var of_row = attention_ordered(weighed.top);
        if (weighed.wrong) { of_row = 0xffffffffu; }
        of_row = reduce_max(of_row, lane);
        wrong = wrong || of_row == 0xffffffffu;
        let top = attention_from_ordered(of_row);
        var factor = 1.0;
        if (!wrong && top > base + ROOM) {
            factor = attention_exp(base - top);
            base = top;
            weighed = weigh(row, r, t, key0, base, -query_power - key_power);
            if (begun && t == 0u) { atomicOr(&tile_mend[0], OUTGROWN); }
        }
        begun = begun || of_row > 0x007fffffu; // what is above −∞
        sum = sum * factor + weighed.sum;
        if (t == 0u) { tile_factor[r] = factor; }

        let mend = workgroupUniformLoad(&tile_mend[0]); // and P and the values are whole
        if (mend != 0u) {
            for (var first = 0u; first < ACROSS; first += CHUNK) {
                for (var i = 0u; i < DOWN * CHUNK; i++) {
                    let c = first + i % CHUNK;
                    let at = band_at + i / CHUNK * matrix_SIZE * S_STRIDE + i % CHUNK * matrix_SIZE;
                    coopStoreT(y[i / CHUNK * ACROSS + c], &tile_s[at], S_STRIDE);
                }
                workgroupBarrier();
                for (var i = lane; i < ROWS * KEYS; i += LANE_COUNT) {
                    let e = column_of(first, i % KEYS);
                    let at = i / KEYS * S_STRIDE + i % KEYS;
                    var v = tile_s[at] * tile_factor[i / KEYS] * fall;
                    if ((mend & ODD) != 0u) { v += odd_sum(own, i / KEYS, e, key0); }
                    tile_s[at] = v;
                }
                workgroupBarrier();
                for (var i = 0u; i < DOWN * CHUNK; i++) {
                    let c = first + i % CHUNK;
                    let at = band_at + i / CHUNK * matrix_SIZE * S_STRIDE + i % CHUNK * matrix_SIZE;
                    y[i / CHUNK * ACROSS + c] = coopLoadT<matrix_sum>(&tile_s[at], S_STRIDE);
                }
                workgroupBarrier();
            }
            if (lane == 0u) { atomicStore(&tile_mend[0], 0u); }
        }
        for (var k = 0u; k < KEYS; k += matrix_SIZE) {
            var a: array<matrix_a, DOWN> = array<matrix_a, DOWN>();
            for (var i = 0u; i < DOWN; i++) {
                a[i] = coopLoadT<matrix_a>(&tile_p[(sub_row + i * matrix_SIZE) * P_STRIDE + k], P_STRIDE);
            }
            for (var c = 0u; c < ACROSS; c++) {
                let b = coopLoadT<matrix_b>(&tile[k * STRIDE + part * SUB_COLS + c * matrix_SIZE], STRIDE);
                for (var i = 0u; i < DOWN; i++) { y[i * ACROSS + c] = coopMultiplyAdd(a[i], b, y[i * ACROSS + c]); }
            }
        }
        list(lane, own.b, row.g, key0 + KEYS, range.y);
        workgroupBarrier(); // the tiles are free again, and the next keys are known
    }

    let finish = attention_finish(row, base, reduce_sum2(vec2<f32>(sum, 0.0), lane).x, wrong);
    if (t == 0u) {
        tile_factor[r] = finish.x;
        if (r < own.count) { lse_store4(attention_params.lse0 + row.stat, vec4<f32>(finish.y), 1u); }
    }
    let width = attention_params.values.width;
    for (var first = 0u; first < ACROSS; first += CHUNK) {
        for (var i = 0u; i < DOWN * CHUNK; i++) {
            let c = first + i % CHUNK;
            let at = band_at + i / CHUNK * matrix_SIZE * S_STRIDE + i % CHUNK * matrix_SIZE;
            coopStoreT(y[i / CHUNK * ACROSS + c], &tile_s[at], S_STRIDE);
        }
        workgroupBarrier();
        for (var i = lane; i < own.count * (KEYS / 4u); i += LANE_COUNT) {
            let of_row = i / (KEYS / 4u);
            let e = column_of(first, i % (KEYS / 4u) * 4u);
            if (e >= width) { continue; }
            let at = of_row * S_STRIDE + i % (KEYS / 4u) * 4u;
            var v = vec4<f32>(tile_s[at], tile_s[at + 1u], tile_s[at + 2u], tile_s[at + 3u]) * tile_factor[of_row];
            for (var n = 0u; n < 4u; n++) { v[n] = by_power(v[n], -9 - value_power); }
            y_store4(attention_params.y0 + tile_at[of_row] * width + e, v, min(width - e, 4u));
        }
        workgroupBarrier();
    }
}
