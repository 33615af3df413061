// Writes a weight of numbers as they are, or of two of every four of them: those of the largest magnitude, of equal ones the first. A row is
// padded to whole quads with zeros, or to whole blocks.
#import block
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [words]
#slot slot_narrow // how the numbers are stored
#const slot_SPARSE = false // two of four
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

// Stores two of each four of a block, and their places.
fn slot_store_sparse32(at: weight_At, row: u32, block: u32, v: array<vec4<f32>, 8>) {
    var values = v;
    let of_row = row * at.blocks + block;
    var pairs: array<vec2<f32>, 8>;
    var places = 0u;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let four = values[i];
        let size = bitcast<vec4<u32>>(four) & vec4<u32>(0x7fffffffu);
        // How many go before each: larger ones, and equal ones that stand before it.
        let before = vec4<u32>(
            u32(size.y > size.x) + u32(size.z > size.x) + u32(size.w > size.x),
            u32(size.x >= size.y) + u32(size.z > size.y) + u32(size.w > size.y),
            u32(size.x >= size.z) + u32(size.y >= size.z) + u32(size.w > size.z),
            u32(size.x >= size.w) + u32(size.y >= size.w) + u32(size.z >= size.w));
        let stays = before < vec4<u32>(2u);
        let first = select(select(2u, 1u, stays.y), 0u, stays.x);
        let second = select(select(1u, 2u, stays.z), 3u, stays.w);
        pairs[i] = vec2<f32>(
            select(select(four.z, four.y, stays.y), four.x, stays.x),
            select(select(four.y, four.z, stays.z), four.w, stays.w));
        places |= select(0u, first | (second << 2u), block * 32u + i * 4u < at.k) << (i * 4u);
    }
    #unroll
    for (var i = 0u; i < 4u; i++) { slot_narrow_store4(at.codes, of_row * 4u + i, vec4<f32>(pairs[2u * i], pairs[2u * i + 1u])); }
    slot_put(at.high + of_row, places);
}

fn slot_store32(at: weight_At, row: u32, block: u32, v: array<vec4<f32>, 8>, grid: slot_Grid) {
    if (slot_SPARSE) {
        slot_store_sparse32(at, row, block, v);
        return;
    }
    var values = v;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        if (block * 8u + i < at.blocks) { slot_narrow_store4(at.codes, row * at.blocks + block * 8u + i, values[i]); }
    }
}
