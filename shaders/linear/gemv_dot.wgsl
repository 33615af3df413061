// linear/gemv_dot: few rows of int8 codes (ROWS, at most 8) times a weight of whole codes, by products of four codes at a time.
//
// As linear/gemv, of which it keeps how lanes share rows; but a block of 32 products is 8 instructions where linear/gemv takes 32 and
// decodes each weight besides. Good where those bind and not the bytes: batches of 4 to 8 rows, and devices with little arithmetic for
// their bandwidth. Wrong for codebooks and small floats, and where activations have outliers, which int8 loses.
// Integers are summed over a run of numbers that share a scale. Where a row has one scale (INTS) they are summed over all of it: its
// 2^31 holds them by the bound of A2Q (Colbert et al., arXiv 2308.13504), which is checked when the weight is loaded.
// Bytes: the weight once, a quarter of linear/gemv's of x. Workgroup memory: LANES·ROWS·32 bytes, and the sums'. Barriers as there.
#import few
#import codes
#const INTS = false
const X_TURNS = (LANES * 2u * ROWS + LANE_COUNT - 1u) / LANE_COUNT; // halves of blocks of x that a lane brings
const X_AHEAD = min(X_TURNS, 8u);                                   // so many at a time
const EVEN = X_TURNS * LANE_COUNT == LANES * 2u * ROWS && X_TURNS % X_AHEAD == 0u; // as in linear/gemv
var<workgroup> tile_x: array<array<vec4<u32>, LANES * 2u>, ROWS>; // a row is an index of its own, as there

// Where half i of team lane t's block stands, for each row of x: turned, or lanes would ask one bank.
fn place(t: u32, i: u32) -> u32 {
    return t * 2u + ((i + t / 4u) & 1u);
}

fn block_of(m: u32, t: u32) -> array<u32, 8> {
    return codes_words(tile_x[m][place(t, 0u)], tile_x[m][place(t, 1u)]);
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * linear_params.fold;
    let t = lane % LANES;
    let n = few_outputs(id, lane);
    let rows = linear_rows(n);
    let blocks = few_blocks(id);
    if (tray_ON) { make_begin(id, lane, n); }
    var sums: array<vec4<f32>, ROWS>;
    var ints: array<vec4<i32>, ROWS>;
    var up_sums: array<vec4<f32>, ROWS>;
    var up_ints: array<vec4<i32>, ROWS>;
    for (var block0 = blocks.x; block0 < blocks.y; block0 += LANES) {
        // As in linear/gemv.
        #unroll
        for (var turn0 = 0u; turn0 < X_TURNS; turn0 += X_AHEAD) {
            var ahead = array<vec4<u32>, X_AHEAD>();
            #unroll
            for (var i = 0u; i < X_AHEAD; i++) {
                let v = (turn0 + i) * LANE_COUNT + lane;
                let x_block = min(block0 + v % (LANES * 2u) / 2u, blocks.y - 1u);
                ahead[i] = codes_load16(min(v / (LANES * 2u), linear_params.m - 1u), x_block * 32u + v % 2u * 16u);
            }
            #unroll
            for (var i = 0u; i < X_AHEAD; i++) {
                let v = (turn0 + i) * LANE_COUNT + lane;
                let half = v % (LANES * 2u);
                if (EVEN || v < LANES * 2u * ROWS) { tile_x[v / (LANES * 2u)][place(half / 2u, half % 2u)] = ahead[i]; }
            }
        }
        if (tray_ON) { make_publish(lane); }
        workgroupBarrier();
        if (tray_ON) { make_ask(lane, n, block0 == blocks.x); }
        let block = block0 + t;
        if (block < blocks.y) {
            #unroll
            for (var j = 0u; j < 4u; j++) {
                let codes = w_codes32(linear_params.w, rows[j], block);
                for (var run = 0u; run < 32u / w_RUN; run++) {
                    if (TAIL && block * 32u + run * w_RUN >= linear_params.k) { continue; } // no scale stands there
                    var scale = vec2<f32>();
                    if (!INTS) { scale = w_run_scale(linear_params.w, rows[j], block, run); }
                    #unroll
                    for (var m = 0u; m < ROWS; m++) {
                        let sum = codes_products(codes, block_of(m, t), run * (w_RUN / 4u), w_RUN / 4u);
                        if (INTS) {
                            ints[m][j] += w_whole(sum.x, sum.y);
                        } else {
                            sums[m][j] += w_run_sum(sum.x, sum.y, scale);
                        }
                    }
                }
                if (GATED) {
                    let up_codes = up_codes32(linear_params.up, rows[j], block);
                    for (var run = 0u; run < 32u / up_RUN; run++) {
                        if (TAIL && block * 32u + run * up_RUN >= linear_params.k) { continue; } // no scale stands there
                        var scale = vec2<f32>();
                        if (!INTS) { scale = up_run_scale(linear_params.up, rows[j], block, run); }
                        #unroll
                        for (var m = 0u; m < ROWS; m++) {
                            let sum = codes_products(up_codes, block_of(m, t), run * (up_RUN / 4u), up_RUN / 4u);
                            if (INTS) {
                                up_ints[m][j] += up_whole(sum.x, sum.y);
                            } else {
                                up_sums[m][j] += up_run_sum(sum.x, sum.y, scale);
                            }
                        }
                    }
                }
            }
        }
        workgroupBarrier();
    }

    if (INTS) {
        // Integers of lanes are whole numbers still, but f32 may round them: a part in 2^24 of what a lane has.
        var scales = vec4<f32>();
        var up_scales = vec4<f32>();
        #unroll
        for (var j = 0u; j < 4u; j++) {
            scales[j] = w_row_scale(linear_params.w, rows[j]);
            if (GATED) { up_scales[j] = up_row_scale(linear_params.up, rows[j]); }
        }
        #unroll
        for (var m = 0u; m < ROWS; m++) {
            sums[m] = vec4<f32>(ints[m]) * scales;
            up_sums[m] = vec4<f32>(up_ints[m]) * up_scales;
        }
    }
    few_store(id, lane, n, sums, up_sums);
}
