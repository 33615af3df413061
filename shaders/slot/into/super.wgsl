// Writes a weight of codes whose scales are themselves of few bits, multiplied with what 256 numbers share. Rows are whole blocks of 256: 8
// lanes have one, and each of them 32 numbers with a scale or two of their own. What the 256 share is stored beside the scales.
#import block
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [words]
#const slot_PARTS = 1u       // scales of 32 numbers
#const slot_EACH = 8u        // bits of a scale, with the least value beside it
#const slot_SUPER_BITS = 16u // of what 256 numbers share
const slot_BITS = slot_EACH * slot_PARTS; // of the scales of a lane
alias slot_Grid = array<block_Grid, slot_PARTS>;
#slot slot_nearest // what scales numbers have, and what their codes are
#slot slot_pack    // codes

fn slot_put(i: u32, word: u32) {
    slot_data[i] = word;
}

// What the super-scales follow from: the larger of each number serves both of two blocks.
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return slot_nearest_range(v);
}

// The scales of a lane's numbers, of which and of the 7 other lanes' that is the range.
fn slot_grid(range: vec2<u32>, v: array<vec4<f32>, 8>) -> slot_Grid {
    return slot_nearest_grids(slot_nearest_super(range), v);
}

fn slot_scale(grid: slot_Grid) -> vec2<u32> {
    var grids = grid;
    var bits = 0u;
    #unroll
    for (var i = 0u; i < slot_PARTS; i++) { bits |= grids[i].scale << (i * slot_EACH); }
    return vec2<u32>(bits, 0u);
}

fn slot_super(range: vec2<u32>) -> u32 {
    return slot_nearest_super(range);
}

// The codes of quad i of 32 numbers.
fn slot_codes4(v: vec4<f32>, grid: slot_Grid, i: u32) -> vec4<u32> {
    var one = grid[0];
    if (i >= 4u) { one = grid[slot_PARTS - 1u]; }
    return slot_nearest_codes4(v, one);
}

// Stores the codes of numbers 32·block … 32·block + 31 of a row of this part of the weight, four bytes to a word.
fn slot_store_codes32(at: weight_At, row: u32, block: u32, codes: array<u32, 8>) {
    slot_pack_store32(at, row, block, codes);
}

// Stores those numbers.
fn slot_store32(at: weight_At, row: u32, block: u32, v: array<vec4<f32>, 8>, grid: slot_Grid) {
    var values = v;
    var quads: array<u32, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { quads[i] = block_quad(slot_codes4(values[i], grid, i)); }
    slot_pack_store32(at, row, block, quads);
}
