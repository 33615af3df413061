// linear/tiled_coop: a tile of ROWS rows of x by COLS rows of the weight, multiplied by matrix units: f16 operands, f32 sums.
//
//     y[m, n] = Σ over k of f16(x[m, k]·2^s[m]) · f16(w[n, k]·2^t[n]) · 2^(−s[m] − t[n]), and then as linear/tiled
//
// Both operands are rounded to f16 in the tile. Each row has a power of two of its own, so that its numbers fit whatever their size: its
// largest so far lies between 2^9 and 2^15, and what is below 2^-23 of it may be lost. It is found as online softmax finds its
// maximum: when a row outgrows its power, it gets another, and the sums, which are in the units of both powers, are brought down once
// through workgroup memory. The first numbers of a row leave 2^6 of room, so that this is rare. What is stored in f16, bf16 or int8
// passes exactly; other numbers lose what f16 loses. Sums are f32, in what order is the device's. What is stored in f16 goes into the tile as it
// is (X_POWERS and W_POWERS say what does not): that spares a maximum over the lanes of a row of x, and some six operations for each number.
// Good for prefill on a device with matrix units. Wrong for few rows, and for f32 operands whose last bits matter.
// SUB_ROWS × SUB_COLS outputs are a subgroup's. It loads SUB_ROWS + SUB_COLS rows to multiply SUB_ROWS · SUB_COLS of them: at 32 × 32 a
// 16 × 16 operand serves 2 products, at 64 × 32 it serves 2.7. A row of a tile takes STRIDE numbers, 16 bytes more than it has, so
// that 8 rows lie in different banks. Tiles are of quads, stored by 8 bytes, where a matrix may be loaded from such (Vulkan), else of
// single numbers (Metal). Sums go out through workgroup memory by bands: SIZE rows and half of the columns of each subgroup at a time.
// A turn is DEPTH inputs: with 64 of them all lanes have a block of the weight to decode where with 32 half would have none, two lanes read a row side
// by side, and loads, barriers and multiplications wait for each other half as often. 32 are for devices without the workgroup memory for that.
// Bytes: as linear/tiled. Barriers: 2 for each turn of f16, else 3, and 2 for each band, of which there are 2·SUB_ROWS / SIZE.
// Workgroup memory: (ROWS + COLS)·(2·DEPTH + 24) bytes, and ROWS / SUB_ROWS · SIZE · (COLS / 2 + 4)·4: 24 KiB for 64 × 64, 47 KiB for 128 × 128.
// Registers: SUB_ROWS · SUB_COLS sums a subgroup, 32 or 64 a lane of 32; and what comes next while this turn is multiplied, all of it as it lies in
// memory: weights (5 for codes of 4 bits, 16 in f16), and 16 to 32 of x in f16, twice that in f32.
// All of workgroup memory is in multiples of 16 bytes: matrices must lie at such, and an array of scalars may lie wherever the variable
// before it ends (one word before the sums moved each of NVIDIA's matrices by a column).
// An NVIDIA H100 takes 0.84 µs of a multiprocessor for 32 inputs of 128 × 128, f16 or codes of 4 bits, 140 to 166 TFLOP/s, and 0.60 µs for two tiles of 64 × 64
// or 32 × 64, which it has at a time. With turns of 32 inputs it was 1.34, and 1.73 for three of the smaller ones.
// There, 512 rows of 14,336 inputs and 4,096 outputs take 379 µs in f16 and 354 in Q4_0; without loads 188 and 309, with those of x alone 247 and 319, with
// those of the weight alone 290 and 340. So Q4_0 waits for decoding. f16 waits for loads, whether 2 lanes read a row of the weight side by side or 8 do
// (356), and whether they are asked for before the barrier, after it, or a part before each step of K (366). x is read as words: as f16 its loads took
// Q4_0 412 µs.
// Tried: arrays indexed by what NVIDIA's compiler does not see to be constant, be it a `let` of constants: in memory, and 5 times as long. With turns of 32 inputs,
// loads two blocks ahead in place of one: 5 % quicker in f16, the same in Q4_0; 128 × 64 and 64 × 128 by four subgroups: no better than 64 × 64. With turns of 128,
// 64 × 64 took 482 µs in f16 and 559 in Q4_0.
// Tried without powers of two where numbers are not f16: x past 65504 in f32 is past f16, and numbers of 1e-5 are lost.
enable subgroups;
#import tiles
#import power
#const SUB_ROWS = 32u // of a subgroup
#const SUBGROUP = 32u // lanes of a subgroup, always as many
#const X_POWERS = true // x is not stored in f16: each row has a power of two
#const W_POWERS = true // nor are the weights
const EXACT = !(X_POWERS || W_POWERS); // a constant: what && gives where it stands in a branch, is uniform to nobody
const SUB_COLS = 32u;
#const DEPTH = 32u // inputs of a turn: 32 or 64
const LANES = DEPTH / 4u; // which load a row of x
const UNITS = DEPTH / 32u; // blocks of a turn, and lanes that load a row of the weight
const LANE_COUNT = (ROWS / SUB_ROWS) * (COLS / SUB_COLS) * SUBGROUP;
#slot matrix
#slot reduce
const STRIDE = (DEPTH / 4u + 2u) * matrix_CELLS; // cells of a row of a tile
const DOWN = SUB_ROWS / matrix_SIZE;   // matrices of sums of a subgroup
const ACROSS = SUB_COLS / matrix_SIZE;
// A band of sums is SIZE rows and half of the columns of each subgroup.
const WIDE = ACROSS / 2u; // matrices of a subgroup
const BAND = ROWS / SUB_ROWS * matrix_SIZE; // rows
const BAND_COLS = COLS / 2u;
const BAND_STRIDE = BAND_COLS + 4u;
const X_TURNS = ROWS * LANES / LANE_COUNT;
const W_TURNS = (COLS * UNITS + LANE_COUNT - 1u) / LANE_COUNT;
const MOST = 126; // the largest power of two that a row has, and the first
var<workgroup> tile_x: array<matrix_cell, ROWS * STRIDE>;
var<workgroup> tile_w: array<matrix_cell, COLS * STRIDE>;
var<workgroup> tile_sums: array<f32, BAND * BAND_STRIDE>;
var<workgroup> tile_power: array<i32, ROWS + COLS>; // of rows of x, then of the weight
var<workgroup> tile_less: array<i32, ROWS + COLS>;  // by how much a power has become less in this block
var<workgroup> tile_outgrown: array<atomic<u32>, 4>;       // the first is 1 where one has

