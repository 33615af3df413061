// encode/sparse: the numbers of a matrix as two of every four, those of the largest magnitude, and their places.
//
// A lane has a block of 32 numbers, whose places are a word.
// Good for 2:4 sparsity; wrong for all else: encode/dense, encode/blocks.
// Moves the numbers once and stores the weight once. Loads go through workgroup memory (9 KiB), so that neighbouring lanes load neighbouring quads.
// Barriers: 1.
#import encode
#slot into @binding(2) // [N, K]

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = encode_params.w;
    let place = encode_own(group, lane);
    let v = encode_numbers32(lane);
    if (place.live) { into_store32(at, place.row - at.row0, place.block, v, into_grid(vec2<u32>(), v)); }
}
