// linear/gemv: few rows of x (ROWS, at most 8) times a weight that is streamed once.
//
// LANES lanes share four rows of the weight; each takes a block of 32 numbers of each of the four, then the block LANES further on.
// LANE_COUNT / LANES such teams share what of x they need, which lies in workgroup memory. Good for decoding: bytes of the weight are
// all that counts, so that each is loaded once, 16 at a time, neighbouring lanes next to each other, and decoded once for all rows
// of x. Wrong for more than 8 rows of x: sums fill the registers, and a tile would use each decoded number more often.
//
// Bytes: the weight once; x once a workgroup, from the nearest cache. A lane of 4-bit codes loads 16 bytes of each row and, of one row of x, uses
// each quad four times, so that workgroup memory gives 32 bytes for each 4 of weight and row of x: a fifth of what an NVIDIA SM
// reads from it while its share of 3 TB/s comes in, for one row of x. x straight from memory was dropped on paper: a lane's 32
// numbers lie 128 bytes from its neighbour's, and every load of 16 bytes would touch as many lines as there are lanes.
// A quad of x stands turned by its lane's number (see `place`), or 8 lanes would ask one bank of workgroup memory at a time.
// K is sliced where outputs are too few to fill a device; linear/merge adds the slices.
// Barriers: 2 for each LANES·32 inputs, and those of the sums at the end. Workgroup memory: LANES·ROWS·128 bytes, and the sums'.
// Registers: of more rows of x, the codes and scales of a block of four rows of the weight (5 to 16 a row), 16 of the quads that are made of them,
// 4·ROWS for sums (twice all that where there are two matrices). Each quad of x is read from workgroup memory for four rows of the weight:
// 16 products for 16 bytes, which is what an NVIDIA SM does of either in a cycle. One row of x is 32 registers: its block is read
// once for four rows, and runs of codes are summed before they are scaled (w_dot32).
// Tried: blocks of two rows decoded whole, 64 registers. Compilers see that the next two rows want the same of x and keep it all: for
// RDNA3, 8 rows of x wanted 425 registers of 256 (an NVIDIA H100 took 81 µs where one row takes 8); now it is 120, of 4 rows 96.
// Levels of formats that have a table of them lie in workgroup memory too, 64 bytes for each weight (w_begin).
// Tried on an NVIDIA H100, for 14,336 inputs and 4,096 outputs of 4 bits: 32 lanes to four rows reached 37 % of its copy bandwidth, 64 lanes
// 53 %, 128 lanes 34 %, and slices of K, with their merge, 43 %. It takes 18.5 µs for them, 37 for 4 rows; and for 4,096 inputs and outputs 7.5 µs, 15 for 4
// rows, and 28 for 8 with their adapters in 256 workgroups, where 64 workgroups without slices took 57.
// Of formats of few bits a block is few bytes, and while x was brought none of them were on their way: the fewer bits, the further from the copy
// bandwidth (f16 96 %, 8 bits 85, 4 bits 67). So their blocks are asked for with x (EARLY), and for one row the next ones before these are worked
// on (AHEAD). Nor are they converted any more: by what NVIDIA tells of its SMs, these 59 million conversions are 15 µs, so they are widened
// by their bits (lib/whole). All that made 17.2 µs of 18.5 in Q4_0, 21 of 32 in NF4 and 20 of 88 in MXFP4. AHEAD takes 24 registers more of one
// row of Q4_0 or NF4 for RDNA3. RADV asks as early only where no branch stands between (WHOLE), or else at the end of a turn, with x of the next. f16,
// asked for early, took 240 registers of 8 rows, and Q8_0, asked for ahead, 168 of one.
// For one row with live adapters the first workgroups make terms in place of sums (lib/make).
#import few
const X_TURNS = (LANES * 8u * ROWS + LANE_COUNT - 1u) / LANE_COUNT; // quads of x that a lane brings
const X_AHEAD = min(X_TURNS, 8u);                                   // so many at a time
// Every lane brings as many. Where a store is in a branch, RADV's compiler moves the load into it, so that each waits for the one before.
const EVEN = X_TURNS * LANE_COUNT == LANES * 8u * ROWS && X_TURNS % X_AHEAD == 0u;
#const WHOLE = false // every lane has a block in every turn
#const EARLY = false // blocks of the weight are asked for with x, where registers hold them so long
#const AHEAD = false // and still earlier: while those before them are worked on, where registers hold both
// A row is an index of its own: it is a constant, and what a bounds check does to the other is done once for all rows.
var<workgroup> tile_x: array<array<vec4<f32>, LANES * 8u>, ROWS>;

// Where quad i of team lane t stands, for each row of x.
fn place(t: u32, i: u32) -> u32 {
    return t * 8u + ((i + t) & 7u);
}

// What a lane has of the weight for a turn, as it lies in memory: a block of each of its four rows.
struct Fetched {
    w: array<w_Raw, 4>,
    up: array<up_Raw, 4>,
}

