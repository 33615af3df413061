// adapter/factors: the last step of norms: what each row or column is multiplied with, so that its norm is its magnitude (slot/normed).
//
// One lane an element. Good after adapter/row_norms and adapter/col_norms. Wrong for the last factors of an adapter that is attached, for which
// no other kernel waits: adapter/attach makes them itself, and spares a dispatch.
// Bytes: 4 for each sum, and the magnitudes and factors once.
#import sums
struct factors_Params {
    fold: u32, // the grid's x
    pad0: u32, // nothing
    pad1: u32, // nothing
    pad2: u32, // nothing
    at: sums_At,
}
@group(0) @binding(0) var<uniform> factors_params: factors_Params;
#slot normed @binding(1) // [count] and [slices, count]
@group(0) @binding(3) var<storage, read_write> factor: array<f32>; // [count]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + group.y * factors_params.fold) * 64u + lane;
    if (i < factors_params.at.count) { factor[i] = normed_factor(factors_params.at, i); }
}
