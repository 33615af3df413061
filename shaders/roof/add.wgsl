// roof/add: sum = x + residual, rounded to the storage of the sum: the dispatch that a fused norm saves.
//
// One vec4 a lane. Good for nothing but the comparison of fused with separate dispatches. Wrong in a model: the norms add
// their residual themselves. Reads two operands and writes one, no barriers.
#import roof
#slot x @binding(1)         // [4 · count]
#slot residual @binding(2)  // [4 · count]
#slot sum @binding(3)       // [4 · count]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = roof_group(group) * 256u + lane;
    if (i >= roof_params.count) { return; }
    sum_store4(i * 4u, x_load4(i * 4u, 4u) + residual_load4(i * 4u, 4u), 4u);
}
