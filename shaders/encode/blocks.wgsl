// encode/blocks: the numbers of a matrix, rounded to nearest, as a weight in any format that slot/into has.
//
// A lane has a block of 32 numbers; LANES of them share a scale, which follows from all their numbers: the largest magnitude, or the range.
// Of the K formats, 8 lanes share what their own scales are multiplied with. Codes and scales are those that the host makes, bit for bit.
// Good for what is encoded where it is: a merged weight, a format that is tried. Wrong where the host has the numbers anyway and time
// does not matter; and for numbers that stay numbers: encode/dense.
// Moves the numbers once, and twice where a scale has more than 2,048 of them, and stores the weight once. Loads go through workgroup memory
// (9.75 KiB), so that neighbouring lanes load neighbouring quads; a row of the tile is a quad longer than a block, so that 8 lanes read 32 banks.
// All 8 loads of a lane are made before the first is stored, behind no branch, or each would wait for the one before it; where rows
// are whole blocks (FLAT), lanes number the blocks and no row is divided out. An H100 had a tenth of the bandwidth of a copy before.
// Barriers: 3 a turn, and those of one or two reductions where lanes share a scale. Registers: 32 floats a lane.
#import encode
#slot x @binding(1) // [N, K]
#slot reduce
#const FLAT = false // rows are of whole blocks, and LANES lanes have all blocks of a scale in one turn
const TILE_QUADS = 9u; // of a block in the tile
var<workgroup> tile_x: array<vec4<f32>, 576>;

// The block of every lane in a turn; zeros where there are no numbers, which change no scale. All lanes call it.
fn load32(extent: encode_Extent, first: u32, lane: u32, turn: u32) -> array<vec4<f32>, 8> {
    let p = encode_params;
    let k = p.w.k;
    var quads = array<vec4<f32>, 8>();
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let at = i * LANE_COUNT + lane;
        if (FLAT) {
            let quad = min(first * LANES * 8u + at, (p.n1 - p.n0) * extent.all * 8u - 1u);
            quads[i] = x_load4(p.x0 + (p.n0 - p.first) * k + quad * 4u, 4u);
        } else {
            let place = encode_place(extent, first, at / 8u, turn);
            let col = place.block * 32u + at % 8u * 4u;
            let there = min(col, (k - 1u) / 4u * 4u);
            let v = x_load4(p.x0 + (min(place.row, p.n1 - 1u) - p.first) * k + there, min(k - there, 4u));
            quads[i] = select(vec4<f32>(), v, vec4<bool>(place.live && col < k));
        }
    }
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let at = i * LANE_COUNT + lane;
        tile_x[at / 8u * TILE_QUADS + at % 8u] = quads[i];
    }
    workgroupBarrier();
    var v: array<vec4<f32>, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { v[i] = tile_x[lane * TILE_QUADS + i]; }
    workgroupBarrier();
    return v;
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = encode_params;
    let extent = encode_Extent(p.n0, p.n1, p.scales, p.blocks, (p.w.k + 31u) / 32u);
    let first = (group.x + group.y * p.fold) * encode_TEAMS;
    if (first >= (p.n1 - p.n0) * p.scales) { return; }
    var v: array<vec4<f32>, 8>;
    var range = vec2<u32>();
    for (var turn = 0u; turn < p.turns; turn++) {
        v = load32(extent, first, lane, turn);
        range = max(range, into_range(v));
    }
    range = vec2<u32>(reduce_max(range.x, lane), reduce_max(range.y, lane));
    // Where lanes have scales of their own there is one turn, so that v is all that a lane has.
    let grid = into_grid(range, v);
    encode_keep(p.w, extent, first, lane, range, grid);
    for (var turn = 0u; turn < p.turns; turn++) {
        if (p.turns > 1u) { v = load32(extent, first, lane, turn); }
        encode_store32(p.w, encode_place(extent, first, lane, turn), v, grid);
    }
}
