// What the kernels that write weights share: params, which lane has which block of 32 numbers, and where scales go.
//
// LANES lanes share a scale: adjacent ones, each with a block of 32 numbers of it, and where it is of more, with one in each of several turns.
// Or they share what scales of few bits are multiplied with (into_SUPER_BITS), and each has scales of its own.
// Every code is stored by the lane of its block, whose codes are whole words. Scales of 8 and 16 bits are put together in workgroup
// memory, so that every word is stored by one lane.
// The kernel has the slot `into`, which is the weight.
#import weight
#import block
struct encode_Params {
    w: weight_At,
    fold: u32,   // the grid's x
    n0: u32,     // rows of this dispatch begin here
    n1: u32,     // and end before this one
    first: u32,  // the row at which the binding of x begins
    x0: u32,     // its first element there
    scales: u32, // scales of a row, or super-scales
    blocks: u32, // blocks of each
    turns: u32,  // of the lanes that share it
}
@group(0) @binding(0) var<uniform> encode_params: encode_Params;
#const LANES = 1u // a power of two
#const LANE_COUNT = 64u // lanes of a workgroup
const encode_TEAMS = LANE_COUNT / LANES;
#slot into @binding(2) // [N, K]
const encode_ALIKE = select(LANES, 1u, into_SUPER_BITS > 0u); // lanes whose scales are the same
var<workgroup> encode_tile_scales: array<vec2<u32>, LANE_COUNT / encode_ALIKE>;
var<workgroup> encode_tile_supers: array<u32, encode_TEAMS>;

// The blocks of a dispatch.
struct encode_Extent {
    n0: u32,     // the first row
    n1: u32,     // the one after the last
    scales: u32, // scales of a row, or super-scales
    blocks: u32, // blocks of each
    all: u32,    // blocks of a row
}

// A block, where there is one.
struct encode_Place {
    row: u32,
    block: u32,
    live: bool,
}

// The block of a lane in a turn, in a workgroup whose first scale is `first`.
fn encode_place(extent: encode_Extent, first: u32, lane: u32, turn: u32) -> encode_Place {
    let scale = first + lane / LANES;
    let row = extent.n0 + scale / extent.scales;
    let in_scale = turn * LANES + lane % LANES;
    let block = scale % extent.scales * extent.blocks + in_scale;
    return encode_Place(row, block, row < extent.n1 && in_scale < extent.blocks && block < extent.all);
}

// Stores the codes of a block.
fn encode_store32(at: weight_At, place: encode_Place, v: array<vec4<f32>, 8>, grid: into_Grid) {
    if (place.live) { into_store32(at, place.row - at.row0, place.block, v, grid); }
}

// Stores the scales of a workgroup, and its super-scales. All lanes call it; those that share a scale have the same. The words of a workgroup
// are its own: rows of a dispatch begin at a multiple of 16.
fn encode_keep(at: weight_At, extent: encode_Extent, first: u32, lane: u32, range: vec2<u32>, grid: into_Grid) {
    if (into_BITS == 0u) { return; }
    const PER = LANES / encode_ALIKE; // scales of a team
    let count = (extent.n1 - extent.n0) * extent.scales * PER;
    if (lane % encode_ALIKE == 0u) {
        let there = first * PER + lane / encode_ALIKE < count;
        encode_tile_scales[lane / encode_ALIKE] = select(vec2<u32>(), into_scale(grid), there);
    }
    if (into_SUPER_BITS > 0u && lane % LANES == 0u) {
        encode_tile_supers[lane / LANES] = select(0u, into_super(range), first + lane / LANES < count / PER);
    }
    workgroupBarrier();
    let each = max(32u / max(into_BITS, 1u), 1u); // scales to a word
    let words = max(into_BITS / 32u, 1u);         // words to a scale
    let before = (extent.n0 - at.row0) * extent.scales + first;
    for (var i = lane; i < encode_TEAMS * PER * words / each; i += LANE_COUNT) {
        var word = encode_tile_scales[i * each / words][i % words];
        for (var s = 1u; s < each; s++) { word |= encode_tile_scales[i * each + s].x << (s * into_BITS % 32u); }
        if (first * PER + i * each / words < count) { into_put(at.scales + before * PER * words / each + i, word); }
    }
    if (into_SUPER_BITS == 0u) { return; }
    const OVER = 32u / max(into_SUPER_BITS, 1u); // super-scales to a word
    if (lane < encode_TEAMS / OVER && (first + lane * OVER) * PER < count) {
        var word = encode_tile_supers[lane * OVER];
        if (OVER == 2u) { word |= encode_tile_supers[lane * OVER + 1u] << 16u; }
        into_put(at.supers + before / OVER + lane, word);
    }
}
