// norm/split_max: for long rows that become codes: the largest magnitude of each row's output, before the codes are written.
//
// Each workgroup takes a slice; slices of a row meet in one atomicMax, on bits that order like the magnitudes.
// Good only where codes are wanted. Wrong below 8,192 numbers, where norm/row still has the row in registers.
// Reads x once more and writes 4 bytes a row; one reduction.
const LANES = 256u;
#const CHUNKS = 1u
#const SUBGROUP = 4u
const LANE_COUNT = LANES;
#import norm
#slot reduce
@group(0) @binding(15) var<storage, read_write> merged: array<atomic<u32>>; // [rows, 4]: mean, shift, factor; largest magnitude, as bits

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let job = group.x + group.y * norm_params.fold;
    if (job >= norm_params.rows * norm_params.slices) { return; }
    let row = job / norm_params.slices;
    norm_take(row);
    let start = (job % norm_params.slices * (LANES * CHUNKS) + lane) * 4u;
    let mean = bitcast<f32>(atomicLoad(&merged[row * 4u]));
    let shift = bitcast<f32>(atomicLoad(&merged[row * 4u + 1u]));
    let factor = bitcast<f32>(atomicLoad(&merged[row * 4u + 2u]));

    var magnitude = 0u;
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        if (i < norm_params.len) {
            let n = norm_within(i);
            let v = norm_value4(row, i, n, false);
            magnitude = max(magnitude, code_magnitude(norm_affine4(norm_about4(v, mean, shift) * factor, row, i, n), n));
        }
    }
    magnitude = reduce_max(magnitude, lane);
    if (lane == 0u) { atomicMax(&merged[row * 4u + 3u], magnitude); }
}
