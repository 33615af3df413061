// norm/split_apply: the last step for long rows: normalise, scale, store. One vec4 a lane and chunk, no barriers.
//
// Good behind norm/split_merge, for rows above 8,192 numbers. Wrong below, where norm/row still has the row in registers.
// Reads x (and residual) a second time, and 16 bytes a row; writes y.
const LANES = 256u;
#const CHUNKS = 1u
const LANE_COUNT = LANES;
#import norm
#slot codes @binding(9)  // [rows]
@group(0) @binding(15) var<storage, read> merged: array<vec4<u32>>; // [rows]: mean, shift, factor; largest magnitude, as bits

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let job = group.x + group.y * norm_params.fold;
    if (job >= norm_params.rows * norm_params.slices) { return; }
    let row = job / norm_params.slices;
    norm_take(row);
    let slice = job % norm_params.slices;
    let start = (slice * (LANES * CHUNKS) + lane) * 4u;
    let merge = merged[row];
    let known = bitcast<vec4<f32>>(merge); // its last is not a number of ours
    let scale = norm_scale(merge.w);
    if (codes_ON && slice == 0u && lane == 0u) { codes_store(row, scale); }

    // Loads stand in no branch, so that none waits for the one before.
    var v: array<vec4<f32>, CHUNKS>;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = norm_inside(start + c * LANES * 4u);
        v[c] = norm_value4(row, i, norm_within(i), false);
    }
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = norm_inside(start + c * LANES * 4u);
        v[c] = norm_affine4(norm_about4(v[c], known.x, known.y) * known.z, row, i, norm_within(i));
        if (codes_ON) { v[c] = norm_codes(v[c], scale); }
    }
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        if (i < norm_params.len) { y_store4(norm_params.y0 + norm_at(row, i), v[c], norm_within(i)); }
    }
}
