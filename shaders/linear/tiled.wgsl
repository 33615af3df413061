// linear/tiled: a tile of ROWS rows of x by COLS rows of the weight, decoded once for the tile into workgroup memory.
//
// Good for prefill. A lane makes LANE_ROWS × 8 sums in registers. For each 4 inputs it loads LANE_ROWS + 8 vec4s of workgroup memory for
// LANE_ROWS·32 multiplications: with LANE_ROWS = 8 each loaded number serves 4. Tiles stand along K, so that decoded quads go in as
// they come, and a quad's place is turned by the lane that reads it, so that neighbouring lanes ask different
// banks. Where there are two matrices, the first half of a tile's weights is of the one and the second half, for the same outputs, of the
// other, so that a lane has both sums.
// Larger tiles decode and load less: with ROWS = COLS = 128 each decoded weight serves 128 rows, at 32 KiB of workgroup memory; 64 × 64
// fits the 16 KiB that every device has. Wrong for few rows: rows of the tile that are not there are computed all the same.
// Bytes: x ⌈N / COLS⌉ times, the weight ⌈M / ROWS⌉ times, y once. Barriers: 2 for each 32 inputs.
// Registers: LANE_ROWS·8 sums, LANE_ROWS·4 of x, 16 of weights.
#import tiles
const X_TURNS = ROWS * 8u / matmul_LANE_COUNT; // quads of x that a lane brings
const W_TURNS = (COLS + matmul_LANE_COUNT - 1u) / matmul_LANE_COUNT; // rows of the weight
// Which of its rows a lane reads is a constant, and an index of its own: what is left are 8 places of x and 8 of weights, which are the same for all rows
// and all inputs, bounds checks included. Of x that is row % LANE_ROWS; of weights row % 4, and which half. With one index of row and place RDNA3 took
// 4,360 instructions for a turn of 64 × 64 in Q4_0, and takes 3,710, of which 2,048 multiply; of 16 × 64 1,430 and 1,120, and 192 registers and 120.
var<workgroup> tile_x: array<array<vec4<f32>, ROWS / LANE_ROWS * 8u>, LANE_ROWS>;
var<workgroup> tile_w: array<array<vec4<f32>, COLS>, 8>;

// Where a quad of one of a lane's rows stands. Neighbouring lanes read different banks; so do those that store, each one row of weights: by twos.
fn place(lane: u32, quad: u32) -> u32 {
    return lane * 8u + ((quad + lane) & 7u);
}

@compute @workgroup_size(matmul_LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * linear_params.fold;
    let origin = matmul_origin(id);
    let slice = slices_slice(id);
    let blocks = slices_blocks(slice, 1u);
    let lane_x = lane % matmul_LANES_X;
    let lane_y = lane / matmul_LANES_X;
    w_begin(linear_params.w, lane);
    if (GATED) { up_begin(linear_params.up, lane); }
    workgroupBarrier();

    var sums: array<vec4<f32>, LANE_ROWS * 2u>;
    for (var block = blocks.x; block < blocks.y; block++) {
        // All loads stand before the first store, and in no branch: they are on their way together.
        var new_x = array<vec4<f32>, X_TURNS>();
        #unroll
        for (var t = 0u; t < X_TURNS; t++) { new_x[t] = tiles_input4(origin, t * matmul_LANE_COUNT + lane, block); }
        #unroll
        for (var t = 0u; t < W_TURNS; t++) {
            let row = t * matmul_LANE_COUNT + lane;
            let w = tiles_decode32(origin, row, block, tiles_fetch32(origin, row, block));
            if (W_TURNS * matmul_LANE_COUNT == COLS || row < COLS) {
                #unroll
                for (var i = 0u; i < 8u; i++) {
                    tile_w[row / matmul_HALF * 4u + row % 4u][place(row % matmul_HALF / 4u, i + 2u * (row % 4u))] = w[i];
                }
            }
        }
        #unroll
        for (var t = 0u; t < X_TURNS; t++) {
            let v = t * matmul_LANE_COUNT + lane;
            tile_x[v / 8u % LANE_ROWS][place(v / 8u / LANE_ROWS, v % 8u)] = new_x[t];
        }
        workgroupBarrier();
        #unroll
        for (var i = 0u; i < 8u; i++) {
            var x = array<vec4<f32>, LANE_ROWS>();
            #unroll
            for (var r = 0u; r < LANE_ROWS; r++) { x[r] = tile_x[r][place(lane_y, i)]; }
            #unroll
            for (var c = 0u; c < 2u; c++) {
                let a = tile_w[c * 4u][place(lane_x, i)];
                let b = tile_w[c * 4u + 1u][place(lane_x, i + 2u)];
                let d = tile_w[c * 4u + 2u][place(lane_x, i + 4u)];
                let e = tile_w[c * 4u + 3u][place(lane_x, i + 6u)];
                #unroll
                for (var r = 0u; r < LANE_ROWS; r++) {
                    sums[r * 2u + c] += vec4<f32>(dot(x[r], a), dot(x[r], b), dot(x[r], d), dot(x[r], e));
                }
            }
        }
        workgroupBarrier();
    }
    matmul_store(origin, slice, lane, sums);
}
