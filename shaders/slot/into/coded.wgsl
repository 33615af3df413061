// Writes a weight of codes. The zeros past the end of a row become codes of 0.
#import block
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [words]
#slot slot_nearest // what scale numbers have, and what their codes are
#slot slot_pack    // codes
#slot slot_keep    // how scales are stored
const slot_BITS = slot_keep_BITS;

fn slot_put(i: u32, word: u32) {
    slot_data[i] = word;
}

// What a scale follows from: the larger of each part serves both of two blocks.
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return slot_nearest_range(v);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    return slot_nearest_grid(range);
}

fn slot_scale(grid: block_Grid) -> vec2<u32> {
    return slot_keep_bits(grid);
}

// Stores numbers 32·block … 32·block + 31 of a row of this part of the weight.
fn slot_store32(at: weight_At, row: u32, block: u32, v: array<vec4<f32>, 8>, grid: block_Grid) {
    var values = v;
    var quads: array<u32, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let k = block * 32u + i * 4u;
        let there = min(max(at.k, k) - k, 4u);
        let inside = select((1u << (there * 8u % 32u)) - 1u, 0xffffffffu, there == 4u);
        quads[i] = block_quad(slot_nearest_codes4(values[i], grid)) & inside;
    }
    slot_pack_store32(at, row, block, quads);
}
