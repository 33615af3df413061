// prepare/factors: two numbers for each row or column by a rule, from statistics and vectors: a factor, and what is beside it.
//
// Good for a few thousand numbers, so that statistics need not come back to the host. Wrong for matrices: prepare/rescale has those.
// Costs one lane and some reads of 4 bytes a number; no barriers.
#import factors
#slot factor
#slot scale @binding(5) // [count]
#slot shift @binding(6) // [count]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + group.y * prepare_params.fold) * 64u + lane;
    if (i >= prepare_params.n) { return; }
    let made = factor_of(i);
    scale_store1(prepare_params.at5 + i, made.x);
    shift_store1(prepare_params.at6 + i, made.y);
}
