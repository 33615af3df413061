// Writes a weight of sums of signed scales (slot/weight/signs reads it): bit b of a code is whether scale b is added. Codes are greedy, by scales
// that encode/signs found and stored: the sign of what is left, from which the scale is taken, in whole steps of the numbers that share it.
#import block
#import mean
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [words]
#slot slot_pack // codes
#const slot_PLANES = 3u // scales of a number

// The step of the numbers that share scales, and the word of the first scale.
struct slot_Grid {
    unit: i32,
    first: u32,
}

fn slot_put(i: u32, word: u32) {
    slot_data[i] = word;
}

fn slot_found(unit: i32, first: u32) -> slot_Grid {
    return slot_Grid(unit, first);
}

fn slot_words(grid: slot_Grid) -> vec4<u32> {
    return vec4<u32>(bitcast<u32>(grid.unit), grid.first, 0u, 0u);
}

fn slot_from(words: vec4<u32>) -> slot_Grid {
    return slot_Grid(bitcast<i32>(words.x), words.y);
}

// The codes of a quad.
fn slot_codes4(v: vec4<f32>, grid: slot_Grid, i: u32) -> vec4<u32> {
    var left = bitcast<vec4<i32>>(mean_whole4(bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu), grid.unit));
    left = select(left, vec4<i32>() - left, bitcast<vec4<i32>>(v) < vec4<i32>());
    var codes = vec4<u32>();
    for (var b = 0u; b < slot_PLANES; b++) {
        let steps = bitcast<vec4<i32>>(mean_whole4(vec4<u32>(slot_data[grid.first + b]), grid.unit));
        let plus = left >= vec4<i32>();
        codes |= vec4<u32>(plus) << vec4<u32>(b);
        left -= select(vec4<i32>() - steps, steps, plus);
    }
    return codes;
}

// Stores the codes of numbers 32·block … 32·block + 31 of a row of this part of the weight, four bytes to a word.
fn slot_store_codes32(at: weight_At, row: u32, block: u32, codes: array<u32, 8>) {
    slot_pack_store32(at, row, block, block_there(codes, block, at.k));
}
