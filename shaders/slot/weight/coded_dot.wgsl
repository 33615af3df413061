// A weight of whole codes of up to 8 bits for products with int8 codes, four at a time (dot4I8Packed). Codes of 8 bits are turned into signed
// ones for the product (FLIP), which the sum takes back. A run's integer is below 2^21, which f32 holds: nothing is lost before the scale.
#import whole
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]
#const slot_RUN = 32u
#const slot_ZERO = 0u // the zero, where none is stored
#const slot_FLIP = 0u // 0x80808080 for codes of 8 bits
#slot slot_field      // codes
#slot slot_scale      // how scales are stored
#slot slot_place      // which scale a number has
#slot slot_rule       // how they make a number
#slot slot_side       // what is added

fn slot_word(i: u32) -> u32 {
    return slot_data[i >> 2u][i & 3u];
}

// Codes 32·block … 32·block + 31 of row n, four to a word.
fn slot_codes32(at: weight_At, n: u32, block: u32) -> array<u32, 8> {
    var codes = slot_field_codes(slot_field_fetch32(at, n - at.row0, block));
    if (slot_FLIP != 0u) {
        #unroll
        for (var i = 0u; i < 8u; i++) { codes[i] ^= slot_FLIP; }
    }
    return codes;
}

// The scale of a run of a block, and the zero or bias.
fn slot_run_scale(at: weight_At, n: u32, block: u32, run: u32) -> vec2<f32> {
    let i = slot_place_of(at, n, block * 32u + run * slot_RUN);
    return slot_scale_of(at, i, slot_scale_fetch(at, i));
}

// The product of codes, less the zero where none is stored, with those of x: `dot` is that of the codes as they are multiplied, `ones` the sum of
// those of x.
fn slot_whole(dot: i32, ones: i32) -> i32 {
    return dot + (select(0, 128, slot_FLIP != 0u) - i32(slot_ZERO)) * ones;
}

// What a run adds to a sum: `dot` is the product of its codes with those of x, `ones` the sum of those of x.
fn slot_run_sum(dot: i32, ones: i32, scale: vec2<f32>) -> f32 {
    return slot_rule_dot(whole_signed2(vec2<i32>(slot_whole(dot, ones), ones)), scale.x, scale.y);
}

// The scale of a row that has one.
fn slot_row_scale(at: weight_At, n: u32) -> f32 {
    let i = slot_place_of(at, n, 0u);
    return slot_scale_of(at, i, slot_scale_fetch(at, i)).x;
}
