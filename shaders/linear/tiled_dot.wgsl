// linear/tiled_dot: a tile of ROWS rows of int8 codes by COLS rows of a weight of whole codes, by products of four codes at a time.
//
// As linear/tiled, of which it keeps how lanes share a tile; but codes go into workgroup memory as they are, 4 to a word, and scales of runs
// beside them, so that a tile takes a quarter of the memory, and 32 products 8 instructions. Each run of RUN numbers that share a scale is
// summed as an integer, and goes with its scale into an f32; where a row has one scale (INTS) integers are summed over all of it, as in
// linear/gemv_dot. Good for prefill where int8 activations will do. Wrong for codebooks, small floats and few rows.
// Bytes as linear/tiled, with a quarter of its x. Barriers: 2 for each 32 inputs. Workgroup memory: (ROWS + COLS)·32 bytes, and COLS·64 of
// scales. Registers: LANE_ROWS·8 sums, LANE_ROWS·8 of x and as many of its sums.
#import matmul
#import codes
#const INTS = false
// By the row of a lane, the half of its block or the run, and the lane, of which only the last is not a constant: as in linear/tiled.
var<workgroup> tile_x: array<array<array<vec4<u32>, ROWS / LANE_ROWS>, 2>, LANE_ROWS>;
var<workgroup> tile_w: array<array<array<vec4<u32>, matmul_LANES_X>, 2>, 8>;
var<workgroup> tile_scale: array<array<array<vec2<f32>, matmul_LANES_X>, 8>, 8>;

@compute @workgroup_size(matmul_LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * linear_params.fold;
    let origin = matmul_origin(id);
    let slice = slices_slice(id);
    let blocks = slices_blocks(slice, 1u);
    let lane_x = lane % matmul_LANES_X;
    let lane_y = lane / matmul_LANES_X;

    var sums: array<vec4<f32>, LANE_ROWS * 2u>;
    var ints: array<vec4<i32>, LANE_ROWS * 2u>;
    for (var block = blocks.x; block < blocks.y; block++) {
        for (var v = lane; v < ROWS * 2u; v += matmul_LANE_COUNT) {
            tile_x[v / 2u % LANE_ROWS][v % 2u][v / 2u / LANE_ROWS] = codes_load16(min(origin.x + v / 2u, linear_params.m - 1u), block * 32u + v % 2u * 16u);
        }
        for (var row = lane; row < COLS; row += matmul_LANE_COUNT) {
            let n = matmul_output(origin, row);
            let of_lane = row / matmul_HALF * 4u + row % 4u;
            let own = row % matmul_HALF / 4u;
            var c = array<u32, 8>();
            if (GATED && row >= matmul_HALF) {
                c = up_codes32(linear_params.up, n, block);
                for (var run = 0u; !INTS && run < 32u / up_RUN; run++) { tile_scale[of_lane][run][own] = up_run_scale(linear_params.up, n, block, run); }
            } else {
                c = w_codes32(linear_params.w, n, block);
                for (var run = 0u; !INTS && run < 32u / w_RUN; run++) { tile_scale[of_lane][run][own] = w_run_scale(linear_params.w, n, block, run); }
            }
            tile_w[of_lane][0][own] = vec4<u32>(c[0], c[1], c[2], c[3]);
            tile_w[of_lane][1][own] = vec4<u32>(c[4], c[5], c[6], c[7]);
        }
        workgroupBarrier();
        #unroll
        for (var r = 0u; r < LANE_ROWS; r++) {
            let x = codes_words(tile_x[r][0][lane_y], tile_x[r][1][lane_y]);
            #unroll
            for (var c = 0u; c < 2u; c++) {
                #unroll
                for (var j = 0u; j < 4u; j++) {
                    let w = codes_words(tile_w[c * 4u + j][0][lane_x], tile_w[c * 4u + j][1][lane_x]);
                    if (GATED && c == 1u) {
                        #unroll
                        for (var run = 0u; run < 32u / up_RUN; run++) {
                            // Past the end no scale stands.
                            if (!TAIL || block * 32u + run * up_RUN < linear_params.k) {
                                let sum = codes_products(w, x, run * (up_RUN / 4u), up_RUN / 4u);
                                if (INTS) {
                                    ints[r * 2u + c][j] += up_whole(sum.x, sum.y);
                                } else {
                                    sums[r * 2u + c][j] += up_run_sum(sum.x, sum.y, tile_scale[c * 4u + j][run][lane_x]);
                                }
                            }
                        }
                    } else {
                        #unroll
                        for (var run = 0u; run < 32u / w_RUN; run++) {
                            // Past the end no scale stands.
                            if (!TAIL || block * 32u + run * w_RUN < linear_params.k) {
                                let sum = codes_products(w, x, run * (w_RUN / 4u), w_RUN / 4u);
                                if (INTS) {
                                    ints[r * 2u + c][j] += w_whole(sum.x, sum.y);
                                } else {
                                    sums[r * 2u + c][j] += w_run_sum(sum.x, sum.y, tile_scale[c * 4u + j][run][lane_x]);
                                }
                            }
                        }
                    }
                }
            }
        }
        workgroupBarrier();
    }

    if (INTS) {
        #unroll
        for (var c = 0u; c < 2u; c++) {
            var scales = vec4<f32>();
            #unroll
            for (var j = 0u; j < 4u; j++) {
                let n = matmul_output(origin, c * matmul_HALF + lane_x * 4u + j);
                if (GATED && c == 1u) {
                    scales[j] = up_row_scale(linear_params.up, n);
                } else {
                    scales[j] = w_row_scale(linear_params.w, n);
                }
            }
            #unroll
            for (var r = 0u; r < LANE_ROWS; r++) { sums[r * 2u + c] = vec4<f32>(ints[r * 2u + c]) * scales; }
        }
    }
    matmul_store(origin, slice, lane, sums);
}
