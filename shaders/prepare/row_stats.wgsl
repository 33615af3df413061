// prepare/row_stats: of every row its mean, its squares about the mean, its mean magnitude, its largest magnitude.
//
// LANES lanes share a row and walk along it twice, for the mean and about it; ROWS rows share a workgroup. The second walk also sums
// what the means are off by (f32 rounds them), and takes it out: rows far from zero lose nothing, and of numbers of one sign the mean
// magnitude is that of the mean to the bit.
// Good for rows of any length, once at load. Wrong for a few rows of millions, which leave most of a device idle.
// Reads w twice, the second time from the nearest cache where a row fits it; writes 16 bytes a row. Barriers: three reductions, none
// where LANES <= SUBGROUP. Tried and dropped: squares in the first walk, which cancel where the mean is large.
#const LANES = 32u
#const ROWS = 4u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#import prepare
#import code
#import guarded
#slot reduce
#slot w @binding(1) // [N, K]
@group(0) @binding(2) var<storage, read_write> stats: array<f32>; // [4, N]

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * prepare_params.fold) * ROWS;
    if (first >= prepare_params.n) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = first + lane / LANES < prepare_params.n;
    let row = min(first + lane / LANES, prepare_params.n - 1u);
    let k = prepare_params.k;
    let begin = prepare_params.at1 + row * k;
    var sums = vec2<f32>();
    var largest = 0u;
    for (var i = lane % LANES * 4u; i < k; i += LANES * 4u) {
        let real = min(k - i, 4u);
        let v = w_load4(begin + i, real);
        let kept = select(vec4<f32>(), v, prepare_inside(i, k));
        sums += vec2<f32>(dot(kept, vec4<f32>(1.0)), dot(abs(kept), vec4<f32>(1.0)));
        largest = max(largest, code_magnitude(v, real));
    }
    sums = reduce_sum2(sums, lane);
    largest = reduce_max(largest, lane);
    let count = f32(k);
    let mean = sums.x / count;
    let magnitude = sums.y / count;
    var about = vec4<f32>();
    for (var i = lane % LANES * 4u; i < k; i += LANES * 4u) {
        let v = w_load4(begin + i, min(k - i, 4u));
        let inside = prepare_inside(i, k);
        let kept = select(vec4<f32>(), v - mean, inside);
        let size = select(vec4<f32>(), abs(v) - magnitude, inside);
        about += vec4<f32>(dot(kept, kept), dot(kept, vec4<f32>(1.0)), dot(size, vec4<f32>(1.0)), 0.0);
    }
    about = reduce_sum4(about, lane);
    if (!live || lane % LANES != 0u) { return; }
    let off = about.y / count;
    let at = prepare_params.at2 + row;
    stats[at] = mean + off;
    stats[at + prepare_params.width] = guarded_positive(about.x - off * about.y);
    stats[at + prepare_params.width * 2u] = magnitude + about.z / count;
    stats[at + prepare_params.width * 3u] = bitcast<f32>(largest);
}
