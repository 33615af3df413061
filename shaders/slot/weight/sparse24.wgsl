// A weight of which two numbers of every four are stored, and their places in 2 bits each (0 the lowest bits): half of the bytes of
// dense numbers, and 2 bits for each that is stored.
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]
#slot slot_dense // how the numbers are stored
#slot slot_side  // what is added

fn slot_word(i: u32) -> u32 {
    return slot_data[i >> 2u][i & 3u];
}

struct slot_Raw {
    places: u32,
    pairs: array<vec4<f32>, 4>,
}
alias slot_Open = slot_Raw;

// Numbers 32·block … 32·block + 31 of row n as they lie: for who does something else while they are on their way.
fn slot_fetch32(at: weight_At, n: u32, block: u32) -> slot_Raw {
    let of_row = (n - at.row0) * at.blocks + block;
    var raw: slot_Raw;
    raw.places = slot_word(at.high + of_row);
    #unroll
    for (var i = 0u; i < 4u; i++) { raw.pairs[i] = slot_dense_load4(at.codes, of_row * 4u + i); }
    return raw;
}

// The same, ready for its quads to be made one by one.
fn slot_open32(at: weight_At, n: u32, block: u32, raw: slot_Raw) -> slot_Open {
    return raw;
}

// Quad i of the block.
fn slot_number4(at: weight_At, n: u32, block: u32, opened: slot_Open, i: u32) -> vec4<f32> {
    var all = opened;
    let of_two = all.pairs[i / 2u];
    let pair = select(of_two.xy, of_two.zw, (i & 1u) == 1u);
    let p = (vec2<u32>(all.places >> (4u * i)) >> vec2<u32>(0u, 2u)) & vec2<u32>(3u);
    let lanes = vec4<u32>(0u, 1u, 2u, 3u);
    // The second of two in one place is the one that counts.
    return select(select(vec4<f32>(), vec4<f32>(pair.x), lanes == vec4<u32>(p.x)), vec4<f32>(pair.y), lanes == vec4<u32>(p.y));
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