// Of a NaN it may be the others': their row is NaN by any power.
fn largest4(v: vec4<f32>) -> f32 {
    return max(max(abs(v.x), abs(v.y)), max(abs(v.z), abs(v.w)));
}

// The power for a row that has had this one, and now has numbers up to this size.
fn fitting(power: i32, largest: f32) -> i32 {
    let top = i32(bitcast<u32>(largest) >> 23u) - 127; // below 2^(top + 1)
    return select(power, 9 - top, top + power > 14);
}

// Notes the power of a row; what has been summed in units of the last one must be brought down.
fn note(row: u32, was: i32, power: i32, first: bool) {
    if (power == was) { return; }
    tile_power[row] = power;
    if (!first) {
        tile_less[row] = was - power;
        atomicStore(&tile_outgrown[0], 1u);
    }
}

// Quad `quad` of row `row` of a tile.
fn keep4_x(row: u32, quad: u32, v: matrix_number4) {
    #unroll
    for (var i = 0u; i < matrix_CELLS; i++) { tile_x[row * STRIDE + quad * matrix_CELLS + i] = matrix_cell_of(v, i); }
}

fn keep4_w(row: u32, quad: u32, v: matrix_number4) {
    #unroll
    for (var i = 0u; i < matrix_CELLS; i++) { tile_w[row * STRIDE + quad * matrix_CELLS + i] = matrix_cell_of(v, i); }
}

// What a lane brings of a turn, as it lies in memory: nobody waits for it before the tile is free, and it takes few registers until then.
struct Brought {
    x: array<x_Quad, X_TURNS>,
    w: array<tiles_Raw, W_TURNS>,
}

// The block of unit v, or the last that there is.
fn w_block(block: u32, v: u32) -> u32 {
    return min(block + v % UNITS, (linear_params.k - 1u) / 32u);
}

fn bring(origin: vec2<u32>, lane: u32, block: u32) -> Brought {
    var all = Brought();
    #unroll
    for (var t = 0u; t < X_TURNS; t++) {
        let v = t * LANE_COUNT + lane;
        all.x[t] = tiles_fetch4(origin, v / LANES, block * 32u + v % LANES * 4u);
    }
    #unroll
    for (var t = 0u; t < W_TURNS; t++) {
        let v = t * LANE_COUNT + lane;
        all.w[t] = tiles_fetch32(origin, v / UNITS, w_block(block, v));
    }
    return all;
}

