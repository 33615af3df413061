// norm/row: a row in registers, one global read.
//
// LANES lanes share a row and each holds CHUNKS vec4s of it; ROWS rows share a workgroup. Any norm with statistics.
// Good for rows of up to 8,192 numbers; as few lanes as give each up to 4 loads in flight, so that short rows fill a
// workgroup together. Wrong for longer rows (registers spill) and for rows along an inner axis.
// Loads, arithmetic and stores are loops of their own: in one loop with a branch around it, each load waited for the one
// before (seen in RADV's code: half the latency since, and on lavapipe 1.3 to 2.8 times as quick).
// Moves the least bytes possible: every operand once. Intensity is about 1 FLOP a byte, so bytes are all that
// counts; neighbouring lanes touch neighbouring 16 bytes.
// Barriers: one reduction for rms and l2, two for layer norm (the mean, then both sums of the deviations from it, which
// also corrects the mean's own rounding), one more where codes are written. Registers: 4·CHUNKS floats a lane,
// for a while twice as many with a residual.
#const LANES = 256u
#const ROWS = 1u
#const CHUNKS = 1u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#import norm
#slot stat
#slot reduce
#slot stats @binding(8)  // [rows, 2]
#slot codes @binding(9)  // [rows]

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * norm_params.fold) * ROWS;
    if (first >= norm_params.rows) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = ROWS == 1u || first + lane / LANES < norm_params.rows;
    let row = min(first + lane / LANES, norm_params.rows - 1u);
    norm_take(row);
    let start = lane % LANES * 4u;

    // All loads stand before the first use, and in no branch.
    var v: array<vec4<f32>, CHUNKS>;
    var sum: array<vec4<f32>, CHUNKS>; // with the residual
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = norm_inside(start + c * LANES * 4u);
        v[c] = norm_x4(row, i, norm_within(i));
        sum[c] = norm_residual4(row, i, norm_within(i));
    }
    var total = vec4<f32>();
    var squares = vec4<f32>();
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        sum[c] = norm_sum4(v[c], sum[c]);
        v[c] = norm_of_sum4(sum[c], row, norm_inside(i));
        let counted = select(vec4<f32>(), v[c], norm_counts(i));
        total += counted;
        squares += counted * counted;
    }
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        if (live && i < norm_params.len) { norm_keep_sum4(sum[c], row, i, norm_within(i)); }
    }

    var mean = 0.0;
    var shift = 0.0; // what the rounding of the mean left
    var sums = vec2<f32>(norm_add4(total), norm_add4(squares));
    if (stat_CENTER) {
        mean = reduce_sum2(vec2<f32>(sums.x, 0.0), lane).x / norm_params.count;
        total = vec4<f32>();
        squares = vec4<f32>();
        #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            let deviation = select(vec4<f32>(), v[c] - mean, norm_counts(start + c * LANES * 4u));
            total += deviation;
            squares += deviation * deviation;
        }
        sums = vec2<f32>(norm_add4(total), norm_add4(squares));
    }
    sums = reduce_sum2(sums, lane);
    if (stat_CENTER) {
        shift = sums.x / norm_params.count;
        sums.y = norm_squares(sums, shift);
    }
    let factor = stat_factor(sums.y, sums.x, norm_params.count, norm_params.eps);
    if (live && lane % LANES == 0u) { stats_store(row, mean + shift, factor); }

    var magnitude = 0u;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = norm_inside(start + c * LANES * 4u);
        let n = norm_within(i);
        if (stat_CENTER) { v[c] = norm_about4(v[c], mean, shift); }
        v[c] = norm_affine4(v[c] * factor, row, i, n);
        if (codes_ON) { magnitude = max(magnitude, code_magnitude(v[c], n)); }
    }
    var scale = 1.0;
    if (codes_ON) {
        scale = norm_scale(reduce_max(magnitude, lane));
        if (live && lane % LANES == 0u) { codes_store(row, scale); }
    }
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        if (codes_ON) { v[c] = norm_codes(v[c], scale); }
        if (live && i < norm_params.len) { y_store4(norm_params.y0 + norm_at(row, i), v[c], norm_within(i)); }
    }
}
