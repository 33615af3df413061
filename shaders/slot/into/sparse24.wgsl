// Writes a weight of which two numbers of every four are stored: those of the largest magnitude, of equal ones the first.
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

fn slot_store32(at: weight_At, row: u32, block: u32, v: array<vec4<f32>, 8>, grid: slot_Grid) {
    var values = v;
    let of_row = row * at.blocks + block;
    var pairs: array<vec4<f32>, 4>;
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
        let pair = vec2<f32>(
            select(select(four.z, four.y, stays.y), four.x, stays.x),
            select(select(four.y, four.z, stays.z), four.w, stays.w));
        if (i % 2u == 0u) { pairs[i / 2u] = vec4<f32>(pair, 0.0, 0.0); } else { pairs[i / 2u] = vec4<f32>(pairs[i / 2u].xy, pair); }
        places |= select(0u, first | (second << 2u), block * 32u + i * 4u < at.k) << (i * 4u);
    }
    #unroll
    for (var i = 0u; i < 4u; i++) { slot_narrow_store4(at.codes, of_row * 4u + i, pairs[i]); }
    slot_put(at.high + of_row, places);
}