// All loads of it, in no branch.
fn fetched(rows: vec4<u32>, block: u32) -> Fetched {
    var all = Fetched();
    #unroll
    for (var j = 0u; j < 4u; j++) {
        all.w[j] = w_fetch32(linear_params.w, rows[j], block);
        if (GATED) { all.up[j] = up_fetch32(linear_params.up, rows[j], block); }
    }
    return all;
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * linear_params.fold;
    let t = lane % LANES;
    let n = few_outputs(id, lane);
    let rows = linear_rows(n);
    let blocks = few_blocks(id);
    if (tray_ON) { make_begin(id, lane, n); }
    w_begin(linear_params.w, lane);
    if (GATED) { up_begin(linear_params.up, lane); }
    var sums: array<vec4<f32>, ROWS>;
    var up_sums: array<vec4<f32>, ROWS>;
    // What is past the last block is the last one again, and multiplied by nobody.
    let last_block = max(blocks.y, 1u) - 1u;
    var next = Fetched();
    if (AHEAD) { next = fetched(rows, min(blocks.x + t, last_block)); }
    for (var block0 = blocks.x; block0 < blocks.y; block0 += LANES) {
        // Some at a time, all of them asked for before the first is used, and in no branch. What is past the last row of x, or past the slice, is
        // the last again: nothing is made of it.
        #unroll
        for (var turn0 = 0u; turn0 < X_TURNS; turn0 += X_AHEAD) {
            var ahead = array<vec4<f32>, X_AHEAD>();
            #unroll
            for (var i = 0u; i < X_AHEAD; i++) {
                let v = (turn0 + i) * LANE_COUNT + lane;
                let x_block = min(block0 + v % (LANES * 8u) / 8u, last_block);
                ahead[i] = linear_x4(min(v / (LANES * 8u), linear_params.m - 1u), x_block * 32u + v % 8u * 4u);
            }
            // The weight is on its way while x is waited for.
            if (EARLY && !AHEAD && turn0 == 0u) { next = fetched(rows, min(block0 + t, last_block)); }
            #unroll
            for (var i = 0u; i < X_AHEAD; i++) {
                let v = (turn0 + i) * LANE_COUNT + lane;
                let quad = v % (LANES * 8u);
                if (EVEN || v < LANES * 8u * ROWS) { tile_x[v / (LANES * 8u)][place(quad / 8u, quad % 8u)] = ahead[i]; }
            }
        }
        if (tray_ON) { make_publish(lane); }
        workgroupBarrier();
        if (tray_ON) { make_ask(lane, n, block0 == blocks.x); }
        var now = next;
        if (AHEAD) { next = fetched(rows, min(block0 + LANES + t, last_block)); }
        let block = block0 + t;
        if (WHOLE || block < blocks.y) {
            if (ROWS == 1u && !TAIL) {
                var x = array<vec4<f32>, 8>();
                #unroll
                for (var i = 0u; i < 8u; i++) { x[i] = tile_x[0][place(t, i)]; }
                #unroll
                for (var j = 0u; j < 4u; j++) {
                    if (!EARLY) { now.w[j] = w_fetch32(linear_params.w, rows[j], block); }
                    sums[0][j] += w_dot32(linear_params.w, rows[j], block, w_open32(linear_params.w, rows[j], block, now.w[j]), x);
                }
                if (GATED) {
                    #unroll
                    for (var j = 0u; j < 4u; j++) {
                        if (!EARLY) { now.up[j] = up_fetch32(linear_params.up, rows[j], block); }
                        let opened = up_open32(linear_params.up, rows[j], block, now.up[j]);
                        up_sums[0][j] += up_dot32(linear_params.up, rows[j], block, opened, x);
                    }
                }
            } else {
                // Codes of four rows of the weight, which are made numbers quad by quad: each quad of x serves all four.
                var a = array<w_Open, 4>();
                var b = array<up_Open, 4>();
                #unroll
                for (var j = 0u; j < 4u; j++) {
                    if (!EARLY) { now.w[j] = w_fetch32(linear_params.w, rows[j], block); }
                    if (!EARLY && GATED) { now.up[j] = up_fetch32(linear_params.up, rows[j], block); }
                    a[j] = w_open32(linear_params.w, rows[j], block, now.w[j]);
                    if (GATED) { b[j] = up_open32(linear_params.up, rows[j], block, now.up[j]); }
                }
                #unroll
                for (var i = 0u; i < 8u; i++) {
                    var v = array<vec4<f32>, 4>();
                    var up_v = array<vec4<f32>, 4>();
                    #unroll
                    for (var j = 0u; j < 4u; j++) {
                        v[j] = linear_keep4(w_number4(linear_params.w, rows[j], block, a[j], i), block * 32u + i * 4u);
                        if (GATED) {
                            up_v[j] = linear_keep4(up_number4(linear_params.up, rows[j], block, b[j], i), block * 32u + i * 4u);
                        }
                    }
                    #unroll
                    for (var m = 0u; m < ROWS; m++) {
                        let x = tile_x[m][place(t, i)];
                        sums[m] += vec4<f32>(dot(x, v[0]), dot(x, v[1]), dot(x, v[2]), dot(x, v[3]));
                        if (GATED) { up_sums[m] += vec4<f32>(dot(x, up_v[0]), dot(x, up_v[1]), dot(x, up_v[2]), dot(x, up_v[3])); }
                    }
                }
            }
        }
        workgroupBarrier();
    }
    few_store(id, lane, n, sums, up_sums);
}
