// Writes a weight of codes. The zeros past the end of a row become codes of 0.
#import block
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [words]
#slot slot_nearest // what scale numbers have, and what their codes are
#slot slot_pack    // codes
#slot slot_keep    // how scales are stored
#const slot_PARTS = 1u // scales of 32 numbers
const slot_BITS = slot_keep_BITS * slot_PARTS; // of the scales of a run of numbers that is coded together
const slot_SUPER_BITS = 0u;
alias slot_Grid = array<block_Grid, slot_PARTS>;

fn slot_put(i: u32, word: u32) {
    slot_data[i] = word;
}

// What a scale follows from: the larger of each number serves both of two blocks. Where halves have scales of their own, a number for each.
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return slot_nearest_range(v);
}

fn slot_grid(range: vec2<u32>, v: array<vec4<f32>, 8>) -> slot_Grid {
    var ranges = range;
    var grid: slot_Grid;
    if (slot_PARTS == 1u) {
        grid[0] = slot_nearest_grid(range);
        return grid;
    }
    #unroll
    for (var i = 0u; i < slot_PARTS; i++) { grid[i] = slot_nearest_grid(vec2<u32>(ranges[i], 0u)); }
    return grid;
}

fn slot_scale(grid: slot_Grid) -> vec2<u32> {
    var grids = grid;
    var bits = slot_keep_bits(grids[0]);
    #unroll
    for (var i = 1u; i < slot_PARTS; i++) { bits.x |= slot_keep_bits(grids[i]).x << (i * slot_keep_BITS % 32u); }
    return bits;
}

fn slot_super(range: vec2<u32>) -> u32 {
    return 0u;
}

// All that makes codes, for who finds scales in one dispatch and codes in the next.
fn slot_words(grid: slot_Grid) -> vec4<u32> {
    let all = grid[0];
    return vec4<u32>(all.scale, all.beside, bitcast<u32>(all.factor.by), bitcast<u32>(all.factor.times));
}

fn slot_from(words: vec4<u32>) -> slot_Grid {
    var grid = slot_Grid();
    grid[0] = block_Grid(words.x, words.y, block_Factor(bitcast<i32>(words.z), bitcast<f32>(words.w)));
    return grid;
}

// The codes of quad i of 32 numbers.
fn slot_codes4(v: vec4<f32>, grid: slot_Grid, i: u32) -> vec4<u32> {
    var one = grid[0];
    if (i >= 4u) { one = grid[slot_PARTS - 1u]; }
    return slot_nearest_codes4(v, one);
}

// Stores the codes of numbers 32·block … 32·block + 31 of a row of this part of the weight, four bytes to a word.
fn slot_store_codes32(at: weight_At, row: u32, block: u32, codes: array<u32, 8>) {
    slot_pack_store32(at, row, block, block_there(codes, block, at.k));
}

// Stores those numbers.
fn slot_store32(at: weight_At, row: u32, block: u32, v: array<vec4<f32>, 8>, grid: slot_Grid) {
    var values = v;
    var quads: array<u32, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { quads[i] = block_quad(slot_codes4(values[i], grid, i)); }
    slot_store_codes32(at, row, block, quads);
}
