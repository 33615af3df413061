// norm/split_merge: step 2 for long rows: one workgroup a row puts its slices together.
//
// With a mean: mean = Σ n_s·m_s / n and squares = Σ (q_s + n_s·(m_s − mean)²) (Chan, Golub, LeVeque 1979), relative to the first
// slice's mean, so that a row far from zero keeps its digits. Without: plain sums.
// Good for the results of split_stats. Wrong for more than some thousand slices a row, which one workgroup walks alone.
// Reads 16 bytes a slice, writes 16 bytes a row; one reduction, two with a mean: all latency, a few microseconds.
const LANES = 256u;
#const SUBGROUP = 4u
#const SLICE = 1024u // numbers in a slice
const LANE_COUNT = LANES;
#import norm
#slot stat
#slot reduce
#slot stats @binding(8)  // [rows, 2]
@group(0) @binding(14) var<storage, read> slices: array<vec4<f32>>;          // [rows, slices]: mean, its rest or the sum, squares
@group(0) @binding(15) var<storage, read_write> merged: array<vec4<u32>>;    // [rows]: mean, shift, factor; largest magnitude, as bits

// How many numbers of a slice count.
fn count_of(slice: u32) -> f32 {
    let first = slice * SLICE;
    return f32(clamp(norm_params.stat_len, first, first + SLICE) - first);
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * norm_params.fold;
    if (row >= norm_params.rows) { return; }
    let first = row * norm_params.slices;

    var mean = 0.0;
    var shift = 0.0;
    var sums = vec2<f32>();
    if (stat_CENTER) {
        mean = slices[first].x;
        for (var s = lane; s < norm_params.slices; s += LANES) {
            sums.x += count_of(s) * (norm_apart4(vec4<f32>(slices[first + s].x - mean)).x + slices[first + s].y);
        }
        shift = reduce_sum2(sums, lane).x / norm_params.count;
        sums.x = 0.0;
        for (var s = lane; s < norm_params.slices; s += LANES) {
            let off = norm_apart4(vec4<f32>(slices[first + s].x - mean)).x + (slices[first + s].y - shift);
            sums.y += slices[first + s].z + count_of(s) * (off * off);
        }
    } else {
        for (var s = lane; s < norm_params.slices; s += LANES) { sums += slices[first + s].yz; }
    }
    sums = reduce_sum2(sums, lane);
    let factor = stat_factor(sums.y, sums.x, norm_params.count, norm_params.eps);
    if (lane == 0u) {
        merged[row] = vec4<u32>(bitcast<vec3<u32>>(vec3<f32>(mean, shift, factor)), 0u);
        stats_store(row, mean + shift, factor);
    }
}
