// What a row or column is multiplied with, so that its norm is its magnitude: the last step of norms.
//
//     factor[i] = magnitude[i] / sqrt(Σ_slice sums[slice,i])    and 0 where the sum is 0
//
// Slices are added in their order, one after the other: there are at most 16.
#import sums
#slot slot_magnitude @binding(0) // [count]
@group(0) @binding(1) var<storage, read> slot_sums: array<f32>; // [slices, count]

fn slot_factor(at: sums_At, i: u32) -> f32 {
    var sum = 0.0;
    for (var slice = 0u; slice < at.slices; slice++) { sum += slot_sums[slice * at.count + i]; }
    // Nothing is divided by 0.
    let empty = sum == 0.0;
    return select(slot_magnitude_load1(at.magnitude0 + i) / sqrt(select(sum, 1.0, empty)), 0.0, empty);
}