// The row of the tile of a row of a band: of the matrices of each subgroup, row `down` of them.
fn row_of(down: u32, row: u32) -> u32 {
    return row / matrix_SIZE * SUB_ROWS + down * matrix_SIZE + row % matrix_SIZE;
}

// The column of the tile of a column of a band, which is from matrix `across` of each subgroup on.
fn col_of(across: u32, col: u32) -> u32 {
    return col / (SUB_COLS / 2u) * SUB_COLS + across * matrix_SIZE + col % (SUB_COLS / 2u);
}

// Four sums of a row of a band, without the powers.
fn sums4(down: u32, across: u32, row: u32, col: u32) -> vec4<f32> {
    let at = row * BAND_STRIDE + col;
    var v = vec4<f32>(tile_sums[at], tile_sums[at + 1u], tile_sums[at + 2u], tile_sums[at + 3u]);
    if (EXACT) { return v; }
    let w = ROWS + col_of(across, col);
    let powers = tile_power[row_of(down, row)] + vec4<i32>(tile_power[w], tile_power[w + 1u], tile_power[w + 2u], tile_power[w + 3u]);
    // In two halves, either of which is a number.
    #unroll
    for (var i = 0u; i < 4u; i++) { v[i] *= power_of_two(-(powers[i] / 2)); }
    #unroll
    for (var i = 0u; i < 4u; i++) { v[i] *= power_of_two(powers[i] / 2 - powers[i]); }
    return v;
}

