// Writes rows of numbers as they are.
#slot slot_write // how they are stored
const slot_CODED = false;

// Numbers i … i + 3 of a row, i a multiple of 4; what is past the row is left out.
fn slot_store4(at: kv_At, row: u32, i: u32, v: vec4<f32>) {
    if (i < at.width) { slot_write_store4(at.first + row * at.width + i, v, min(at.width - i, 4u)); }
}

// Numbers 32·block … 32·block + 31 of a row.
fn slot_store32(at: kv_At, row: u32, block: u32, v: array<vec4<f32>, 8>) {
    var numbers = v;
    #unroll
    for (var i = 0u; i < 8u; i++) { slot_store4(at, row, block * 32u + i * 4u, numbers[i]); }
}
