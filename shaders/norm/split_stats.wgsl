// norm/split_stats: step 1 of 3 (4 with codes) for rows that are too long for one workgroup's registers.
//
// Each workgroup takes a slice of LANES·CHUNKS·4 numbers of one row and writes what the slice adds to the row's statistics,
// so that one huge row uses the whole device. Where a mean is subtracted that is the slice's own mean, in two parts (a mean of
// 1e4 rounded to f32 would be off by more than a deviation of 1e-2 can bear), and the squares of the deviations from it
// (norm/split_merge puts them together); else the sum and the sum of squares.
// Good for rows above 8,192 numbers. Wrong below: norm/row reads x once, this way reads it twice.
// Reads x (and residual) once, writes the sum once, and 16 bytes a slice; one reduction, two with a mean.
const LANES = 256u;
#const CHUNKS = 1u
#const SUBGROUP = 4u
const LANE_COUNT = LANES;
#import norm
#slot stat
#slot reduce
@group(0) @binding(14) var<storage, read_write> slices: array<vec4<f32>>; // [rows, slices]: mean, its rest or the sum, squares

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let job = group.x + group.y * norm_params.fold;
    if (job >= norm_params.rows * norm_params.slices) { return; }
    let row = job / norm_params.slices;
    norm_take(row);
    let first = job % norm_params.slices * (LANES * CHUNKS * 4u);
    let start = first + lane * 4u;

    // As in norm/row: all loads stand before the first use, and in no branch.
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
        if (i < norm_params.len) { norm_keep_sum4(sum[c], row, i, norm_within(i)); }
    }
    var sums = vec2<f32>(norm_add4(total), norm_add4(squares));
    var mean = 0.0;
    if (stat_CENTER) {
        // Of the slice; a slice past stat_len has nothing to count.
        let count = f32(clamp(norm_params.stat_len, first + 1u, first + LANES * CHUNKS * 4u) - first);
        mean = reduce_sum2(vec2<f32>(sums.x, 0.0), lane).x / count;
        total = vec4<f32>();
        squares = vec4<f32>();
        #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            let deviation = select(vec4<f32>(), v[c] - mean, norm_counts(start + c * LANES * 4u));
            total += deviation;
            squares += deviation * deviation;
        }
        sums = reduce_sum2(vec2<f32>(norm_add4(total), norm_add4(squares)), lane);
        let shift = sums.x / count;
        sums = vec2<f32>(shift, norm_squares(sums, shift));
    } else {
        sums = reduce_sum2(sums, lane);
    }
    if (lane == 0u) { slices[job] = vec4<f32>(mean, sums, 0.0); }
}
