// linear/merge: adds the sums of the slices of K, in their order, and finishes the outputs. One lane for four of them.
// Good where the outputs of linear/gemv alone would leave a device idle; wrong where they fill it.
// Costs a second dispatch and slices·M·N·8 bytes, twice that where there are two matrices.
#import linear
@group(0) @binding(8) var<storage, read> parts: array<vec4<f32>>; // [slices, matrices, M, ⌈outputs / 4⌉]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * linear_params.fold) * 64u + lane;
    let quads = (linear_params.n1 - linear_params.n0 + 3u) / 4u;
    let all = linear_params.m * quads;
    if (id >= all) { return; }
    let matrices = select(1u, 2u, GATED);
    var sum = vec4<f32>();
    var up_sum = vec4<f32>();
    for (var slice = 0u; slice < linear_params.slices; slice++) {
        sum += parts[slice * matrices * all + id];
        if (GATED) { up_sum += parts[(slice * 2u + 1u) * all + id]; }
    }
    let m = id / quads;
    let n = linear_params.n0 + id % quads * 4u;
    linear_store4(m, n, sum + linear_live4(m, n), up_sum + linear_up_live4(m, n));
}
