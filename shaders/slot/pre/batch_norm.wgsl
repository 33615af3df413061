// Batch norm with stored statistics, before the norm itself: (v − mean) / sqrt(variance + eps) · weight + bias, by channel.
@group(0) @binding(0) var<storage, read> slot_mean: array<f32>;     // [C]
@group(0) @binding(1) var<storage, read> slot_variance: array<f32>; // [C]
@group(0) @binding(2) var<storage, read> slot_weight: array<f32>;   // [C]
@group(0) @binding(3) var<storage, read> slot_bias: array<f32>;     // [C]

fn slot_apply1(v: f32, c: u32) -> f32 {
    let at = norm_params.pre0 + vec4<u32>(c);
    let factor = inverseSqrt(slot_variance[at.y] + norm_params.pre_eps) * slot_weight[at.z];
    return (v - slot_mean[at.x]) * factor + slot_bias[at.w];
}

fn slot_apply(v: vec4<f32>, row: u32, i: u32) -> vec4<f32> {
    return vec4<f32>(
        slot_apply1(v.x, norm_pre_channel(row, i)), slot_apply1(v.y, norm_pre_channel(row, i + 1u)),
        slot_apply1(v.z, norm_pre_channel(row, i + 2u)), slot_apply1(v.w, norm_pre_channel(row, i + 3u)));
}
