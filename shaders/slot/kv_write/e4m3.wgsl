// Writes rows of floats of 8 bits with one scale for all: the e4m3 nearest to v / scale, as lib/block makes it.
#import block
@group(0) @binding(0) var<storage, read_write> slot_data: array<u32>; // [words]
const slot_CODED = true;

// Whole blocks are written.
fn slot_store4(at: kv_At, row: u32, i: u32, v: vec4<f32>) {
}

// Numbers 32·block … 32·block + 31 of a row; what is past the row is 0.
fn slot_store32(at: kv_At, row: u32, block: u32, v: array<vec4<f32>, 8>) {
    var numbers = v;
    #unroll
    for (var i = 0u; i < 8u; i++) { numbers[i] = numbers[i] / at.scale; }
    var codes = block_e4m3(numbers);
    let word = at.first + (row * kv_blocks(at) + block) * 8u;
    #unroll
    for (var i = 0u; i < 8u; i++) { slot_data[word + i] = codes[i]; }
}
