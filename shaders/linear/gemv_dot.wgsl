// linear/gemv_dot: few rows of int8 codes (ROWS, at most 8) times a weight of whole codes, by products of four codes at a time.
//
// As linear/gemv, of which it keeps how lanes share rows; but a block of 32 products is 8 instructions where linear/gemv takes 32 and
// decodes each weight besides. Good where those bind and not the bytes: batches of 4 to 8 rows, and devices with little arithmetic for
// their bandwidth. Wrong for codebooks and small floats, and where activations have outliers, which int8 loses.
// Integers are summed over a run of numbers that share a scale. Where a row has one scale (INTS) they are summed over all of it: its
// 2^31 holds them by the bound of A2Q (Colbert et al., arXiv 2308.13504), which is checked when the weight is loaded.
// Bytes: the weight once, a quarter of linear/gemv's of x. Workgroup memory: LANES·ROWS·32 bytes, and the sums'. Barriers as there.
#import linear
#import codes
#const ROWS = 1u
#const LANES = 32u
#const LANE_COUNT = 128u
#const SUBGROUP = 4u
#const INTS = false
#slot reduce
#slot parts @binding(8) // [slices, matrices, M, ⌈outputs / 4⌉]
const TEAMS = LANE_COUNT / LANES;
var<workgroup> tile_x: array<vec4<u32>, LANES * 2u * ROWS>;

// Where half i of team lane t's block stands, for each row of x: turned, or lanes would ask one bank.
fn place(t: u32, i: u32) -> u32 {
    return t * 2u + ((i + t / 4u) & 1u);
}

fn block_of(m: u32, t: u32) -> array<u32, 8> {
    let a = tile_x[m * (LANES * 2u) + place(t, 0u)];
    let b = tile_x[m * (LANES * 2u) + place(t, 1u)];
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * linear_params.fold;
    let slice = id % linear_params.slices;
    let t = lane % LANES;
    let n = linear_params.n0 + (id / linear_params.slices * TEAMS + lane / LANES) * 4u;
    let rows = linear_rows(n);

    let blocks = (linear_params.k + 31u) / 32u;
    let each = (blocks + linear_params.slices - 1u) / linear_params.slices;
    let first = min(slice * each, blocks);
    let end = min(first + each, blocks);
    var sums: array<vec4<f32>, ROWS>;
    var ints: array<vec4<i32>, ROWS>;
    var up_sums: array<vec4<f32>, ROWS>;
    var up_ints: array<vec4<i32>, ROWS>;
    for (var block0 = first; block0 < end; block0 += LANES) {
        for (var v = lane; v < LANES * 2u * ROWS; v += LANE_COUNT) {
            let m = v / (LANES * 2u);
            let half = v % (LANES * 2u);
            var x = vec4<u32>();
            if (m < linear_params.m && block0 + half / 2u < end) {
                let k = block0 * 32u + half * 16u;
                x = codes_load16(m, k);
            }
            tile_x[m * (LANES * 2u) + place(half / 2u, half % 2u)] = x;
        }
        workgroupBarrier();
        let block = block0 + t;
        if (block < end) {
            for (var j = 0u; j < 4u; j++) {
                var codes = w_codes32(linear_params.w, rows[j], block);
                for (var run = 0u; run < 32u / w_RUN; run++) {
                    if (TAIL && block * 32u + run * w_RUN >= linear_params.k) { continue; } // no scale stands there
                    var scale = vec2<f32>();
                    if (!INTS) { scale = w_run_scale(linear_params.w, rows[j], block, run); }
                    for (var m = 0u; m < ROWS; m++) {
                        var x = block_of(m, t);
                        var dot = 0;
                        var ones = 0;
                        for (var i = run * (w_RUN / 4u); i < (run + 1u) * (w_RUN / 4u); i++) {
                            dot += dot4I8Packed(codes[i], x[i]);
                            ones += dot4I8Packed(0x01010101u, x[i]);
                        }
                        if (INTS) { ints[m][j] += w_whole(dot, ones); } else { sums[m][j] += w_run_sum(dot, ones, scale); }
                    }
                }
                if (GATED) {
                    codes = up_codes32(linear_params.up, rows[j], block);
                    for (var run = 0u; run < 32u / up_RUN; run++) {
                    if (TAIL && block * 32u + run * up_RUN >= linear_params.k) { continue; } // no scale stands there
                        var scale = vec2<f32>();
                        if (!INTS) { scale = up_run_scale(linear_params.up, rows[j], block, run); }
                        for (var m = 0u; m < ROWS; m++) {
                            var x = block_of(m, t);
                            var dot = 0;
                            var ones = 0;
                            for (var i = run * (up_RUN / 4u); i < (run + 1u) * (up_RUN / 4u); i++) {
                                dot += dot4I8Packed(codes[i], x[i]);
                                ones += dot4I8Packed(0x01010101u, x[i]);
                            }
                            if (INTS) { up_ints[m][j] += up_whole(dot, ones); } else { up_sums[m][j] += up_run_sum(dot, ones, scale); }
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
        for (var j = 0u; j < 4u; j++) {
            scales[j] = w_row_scale(linear_params.w, rows[j]);
            if (GATED) { up_scales[j] = up_row_scale(linear_params.up, rows[j]); }
        }
        for (var m = 0u; m < ROWS; m++) {
            sums[m] = vec4<f32>(ints[m]) * scales;
            up_sums[m] = vec4<f32>(up_ints[m]) * up_scales;
        }
    }
    let quads = (linear_params.n1 - linear_params.n0 + 3u) / 4u;
    let at = (n - linear_params.n0) / 4u;
    for (var m = 0u; m < ROWS; m++) {
        let sum = reduce_sum4(sums[m], lane);
        var up_sum = vec4<f32>();
        if (GATED) { up_sum = reduce_sum4(up_sums[m], lane); }
        if (t == m % LANES) {
            if (!parts_ON) {
                linear_store4(m, n, sum, up_sum);
            } else if (at < quads && m < linear_params.m) {
                let matrices = select(1u, 2u, GATED);
                let i = (slice * matrices * linear_params.m + m) * quads + at;
                parts_store4(i, sum);
                if (GATED) { parts_store4(i + linear_params.m * quads, up_sum); }
            }
        }
    }
}
