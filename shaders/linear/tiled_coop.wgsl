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
// single numbers (Metal). Sums go out through workgroup memory by bands of SIZE rows of each subgroup.
// Bytes: as linear/tiled. Barriers: 3 for each 32 inputs, and 3 for each band.
// Workgroup memory: (ROWS + COLS)·88 bytes, and ROWS / SUB_ROWS · SIZE · (COLS + 4)·4: 20 or 15 KiB for 64 × 64, 39 or 30 KiB for 128 × 128.
// Registers: SUB_ROWS · SUB_COLS sums a subgroup, 32 or 64 a lane of 32; and what comes next while this block is multiplied: weights as they lie
// (5 for codes of 4 bits), and 8 to 16 of x, half of that in f16. For RDNA3, 128 × 128 compiles to 168 registers and 860 instructions in
// f16, 1,420 in Q4_0; where tiles were of single numbers and weights decoded before they were needed, to 240 and 1,450, and 2,150.
// All of workgroup memory is in multiples of 16 bytes: matrices must lie at such, and an array of scalars may lie wherever the variable
// before it ends (one word before the sums moved each of NVIDIA's matrices by a column).
// An NVIDIA H100 takes 1.34 µs of a multiprocessor for 32 inputs of 128 × 128, f16 or codes of 4 bits, 93 to 116 TFLOP/s, and 0.58 µs for 64 × 64 or 32 × 64: a block waits
// for its loads, its barriers and its multiplications in turn, and what else there is to do is another tile's.
// Tried: arrays indexed by loops that NVIDIA's compiler did not unroll, 416 to 672 bytes of them in memory: 4.5 times as long. Loads two blocks ahead in place of
// one: 5 % quicker in f16, the same in Q4_0. 128 × 64 and 64 × 128 by four subgroups: 1.13 and 1.16 µs, no better than 64 × 64.
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
const LANES = 8u; // which load a row of x
const LANE_COUNT = (ROWS / SUB_ROWS) * (COLS / SUB_COLS) * SUBGROUP;
#slot matrix
#slot reduce
const STRIDE = 10u * matrix_CELLS; // cells of a row of a tile
const DOWN = SUB_ROWS / matrix_SIZE;   // matrices of sums of a subgroup
const ACROSS = SUB_COLS / matrix_SIZE;
const BAND = ROWS / SUB_ROWS * matrix_SIZE; // rows of a band
const BAND_STRIDE = COLS + 4u;
const X_TURNS = ROWS * 8u / LANE_COUNT;
const W_TURNS = (COLS + LANE_COUNT - 1u) / LANE_COUNT;
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

// What a lane brings of a block. Until the tile is free, x that is stored in f16 is kept as that, and weights as they lie: they take few
// registers, and nobody waits for them before they are decoded.
struct Brought {
    x: array<vec4<f32>, X_TURNS>,
    exact_x: array<matrix_number4, X_TURNS>,
    w: array<tiles_Raw, W_TURNS>,
}

fn bring(origin: vec2<u32>, lane: u32, block: u32) -> Brought {
    var all = Brought();
    #unroll
    for (var t = 0u; t < X_TURNS; t++) {
        let x = tiles_input4(origin, t * LANE_COUNT + lane, block);
        if (X_POWERS) { all.x[t] = x; } else { all.exact_x[t] = matrix_of4(x); }
    }
    #unroll
    for (var t = 0u; t < W_TURNS; t++) { all.w[t] = tiles_fetch32(origin, t * LANE_COUNT + lane, block); }
    return all;
}

// The row of the tile of a row of a band.
fn row_of(band: u32, row: u32) -> u32 {
    return row / matrix_SIZE * SUB_ROWS + band * matrix_SIZE + row % matrix_SIZE;
}

