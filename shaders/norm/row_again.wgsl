// norm/row_again: a row by one workgroup that reads it again for each pass: norm/row without registers.
//
// LANES lanes share a row and walk along it; ROWS rows share a workgroup. Nothing is kept between passes.
// Good on software devices that have no registers for a row and to which a barrier means putting every invocation to sleep: 3
// to 6 times as quick as norm/row on SwiftShader; on lavapipe, which has registers, it is slower. The second read comes from
// the nearest cache. (norm/row with 8 lanes was tried there: lavapipe compiles its array of 128 vec4s a lane for 5 seconds.)
// Also for rows that are too long for registers where there are too few bindings for norm/split_*.
// Wrong on GPUs otherwise, which have the registers. Reads x (and residual) twice, three times for layer norm, once more with
// codes. Barriers: those of norm/row's reductions; none where LANES <= SUBGROUP.
#const LANES = 8u
#const ROWS = 4u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#import norm
#slot stat
#slot reduce
#slot stats @binding(8)  // [rows, 2]
#slot codes @binding(9)  // [rows]

fn output4(row: u32, i: u32, mean: f32, shift: f32, factor: f32) -> vec4<f32> {
    let n = norm_within(i);
    var v = norm_value4(row, i, n, false);
    if (stat_CENTER) { v = norm_about4(v, mean, shift); }
    return norm_affine4(v * factor, row, i, n);
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * norm_params.fold) * ROWS;
    if (first >= norm_params.rows) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = first + lane / LANES < norm_params.rows;
    let row = min(first + lane / LANES, norm_params.rows - 1u);
    norm_take(row);
    let start = lane % LANES * 4u;
    let stride = LANES * 4u;

    var total = vec4<f32>();
    var squares = vec4<f32>();
    for (var i = start; i < norm_params.len; i += stride) {
        let counted = select(vec4<f32>(), norm_value4(row, i, norm_within(i), live), norm_counts(i));
        total += counted;
        squares += counted * counted;
    }

    var mean = 0.0;
    var shift = 0.0; // what the rounding of the mean left
    var sums = vec2<f32>(norm_add4(total), norm_add4(squares));
    if (stat_CENTER) {
        mean = reduce_sum2(vec2<f32>(sums.x, 0.0), lane).x / norm_params.count;
        total = vec4<f32>();
        squares = vec4<f32>();
        for (var i = start; i < norm_params.len; i += stride) {
            let deviation = select(vec4<f32>(), norm_value4(row, i, norm_within(i), false) - mean, norm_counts(i));
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
    var scale = 1.0;
    if (codes_ON) {
        for (var i = start; i < norm_params.len; i += stride) {
            let n = norm_within(i);
            magnitude = max(magnitude, code_magnitude(output4(row, i, mean, shift, factor), n));
        }
        scale = norm_scale(reduce_max(magnitude, lane));
        if (live && lane % LANES == 0u) { codes_store(row, scale); }
    }
    if (live) {
        for (var i = start; i < norm_params.len; i += stride) {
            let n = norm_within(i);
            var v = output4(row, i, mean, shift, factor);
            if (codes_ON) { v = norm_codes(v, scale); }
            y_store4(norm_params.y0 + norm_at(row, i), v, n);
        }
    }
}
