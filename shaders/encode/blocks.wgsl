// encode/blocks: the numbers of a matrix, rounded to nearest, as a weight in any format that slot/into has.
//
// A lane has a block of 32 numbers; LANES of them share a scale, which follows from all their numbers: the largest magnitude, or the range.
// Of the K formats, 8 lanes share what their own scales are multiplied with. Codes and scales are those that the host makes, bit for bit.
// Good for what is encoded where it is: a merged weight, a format that is tried. Wrong where the host has the numbers anyway and time
// does not matter; for numbers that stay numbers: encode/dense; and where a scale has numbers that are no neighbours in blocks of 32 of one row:
// encode/scales, then encode/codes.
// Moves the numbers once, and twice where a scale has more than 2,048 of them, and stores the weight once. Loads go through workgroup memory
// (9.75 KiB), so that neighbouring lanes load neighbouring quads; a row of the tile is a quad longer than a block, so that 8 lanes read 32 banks.
// All 8 loads of a lane are made before the first is stored, behind no branch, or each would wait for the one before it; where rows
// are whole blocks (FLAT), lanes number the blocks and no row is divided out. An H100 had a tenth of the bandwidth of a copy before.
// A code is some hundred instructions where a quotient beside a tie is made again by integers, so the loop that makes them is not written out: numbers
// come from the tile, which has addresses, and codes go there. Written out it took 7,000 to 9,500 instructions of
// RDNA3, and 144 to 240 registers, for most formats.
// Barriers: 1 and those of one or two reductions where lanes share a scale; where there are several turns 4 more of each.
#import encode
#import keep
#import recoded
#slot into @binding(2) // [N, K]
#slot reduce

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = encode_params;
    let first = (group.x + group.y * p.fold) * encode_TEAMS;
    let count = (p.n1 - p.n0) * p.scales;
    if (first >= count) { return; }
    var v: array<vec4<f32>, 8>;
    var range = vec2<u32>();
    for (var turn = 0u; turn < p.turns; turn++) {
        encode_stage(first, lane, turn);
        v = encode_numbers32(lane);
        range = max(range, into_range(v));
        if (p.turns > 1u) { workgroupBarrier(); } // the tile is free again
    }
    range = vec2<u32>(reduce_max(range.x, lane), reduce_max(range.y, lane));
    // Where lanes have scales of their own there is one turn, so that v is all that a lane has.
    let grid = into_grid(range, v);
    keep_scales(p.w, (p.n0 - p.w.row0) * p.scales, first, count, lane, range, grid);
    for (var turn = 0u; turn < p.turns; turn++) {
        if (p.turns > 1u) { encode_stage(first, lane, turn); }
        let place = encode_place(first, lane, turn);
        if (place.live) {
            for (var i = 0u; i < 8u; i++) { recoded_put4(lane, i, into_codes4(encode_number4(lane, i), grid, i)); }
            recoded_store32(p.w, place, lane);
        }
        if (p.turns > 1u) { workgroupBarrier(); }
    }
}
