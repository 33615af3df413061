// Writes a weight of numbers as they are. A row is padded to whole quads with zeros.
#import block
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [words]
#slot slot_narrow // how the numbers are stored
const slot_BITS = 0u;
const slot_SUPER_BITS = 0u;
alias slot_Grid = u32;

fn slot_put(i: u32, word: u32) {
    slot_data[i] = word;
}

fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>();
}

fn slot_grid(range: vec2<u32>, v: array<vec4<f32>, 8>) -> slot_Grid {
    return 0u;
}

fn slot_scale(grid: slot_Grid) -> vec2<u32> {
    return vec2<u32>();
}

fn slot_super(range: vec2<u32>) -> u32 {
    return 0u;
}

// Stores a quad, told by its number in this part of the weight.
fn slot_store_quad(at: weight_At, quad: u32, v: vec4<f32>) {
    slot_narrow_store4(at.codes, quad, v);
}

fn slot_store32(at: weight_At, row: u32, block: u32, v: array<vec4<f32>, 8>, grid: slot_Grid) {
    var values = v;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        if (block * 8u + i < at.blocks) { slot_narrow_store4(at.codes, row * at.blocks + block * 8u + i, values[i]); }
    }
}
