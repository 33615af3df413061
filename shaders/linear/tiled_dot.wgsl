// linear/tiled_dot: a tile of ROWS rows of int8 codes by COLS rows of a weight of whole codes, by products of four codes at a time.
//
// As linear/tiled, of which it keeps how lanes share a tile; but codes go into workgroup memory as they are, 4 to a word, and scales of runs
// beside them, so that a tile takes a quarter of the memory, and 32 products 8 instructions. Each run of RUN numbers that share a scale is
// summed as an integer, and goes with its scale into an f32; where a row has one scale (INTS) integers are summed over all of it, as in
// linear/gemv_dot. Good for prefill where int8 activations will do. Wrong for codebooks, small floats and few rows.
// Bytes as linear/tiled, with a quarter of its x. Barriers: 2 for each 32 inputs. Workgroup memory: (ROWS + COLS)·32 bytes, and COLS·64 of
// scales. Registers: LANE_ROWS·8 sums, LANE_ROWS·8 of x and as many of its sums.
#import linear
#import codes
#const ROWS = 64u
#const COLS = 64u
#const LANE_ROWS = 4u
#const INTS = false
const LANES_X = COLS / 8u; // lanes along the outputs
const LANE_COUNT = LANES_X * (ROWS / LANE_ROWS);
const HALF = COLS / 2u;
const OUTPUTS = select(COLS, HALF, GATED);
var<workgroup> tile_x: array<vec4<u32>, ROWS * 2u>;
var<workgroup> tile_w: array<vec4<u32>, COLS * 2u>;
var<workgroup> tile_scale: array<vec2<f32>, COLS * 8u>;

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * linear_params.fold;
    let across = (linear_params.n1 - linear_params.n0 + OUTPUTS - 1u) / OUTPUTS;
    let m0 = id / across * ROWS;
    let n0 = linear_params.n0 + id % across * OUTPUTS;
    let lane_x = lane % LANES_X;
    let lane_y = lane / LANES_X;

    var sums: array<vec4<f32>, LANE_ROWS * 2u>;
    var ints: array<vec4<i32>, LANE_ROWS * 2u>;
    let blocks = (linear_params.k + 31u) / 32u;
    for (var block = 0u; block < blocks; block++) {
        for (var v = lane; v < ROWS * 2u; v += LANE_COUNT) {
            tile_x[v] = codes_load16(min(m0 + v / 2u, linear_params.m - 1u), block * 32u + v % 2u * 16u);
        }
        for (var row = lane; row < COLS; row += LANE_COUNT) {
            var c: array<u32, 8>;
            if (GATED && row >= HALF) {
                let n = min(n0 + row - HALF, linear_params.n1 - 1u);
                c = up_codes32(linear_params.up, n, block);
                if (!INTS) {
                    for (var run = 0u; run < 32u / up_RUN; run++) { tile_scale[row * 8u + run] = up_run_scale(linear_params.up, n, block, run); }
                }
            } else {
                let n = min(n0 + row, linear_params.n1 - 1u);
                c = w_codes32(linear_params.w, n, block);
                if (!INTS) {
                    for (var run = 0u; run < 32u / w_RUN; run++) { tile_scale[row * 8u + run] = w_run_scale(linear_params.w, n, block, run); }
                }
            }
            tile_w[row * 2u] = vec4<u32>(c[0], c[1], c[2], c[3]);
            tile_w[row * 2u + 1u] = vec4<u32>(c[4], c[5], c[6], c[7]);
        }
        workgroupBarrier();
        for (var r = 0u; r < LANE_ROWS; r++) {
            let xa = tile_x[(lane_y * LANE_ROWS + r) * 2u];
            let xb = tile_x[(lane_y * LANE_ROWS + r) * 2u + 1u];
            var x = array<u32, 8>(xa.x, xa.y, xa.z, xa.w, xb.x, xb.y, xb.z, xb.w);
            for (var c = 0u; c < 2u; c++) {
                for (var j = 0u; j < 4u; j++) {
                    let row = c * HALF + lane_x * 4u + j;
                    let wa = tile_w[row * 2u];
                    let wb = tile_w[row * 2u + 1u];
                    var w = array<u32, 8>(wa.x, wa.y, wa.z, wa.w, wb.x, wb.y, wb.z, wb.w);
                    if (GATED && c == 1u) {
                        for (var run = 0u; run < 32u / up_RUN; run++) {
                            if (TAIL && block * 32u + run * up_RUN >= linear_params.k) { continue; } // no scale stands there
                            var dot = 0;
                            var ones = 0;
                            for (var i = run * (up_RUN / 4u); i < (run + 1u) * (up_RUN / 4u); i++) {
                                dot += dot4I8Packed(w[i], x[i]);
                                ones += dot4I8Packed(0x01010101u, x[i]);
                            }
                            if (INTS) { ints[r * 2u + c][j] += up_whole(dot, ones); } else { sums[r * 2u + c][j] += up_run_sum(dot, ones, tile_scale[row * 8u + run]); }
                        }
                    } else {
                        for (var run = 0u; run < 32u / w_RUN; run++) {
                            if (TAIL && block * 32u + run * w_RUN >= linear_params.k) { continue; } // no scale stands there
                            var dot = 0;
                            var ones = 0;
                            for (var i = run * (w_RUN / 4u); i < (run + 1u) * (w_RUN / 4u); i++) {
                                dot += dot4I8Packed(w[i], x[i]);
                                ones += dot4I8Packed(0x01010101u, x[i]);
                            }
                            if (INTS) { ints[r * 2u + c][j] += w_whole(dot, ones); } else { sums[r * 2u + c][j] += w_run_sum(dot, ones, tile_scale[row * 8u + run]); }
                        }
                    }
                }
            }
        }
        workgroupBarrier();
    }

    if (INTS) {
        for (var c = 0u; c < 2u; c++) {
            var scales = vec4<f32>();
            for (var j = 0u; j < 4u; j++) {
                if (GATED && c == 1u) {
                    scales[j] = up_row_scale(linear_params.up, min(n0 + lane_x * 4u + j, linear_params.n1 - 1u));
                } else {
                    scales[j] = w_row_scale(linear_params.w, min(n0 + c * HALF + lane_x * 4u + j, linear_params.n1 - 1u));
                }
            }
            for (var r = 0u; r < LANE_ROWS; r++) { sums[r * 2u + c] = vec4<f32>(ints[r * 2u + c]) * scales; }
        }
    }
    for (var r = 0u; r < LANE_ROWS; r++) {
        let m = m0 + lane_y * LANE_ROWS + r;
        if (GATED) {
            linear_store4(m, n0 + lane_x * 4u, sums[r * 2u], sums[r * 2u + 1u]);
        } else {
            linear_store4(m, n0 + lane_x * 4u, sums[r * 2u], vec4<f32>());
            linear_store4(m, n0 + HALF + lane_x * 4u, sums[r * 2u + 1u], vec4<f32>());
        }
    }
}
