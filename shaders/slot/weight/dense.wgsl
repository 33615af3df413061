// A weight of numbers as they are. A row is padded to whole quads; what is loaded past its end is another row's, and not used.
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]
#const slot_WHOLE = false // K is a multiple of 8: rows of 16 bits begin at multiples of 16 bytes
#slot slot_dense // how the numbers are stored
#slot slot_side  // what is added

fn slot_word(i: u32) -> u32 {
    return slot_data[i >> 2u][i & 3u];
}

alias slot_Raw = slot_dense_Raw;
alias slot_Open = slot_dense_Raw;

// Numbers 32·block … 32·block + 31 of row n as they lie: for who does something else while they are on their way.
fn slot_fetch32(at: weight_At, n: u32, block: u32) -> slot_Raw {
    return slot_dense_fetch32(at.codes, (n - at.row0) * at.blocks + block * 8u, slot_WHOLE);
}

// The same, ready for its quads to be made one by one.
fn slot_open32(at: weight_At, n: u32, block: u32, raw: slot_Raw) -> slot_Open {
    return raw;
}

// Quad i of the block.
fn slot_number4(at: weight_At, n: u32, block: u32, opened: slot_Open, i: u32) -> vec4<f32> {
    return slot_dense_decode4(opened, i);
}

// All of a block that was opened.
fn slot_numbers32(at: weight_At, n: u32, block: u32, opened: slot_Open) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { w[i] = slot_number4(at, n, block, opened, i); }
    return w;
}

// Numbers 32·block … 32·block + 31 of row n.
fn slot_load32(at: weight_At, n: u32, block: u32) -> array<vec4<f32>, 8> {
    return slot_numbers32(at, n, block, slot_open32(at, n, block, slot_fetch32(at, n, block)));
}

// The product of a block that was opened with as many of x.
fn slot_dot32(at: weight_At, n: u32, block: u32, opened: slot_Open, x: array<vec4<f32>, 8>) -> f32 {
    return weight_dot(slot_numbers32(at, n, block, opened), x);
}

// What all lanes do before a barrier, after which numbers may be asked for.
fn slot_begin(at: weight_At, lane: u32) {}
