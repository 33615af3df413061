// Writes rows of codes of 4 bits about 8, 32 to a scale, as lib/block makes them. Two blocks share a word of scales and may be written
// at the same time: each clears and sets its half, atomically. A number that is not finite spoils its block and no other.
#import block
@group(0) @binding(0) var<storage, read_write> slot_data: array<atomic<u32>>; // [words]
const slot_CODED = true;

// Codes are made of whole blocks.
fn slot_store4(at: kv_At, row: u32, i: u32, v: vec4<f32>) {
}

// Numbers 32·block … 32·block + 31 of a row; what is past the row is 0.
fn slot_store32(at: kv_At, row: u32, block: u32, v: array<vec4<f32>, 8>) {
    var nibbles = block_q4_0(v);
    let word = at.first + (row * kv_blocks(at) + block) * 4u;
    #unroll
    for (var i = 0u; i < 4u; i++) { atomicStore(&slot_data[word + i], nibbles.codes[i]); }
    let shift = (block & 1u) * 16u;
    let scale = kv_scale(at, row, block);
    atomicAnd(&slot_data[scale], ~(0xffffu << shift));
    atomicOr(&slot_data[scale], nibbles.scale << shift);
}
