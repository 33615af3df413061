// adapter/factors: step 2 of norms: what each row or column is multiplied with, so that its norm is its magnitude.
//
//     factor[i] = magnitude[i] / sqrt(Σ_slice sums[slice,i])    and 0 where the sum is 0
//
// One lane an element, slices added in their order. Good after adapter/row_norms and adapter/col_norms. Wrong for many slices of few
// elements, which one lane adds one after the other: there are at most 16.
// Bytes: 4 for each sum, and the magnitudes and factors once.
struct factors_Params {
    fold: u32,       // the grid's x
    count: u32,      // rows or columns
    slices: u32,     // sums of each
    magnitude0: u32, // first element of the magnitudes
}
@group(0) @binding(0) var<uniform> factors_params: factors_Params;
#slot magnitude @binding(1) // [count]
@group(0) @binding(2) var<storage, read> sums: array<f32>;          // [slices, count]
@group(0) @binding(3) var<storage, read_write> factor: array<f32>; // [count]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + group.y * factors_params.fold) * 64u + lane;
    if (i >= factors_params.count) { return; }
    var sum = 0.0;
    for (var slice = 0u; slice < factors_params.slices; slice++) { sum += sums[slice * factors_params.count + i]; }
    // Nothing is divided by 0.
    let empty = sum == 0.0;
    factor[i] = select(magnitude_load1(factors_params.magnitude0 + i) / sqrt(select(sum, 1.0, empty)), 0.0, empty);
}
