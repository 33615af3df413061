// linear/gemv: few rows of x (ROWS, at most 8) times a weight that is streamed once.
//
// LANES lanes share four rows of the weight; each takes a block of 32 numbers of each of the four, then the block LANES further on.
// LANE_COUNT / LANES such teams share what of x they need, which lies in workgroup memory. Good for decoding: bytes of the weight are
// all that counts, so that each is loaded once, 16 at a time, neighbouring lanes next to each other, and decoded once for all rows
// of x. Wrong for more than 8 rows of x: sums fill the registers, and a tile would use each decoded number more often.
//
// Bytes: the weight once; x once a workgroup, from the nearest cache. A lane of 4-bit codes loads 16 bytes of each row and uses each
// quad of x four times, so that workgroup memory gives 32 bytes for each 4 of weight and row of x: a fifth of what an NVIDIA SM
// reads from it while its share of 3 TB/s comes in, for one row of x. x straight from memory was dropped on paper: a lane's 32
// numbers lie 128 bytes from its neighbour's, and every load of 16 bytes would touch as many lines as there are lanes.
// A quad of x stands turned by its lane's number (see `place`), or 8 lanes would ask one bank of workgroup memory at a time.
// K is sliced where outputs are too few to fill a device; linear/merge adds the slices.
// Barriers: 2 for each LANES·32 inputs, and those of the sums at the end. Workgroup memory: LANES·ROWS·128 bytes, and the sums'.
// Registers: 32 for a block of decoded weights, 4·ROWS for sums (twice that where there are two matrices). One row of x is 32 more: its
// block is read from workgroup memory once for four rows of the weight, and runs of codes are summed before they are scaled (w_dot32).
// Tried on an NVIDIA H100, for 14,336 inputs and 4,096 outputs of 4 bits: 32 lanes to four rows reached 37 % of its copy bandwidth, 64 lanes
// 53 %, 128 lanes 34 %, and slices of K, with their merge, 43 %.
#import few
var<workgroup> tile_x: array<vec4<f32>, LANES * 8u * ROWS>;

// Where quad i of team lane t stands, for each row of x.
fn place(t: u32, i: u32) -> u32 {
    return t * 8u + ((i + t) & 7u);
}

// What a block of one row of the weight adds to the sums of all rows of x.
fn dots(t: u32, w: array<vec4<f32>, 8>, k: u32) -> array<f32, ROWS> {
    var sums: array<f32, ROWS>;
    for (var i = 0u; i < 8u; i++) {
        let v = linear_keep4(w[i], k + i * 4u);
        for (var m = 0u; m < ROWS; m++) { sums[m] += dot(tile_x[m * (LANES * 8u) + place(t, i)], v); }
    }
    return sums;
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * linear_params.fold;
    let slice = slices_slice(id);
    let t = lane % LANES;
    let n = few_outputs(id, lane);
    let rows = linear_rows(n);
    let blocks = slices_blocks(slice);
    var sums: array<vec4<f32>, ROWS>;
    var up_sums: array<vec4<f32>, ROWS>;
    for (var block0 = blocks.x; block0 < blocks.y; block0 += LANES) {
        for (var v = lane; v < LANES * 8u * ROWS; v += LANE_COUNT) {
            let m = v / (LANES * 8u);
            let quad = v % (LANES * 8u);
            var x = vec4<f32>();
            // Past the slice nothing counts, and past the last row nothing is stored.
            if (m < linear_params.m && block0 + quad / 8u < blocks.y) { x = linear_x4(m, block0 * 32u + quad * 4u); }
            tile_x[m * (LANES * 8u) + place(quad / 8u, quad % 8u)] = x;
        }
        workgroupBarrier();
        let block = block0 + t;
        if (block < blocks.y) {
            if (ROWS == 1u && !TAIL) {
                var x = array<vec4<f32>, 8>();
                for (var i = 0u; i < 8u; i++) { x[i] = tile_x[place(t, i)]; }
                for (var j = 0u; j < 4u; j++) { sums[0][j] += w_dot32(linear_params.w, rows[j], block, x); }
                if (GATED) {
                    for (var j = 0u; j < 4u; j++) { up_sums[0][j] += up_dot32(linear_params.up, rows[j], block, x); }
                }
            } else {
                for (var j = 0u; j < 4u; j++) {
                    let part = dots(t, w_load32(linear_params.w, rows[j], block), block * 32u);
                    for (var m = 0u; m < ROWS; m++) { sums[m][j] += part[m]; }
                    if (GATED) {
                        let up_part = dots(t, up_load32(linear_params.up, rows[j], block), block * 32u);
                        for (var m = 0u; m < ROWS; m++) { up_sums[m][j] += up_part[m]; }
                    }
                }
            }
        }
        workgroupBarrier();
    }
    few_store(slice, lane, n, sums, up_sums);
}
