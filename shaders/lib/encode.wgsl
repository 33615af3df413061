// What the kernels that write weights share: params, which lane has which block of 32 numbers, and how it gets there.
//
// LANES lanes share a scale: adjacent ones, each with a block of 32 numbers of it, and where it is of more, with one in each of several turns.
// Or they share what scales of few bits are multiplied with (into_SUPER_BITS), and each has scales of its own.
// Every code is stored by the lane of its block, whose codes are whole words; scales by lib/keep.
// A kernel that writes the weight has the slot `into`, at binding 2.
#import weight
#import block
// Which numbers a scale has, told by where they are among those of a dispatch: runs of neighbours. Scales stand in rows.
struct encode_Runs {
    scale0: u32, // the first scale of this dispatch, among those of the part
    count: u32,  // its scales
    per: u32,    // scales of a row of them
    major: u32,  // numbers from the first of a scale to the first of that in the next row
    minor: u32,  // and to that of its neighbour: the numbers of a run
    width: u32,  // numbers of a row of scales: its last may have fewer
    runs: u32,   // of a scale; the last scales may have fewer
    apart: u32,  // numbers from a run to the next
}
struct encode_Params {
    w: weight_At,
    fold: u32,   // the grid's x
    n0: u32,     // rows of this dispatch begin here
    n1: u32,     // and end before this one
    first: u32,  // the row at which the binding of x begins
    x0: u32,     // its first element there
    scales: u32, // scales of a row, or super-scales
    blocks: u32, // blocks of each; or the workgroups that share all numbers
    turns: u32,  // of the lanes that share it
    runs: encode_Runs, // where scales are found before codes
}
@group(0) @binding(0) var<uniform> encode_params: encode_Params;
#const LANES = 1u // a power of two
#const LANE_COUNT = 64u // lanes of a workgroup
const encode_TEAMS = LANE_COUNT / LANES;
#slot x @binding(1) // [N, K]
#const FLAT = false // rows are of whole blocks, and LANES lanes have all blocks of a scale in one turn
const encode_TILE_QUADS = 9u; // of a block in the tile
var<workgroup> encode_tile: array<vec4<u32>, 576>; // numbers as bits; then codes where their numbers were

// The numbers of a scale of this dispatch: where the first is, how many are neighbours, and how many such runs there are.
struct encode_Numbers {
    x0: u32,
    len: u32,
    runs: u32,
}

fn encode_numbers(scale: u32) -> encode_Numbers {
    let p = encode_params;
    let r = p.runs;
    let before = scale % r.per * r.minor;
    let at = scale / r.per * r.major + before;
    let runs = min(r.runs, ((p.n1 - p.n0) * p.w.k - at + r.apart - 1u) / r.apart);
    return encode_Numbers(p.x0 + (p.n0 - p.first) * p.w.k + at, min(r.minor, r.width - before), runs);
}

// A block, where there is one.
struct encode_Place {
    row: u32,
    block: u32,
    live: bool,
}

// Blocks of a row.
fn encode_of_row() -> u32 {
    return (encode_params.w.k + 31u) / 32u;
}

// The block of a lane in a turn, in a workgroup whose first scale is `first`.
fn encode_place(first: u32, lane: u32, turn: u32) -> encode_Place {
    let p = encode_params;
    let scale = first + lane / LANES;
    let row = p.n0 + scale / p.scales;
    let in_scale = turn * LANES + lane % LANES;
    let block = scale % p.scales * p.blocks + in_scale;
    return encode_Place(row, block, row < p.n1 && in_scale < p.blocks && block < encode_of_row());
}

// Brings the blocks of a turn into the tile; zeros where there are no numbers, which change no scale. All lanes call it.
fn encode_stage(first: u32, lane: u32, turn: u32) {
    let p = encode_params;
    let k = p.w.k;
    var quads = array<vec4<f32>, 8>();
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let at = i * LANE_COUNT + lane;
        if (FLAT) {
            let quad = min(first * LANES * 8u + at, (p.n1 - p.n0) * encode_of_row() * 8u - 1u);
            quads[i] = x_load4(p.x0 + (p.n0 - p.first) * k + quad * 4u, 4u);
        } else {
            let place = encode_place(first, at / 8u, turn);
            let col = place.block * 32u + at % 8u * 4u;
            let there = min(col, (k - 1u) / 4u * 4u);
            let v = x_load4(p.x0 + (min(place.row, p.n1 - 1u) - p.first) * k + there, min(k - there, 4u));
            quads[i] = select(vec4<f32>(), v, vec4<bool>(place.live && col < k));
        }
    }
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let at = i * LANE_COUNT + lane;
        encode_tile[at / 8u * encode_TILE_QUADS + at % 8u] = bitcast<vec4<u32>>(quads[i]);
    }
    workgroupBarrier();
}

// The block of a lane where each has one of its own, brought into the tile. All lanes call it.
fn encode_own(group: vec3<u32>, lane: u32) -> encode_Place {
    let first = (group.x + group.y * encode_params.fold) * LANE_COUNT;
    encode_stage(first, lane, 0u);
    return encode_place(first, lane, 0u);
}

// Quad i of the numbers of a lane that were brought into the tile.
fn encode_number4(lane: u32, i: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(encode_tile[lane * encode_TILE_QUADS + i]);
}

// All of them.
fn encode_numbers32(lane: u32) -> array<vec4<f32>, 8> {
    var v: array<vec4<f32>, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { v[i] = encode_number4(lane, i); }
    return v;
}
