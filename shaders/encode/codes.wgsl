// encode/codes: the numbers of a matrix, rounded to nearest by scales that encode/scales, encode/mean or encode/signs found.
//
// A lane has a block of 32 numbers. Where four neighbours may have different scales (EACH), each is rounded by its own, in a loop that is not
// written out, since a rule is some hundred instructions: numbers come from workgroup memory and codes go there, which has addresses.
// Good and wrong where those are. Bit for bit what encode/blocks makes where both can.
// Moves the numbers once and stores the codes once; the scales come from cache, 16 bytes each: of groups along the outputs as many as numbers.
// Barriers: 1. Workgroup memory: 9 KiB.
#import encode
#import recoded
#slot into @binding(2) // [N, K]
#slot place // which scale a number has
#const EACH = false // neighbours may have different scales
@group(0) @binding(3) var<storage, read> grids: array<vec4<u32>>; // [scales of this dispatch]

fn grid_of(row: u32, k: u32) -> into_Grid {
    let at = encode_params.w;
    return into_from(grids[place_of(at, row, min(k, at.k - 1u)) - encode_params.runs.scale0]);
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let place = encode_own(group, lane);
    if (!place.live) { return; }
    for (var i = 0u; i < 8u; i++) {
        let v = encode_number4(lane, i);
        let k = place.block * 32u + i * 4u;
        var codes = vec4<u32>();
        if (EACH) {
            #unroll
            for (var j = 0u; j < 4u; j++) { codes[j] = into_codes4(vec4<f32>(v[j]), grid_of(place.row, k + j), i).x; }
        } else {
            codes = into_codes4(v, grid_of(place.row, k), i);
        }
        recoded_put4(lane, i, codes);
    }
    recoded_store32(encode_params.w, place, lane);
}
