// encode/dense: the numbers of a matrix as a weight of numbers, rounded to nearest as it stores them.
//
// A lane has four quads, a workgroup's neighbours between them, so that loads and stores of neighbouring lanes are of one piece.
// Good for numbers that stay numbers. Wrong for codes, of which 32 have one lane: encode/blocks, which did this too, and had each lane
// store a word 64 or 128 bytes from its neighbour's: an H100 took ten times the time of a copy.
// Moves numbers and weight once. No barriers, no workgroup memory.
#import encode
#slot into @binding(2) // [N, K]
const QUADS = 4u; // of a lane

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = encode_params;
    let of_row = p.w.blocks;
    let count = (p.n1 - p.n0) * of_row;
    let first = (group.x + group.y * p.fold) * LANE_COUNT * QUADS + lane;
    if (first >= count) { return; }
    var v = array<vec4<f32>, QUADS>();
    #unroll
    for (var i = 0u; i < QUADS; i++) {
        let at = min(first + i * LANE_COUNT, count - 1u);
        let k = at % of_row * 4u;
        v[i] = x_load4(p.x0 + (p.n0 - p.first + at / of_row) * p.w.k + k, min(p.w.k - k, 4u));
    }
    #unroll
    for (var i = 0u; i < QUADS; i++) {
        let at = first + i * LANE_COUNT;
        if (at < count) { into_store_quad(p.w, (p.n0 - p.w.row0) * of_row + at, v[i]); }
    }
}