@compute @workgroup_size(LANE_COUNT)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let id = group.x + group.y * linear_params.fold;
    let origin = matmul_origin(id);
    let slice = slices_slice(id);
    let blocks = slices_blocks(slice, UNITS);
    let sub_y = subgroup / (COLS / SUB_COLS);
    let sub_col = subgroup % (COLS / SUB_COLS) * SUB_COLS;
    let band_at = sub_y * matrix_SIZE * BAND_STRIDE + sub_col / 2u; // of this subgroup's first matrix in a band

    var x_powers: array<i32, X_TURNS>;
    var w_powers: array<i32, W_TURNS>;
    #unroll
    for (var t = 0u; t < X_TURNS; t++) { x_powers[t] = MOST; }
    #unroll
    for (var t = 0u; t < W_TURNS; t++) { w_powers[t] = MOST; }
    for (var row = lane; row < ROWS + COLS; row += LANE_COUNT) {
        tile_power[row] = select(0, MOST, select(X_POWERS, W_POWERS, row >= ROWS)); // which a row of zeros, or of very little, keeps
        tile_less[row] = 0;
    }
    if (lane == 0u) { atomicStore(&tile_outgrown[0], 0u); }
    w_begin(linear_params.w, lane);
    if (GATED) { up_begin(linear_params.up, lane); }
    // Sums begin as zeros that are loaded: that a matrix begins as zeros is not said of every device.
    for (var at = lane; at < BAND * BAND_STRIDE; at += LANE_COUNT) { tile_sums[at] = 0.0; }
    workgroupBarrier();
    var b: array<matrix_b, ACROSS>;
    var sums: array<matrix_sum, DOWN * ACROSS>;
    #unroll
    for (var i = 0u; i < DOWN * ACROSS; i++) { sums[i] = coopLoadT<matrix_sum>(&tile_sums[band_at], BAND_STRIDE); }

    var next = bring(origin, lane, blocks.x);
    for (var block = blocks.x; block < blocks.y; block += UNITS) {
        #unroll
        for (var t = 0u; t < X_TURNS; t++) {
            let v = t * LANE_COUNT + lane;
            let row = v / LANES;
            let quad = v % LANES;
            let x = tiles_decode4(origin, row, block * 32u + quad * 4u, next.x[t]);
            if (X_POWERS) {
                let was = x_powers[t];
                let power = fitting(was, bitcast<f32>(reduce_max(bitcast<u32>(largest4(x)), lane)));
                x_powers[t] = power;
                if (quad == 0u) { note(row, was, power, block == blocks.x); }
                keep4_x(row, quad, matrix_of4(x * power_of_two(power)));
            } else {
                keep4_x(row, quad, matrix_of4(x));
            }
        }
        #unroll
        for (var t = 0u; t < W_TURNS; t++) {
            let v = t * LANE_COUNT + lane;
            let row = v / UNITS;
            if (row < COLS) {
                let w = tiles_decode32(origin, row, block + v % UNITS, next.w[t]);
                var power = 0;
                if (W_POWERS) {
                    var largest = 0.0;
                    #unroll
                    for (var i = 0u; i < 8u; i++) { largest = max(largest, largest4(w[i])); }
                    if (UNITS > 1u) { largest = max(largest, subgroupShuffleXor(largest, 1u)); }
                    power = fitting(w_powers[t], largest);
                    if (v % UNITS == 0u) { note(ROWS + row, w_powers[t], power, block == blocks.x); }
                    w_powers[t] = power;
                }
                #unroll
                for (var i = 0u; i < 8u; i++) {
                    keep4_w(row, v % UNITS * 8u + i, matrix_of4(select(w[i], w[i] * power_of_two(power), W_POWERS)));
                }
            }
        }
        // Either way the tiles are whole.
        if (EXACT) {
            workgroupBarrier();
        } else if (workgroupUniformLoad(&tile_outgrown[0]) != 0u) {
            #unroll
            for (var band = 0u; band < 2u * DOWN; band++) {
                #unroll
                for (var c = 0u; c < WIDE; c++) {
                    coopStoreT(sums[band / 2u * ACROSS + band % 2u * WIDE + c], &tile_sums[band_at + c * matrix_SIZE], BAND_STRIDE);
                }
                workgroupBarrier();
                for (var v = lane; v < BAND * BAND_COLS; v += LANE_COUNT) {
                    let row = v / BAND_COLS;
                    let col = v % BAND_COLS;
                    let at = row * BAND_STRIDE + col;
                    // One after the other, since both together may be 0, and a sum infinite.
                    tile_sums[at] *= power_of_two(-tile_less[row_of(band / 2u, row)]);
                    tile_sums[at] *= power_of_two(-tile_less[ROWS + col_of(band % 2u * WIDE, col)]);
                }
                workgroupBarrier();
                #unroll
                for (var c = 0u; c < WIDE; c++) {
                    sums[band / 2u * ACROSS + band % 2u * WIDE + c] = coopLoadT<matrix_sum>(&tile_sums[band_at + c * matrix_SIZE], BAND_STRIDE);
                }
                workgroupBarrier();
            }
            for (var row = lane; row < ROWS + COLS; row += LANE_COUNT) { tile_less[row] = 0; }
            if (lane == 0u) { atomicStore(&tile_outgrown[0], 0u); }
        }
        // What comes next is on its way while this is multiplied; after the last block it is the last again.
        next = bring(origin, lane, select(block, block + UNITS, block + UNITS < blocks.y));
        #unroll
        for (var k = 0u; k < DEPTH; k += matrix_SIZE) {
            #unroll
            for (var c = 0u; c < ACROSS; c++) {
                b[c] = coopLoad<matrix_b>(&tile_w[(sub_col + c * matrix_SIZE) * STRIDE + k / 4u * matrix_CELLS], STRIDE);
            }
            #unroll
            for (var r = 0u; r < DOWN; r++) {
                let a = coopLoadT<matrix_a>(&tile_x[(sub_y * SUB_ROWS + r * matrix_SIZE) * STRIDE + k / 4u * matrix_CELLS], STRIDE);
                #unroll
                for (var c = 0u; c < ACROSS; c++) { sums[r * ACROSS + c] = coopMultiplyAdd(a, b[c], sums[r * ACROSS + c]); }
            }
        }
        workgroupBarrier();
    }

    #unroll
    for (var band = 0u; band < 2u * DOWN; band++) {
        let down = band / 2u;
        let across = band % 2u * WIDE;
        #unroll
        for (var c = 0u; c < WIDE; c++) {
            coopStoreT(sums[band / 2u * ACROSS + band % 2u * WIDE + c], &tile_sums[band_at + c * matrix_SIZE], BAND_STRIDE);
        }
        workgroupBarrier();
        for (var v = lane; v < BAND * (matmul_OUTPUTS / 8u); v += LANE_COUNT) {
            let row = v / (matmul_OUTPUTS / 8u);
            let col = v % (matmul_OUTPUTS / 8u) * 4u;
            let m = origin.x + row_of(down, row);
            let n = origin.y + col_of(across, col);
            let sum = sums4(down, across, row, col) + slices_live4(m, n);
            var up = vec4<f32>();
            if (GATED) { up = sums4(down, across, row, col + BAND_COLS / 2u) + slices_up_live4(m, n); }
            slices_store4(slice, m, n, sum, up);
        }
        workgroupBarrier();
    }
}
