// encode/sparse: the numbers of a matrix as two of every four, those of the largest magnitude, and their places.
//
// A lane has a block of 32 numbers, whose places are a word.
// Good for 2:4 sparsity; wrong for all else: encode/dense, encode/blocks.
// Moves the numbers once and stores the weight once. Loads go through workgroup memory (9 KiB), so that neighbouring lanes load neighbouring quads.
// Barriers: 1.
#import encode

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = encode_params;
    let extent = encode_Extent(p.n0, p.n1, p.scales, p.blocks, p.scales);
    let first = (group.x + group.y * p.fold) * LANE_COUNT;
    if (first >= (p.n1 - p.n0) * p.scales) { return; }
    encode_stage(extent, first, lane, 0u);
    let place = encode_place(extent, first, lane, 0u);
    let v = encode_numbers32(lane);
    if (place.live) { into_store32(p.w, place.row - p.w.row0, place.block, v, into_grid(vec2<u32>(), v)); }
}