// Four sums of a row of a band, without the powers.
fn sums4(band: u32, row: u32, col: u32) -> vec4<f32> {
    let at = row * BAND_STRIDE + col;
    let w = ROWS + col;
    let powers = tile_power[row_of(band, row)] + vec4<i32>(tile_power[w], tile_power[w + 1u], tile_power[w + 2u], tile_power[w + 3u]);
    var v = vec4<f32>(tile_sums[at], tile_sums[at + 1u], tile_sums[at + 2u], tile_sums[at + 3u]);
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
    let blocks = slices_blocks(slice);
    let sub_y = subgroup / (COLS / SUB_COLS);
    let sub_col = subgroup % (COLS / SUB_COLS) * SUB_COLS;
    let band_at = sub_y * matrix_SIZE * BAND_STRIDE + sub_col; // of this subgroup's first matrix in a band

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
    for (var block = blocks.x; block < blocks.y; block++) {
        #unroll
        for (var t = 0u; t < X_TURNS; t++) {
            let v = t * LANE_COUNT + lane;
            let row = v / 8u;
            let quad = v % 8u;
            if (X_POWERS) {
                let was = x_powers[t];
                let x = next.x[t];
                let power = fitting(was, bitcast<f32>(reduce_max(bitcast<u32>(largest4(x)), lane)));
                x_powers[t] = power;
                if (quad == 0u) { note(row, was, power, block == blocks.x); }
                keep4_x(row, quad, matrix_of4(x * power_of_two(power)));
            } else {
                keep4_x(row, quad, next.exact_x[t]);
            }
        }
        #unroll
        for (var t = 0u; t < W_TURNS; t++) {
            let row = t * LANE_COUNT + lane;
            if (row < COLS) {
                let w = tiles_decode32(origin, row, block, next.w[t]);
                var power = 0;
                if (W_POWERS) {
                    var largest = 0.0;
                    #unroll
                    for (var i = 0u; i < 8u; i++) { largest = max(largest, largest4(w[i])); }
                    power = fitting(w_powers[t], largest);
                    note(ROWS + row, w_powers[t], power, block == blocks.x);
                    w_powers[t] = power;
                }
                #unroll
                for (var i = 0u; i < 8u; i++) { keep4_w(row, i, matrix_of4(select(w[i], w[i] * power_of_two(power), W_POWERS))); }
            }
        }
        // Either way the tiles are whole.
        if (EXACT) {
            workgroupBarrier();
        } else if (workgroupUniformLoad(&tile_outgrown[0]) != 0u) {
            #unroll
            for (var band = 0u; band < DOWN; band++) {
                #unroll
                for (var c = 0u; c < ACROSS; c++) {
                    coopStoreT(sums[band * ACROSS + c], &tile_sums[band_at + c * matrix_SIZE], BAND_STRIDE);
                }
                workgroupBarrier();
                for (var v = lane; v < BAND * COLS; v += LANE_COUNT) {
                    let row = v / COLS;
                    let col = v % COLS;
                    let at = row * BAND_STRIDE + col;
                    // One after the other, since both together may be 0, and a sum infinite.
                    tile_sums[at] *= power_of_two(-tile_less[row_of(band, row)]);
                    tile_sums[at] *= power_of_two(-tile_less[ROWS + col]);
                }
                workgroupBarrier();
                #unroll
                for (var c = 0u; c < ACROSS; c++) {
                    sums[band * ACROSS + c] = coopLoadT<matrix_sum>(&tile_sums[band_at + c * matrix_SIZE], BAND_STRIDE);
                }
                workgroupBarrier();
            }
            for (var row = lane; row < ROWS + COLS; row += LANE_COUNT) { tile_less[row] = 0; }
            if (lane == 0u) { atomicStore(&tile_outgrown[0], 0u); }
        }
        // What comes next is on its way while this is multiplied; after the last block it is the last again.
        next = bring(origin, lane, min(block + 1u, blocks.y - 1u));
        #unroll
        for (var k = 0u; k < 32u; k += matrix_SIZE) {
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
    for (var band = 0u; band < DOWN; band++) {
        #unroll
        for (var c = 0u; c < ACROSS; c++) {
            coopStoreT(sums[band * ACROSS + c], &tile_sums[band_at + c * matrix_SIZE], BAND_STRIDE);
        }
        workgroupBarrier();
        for (var v = lane; v < BAND * (matmul_OUTPUTS / 4u); v += LANE_COUNT) {
            let row = v / (matmul_OUTPUTS / 4u);
            let col = v % (matmul_OUTPUTS / 4u) * 4u;
            let m = origin.x + row_of(band, row);
            if (GATED) {
                let up = sums4(band, row, col + matmul_HALF) + slices_up_live4(m, origin.y + col);
                slices_store4(slice, m, origin.y + col, sums4(band, row, col) + slices_live4(m, origin.y + col), up);
            } else {
                slices_store4(slice, m, origin.y + col, sums4(band, row, col) + slices_live4(m, origin.y + col), vec4<f32>());
            }
        }
        workgroupBarrier();
    }
}
