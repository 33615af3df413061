// norm/elementwise: norms whose statistics are stored with the model: y = (x − mean) / sqrt(variance + eps) · weight + bias.
//
// Serves batch norm and unified norm at inference, and SimbaV2's scaler (max(0, x·weight) + floor). One vec4 a lane.
// Good only where it cannot be folded into the matmul beside it, which is better still: it then costs nothing. Wrong for
// norms that take statistics of the row itself.
// Reads x and writes y once; parameters are small and stay in cache. No barriers.
#import norm
#import guarded
#slot mean @binding(14)  // [len] or [channels]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let quads = (norm_params.len + 3u) / 4u;
    let job = (group.x + group.y * norm_params.fold) * 256u + lane;
    if (job >= norm_params.rows * quads) { return; }
    let row = job / quads;
    let i = job % quads * 4u;
    let n = norm_within(i);

    var mean: vec4<f32>;
    if (CHANNELS) {
        let c = norm_params.mean0 + norm_channel4(row, i);
        mean = vec4<f32>(mean_load1(c.x), mean_load1(c.y), mean_load1(c.z), mean_load1(c.w));
    } else {
        mean = mean_load4(norm_params.mean0 + i, n);
    }
    var v = norm_affine4(norm_value4(row, i, n, true) - mean, row, i, n);
    if (norm_params.relu != 0u) { v = guarded_positive4(v); }
    y_store4(norm_params.y0 + norm_at(row, i), v + norm_params.floor, n);
}
