// norm/row: a row in registers, one global read.
//
// LANES lanes share a row and each holds CHUNKS vec4s of it; ROWS rows share a workgroup. Any norm with statistics.
// Good for rows of up to 8,192 numbers; as few lanes as give each up to 4 loads in flight, so that short rows fill a
// workgroup together. Wrong for longer rows (registers spill) and for rows along an inner axis.
// Moves the least bytes possible: every operand once. Intensity is about 1 FLOP a byte, so bytes are all that
// counts; neighbouring lanes touch neighbouring 16 bytes.
// Barriers: one reduction for rms and l2, two for layer norm (the mean, then both sums of the deviations from it, which
// also corrects the mean's own rounding), one more where codes are written. Registers: 4·CHUNKS floats a lane.
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
    let live = first + lane / LANES < norm_params.rows;
    let row = min(first + lane / LANES, norm_params.rows - 1u);
    let start = lane % LANES * 4u;

    var v: array<vec4<f32>, CHUNKS>;
    var total = vec4<f32>();
    var squares = vec4<f32>();
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        if (i < norm_params.len) {
            v[c] = norm_value4(row, i, norm_within(i), live);
            let counted = select(vec4<f32>(), v[c], norm_counts(i));
            total += counted;
            squares += counted * counted;
        }
    }

    var mean = 0.0;
    var shift = 0.0; // what the rounding of the mean left
    var sums = vec2<f32>(norm_add4(total), norm_add4(squares));
    if (stat_CENTER) {
        mean = reduce_sum2(vec2<f32>(sums.x, 0.0), lane).x / norm_params.count;
        total = vec4<f32>();
        squares = vec4<f32>();
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
        let rest = sums.y - sums.x * shift;
        sums.y = select(rest, 0.0, rest < 0.0);
    }
    let factor = stat_factor(sums.y, sums.x, norm_params.count, norm_params.eps);
    if (live && lane % LANES == 0u) { stats_store(row, mean + shift, factor); }

    var magnitude = 0u;
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        if (i < norm_params.len) {
            let n = norm_within(i);
            v[c] = norm_affine4(((v[c] - mean) - shift) * factor, row, i, n);
            if (codes_ON) {
                magnitude = max(magnitude, norm_magnitude(v[c], n));
            } else if (live) {
                y_store4(norm_params.y0 + norm_at(row, i), v[c], n);
            }
        }
    }
    if (codes_ON) {
        let scale = norm_scale(reduce_max(magnitude, lane));
        if (live && lane % LANES == 0u) { codes_store(row, scale); }
        for (var c = 0u; c < CHUNKS; c++) {
            let i = start + c * LANES * 4u;
            if (live && i < norm_params.len) {
                y_store4(norm_params.y0 + norm_at(row, i), norm_codes(v[c], scale), norm_within(i));
            }
        }
    }
}
