// A weight of codes each of which looks up a scale of its own: groups along N, lists of groups, groups of odd sizes. Every number
// costs a load of a scale, which neighbouring lanes or rows mostly find in a cache. Wrong where neighbours share scales.
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]
#const slot_ZERO = 0u // what is taken off whole codes, where no zero is stored
#slot slot_field      // codes
#slot slot_level      // what a code stands for
#slot slot_scale      // how scales are stored
#slot slot_place      // which scale a number has
#slot slot_rule       // how they make a number
#slot slot_side       // what is added

fn slot_word(i: u32) -> u32 {
    return slot_data[i >> 2u][i & 3u];
}

fn slot_scale_at(at: weight_At, n: u32, k: u32) -> vec2<f32> {
    let i = slot_place_of(at, n, min(k, at.k - 1u));
    return slot_scale_of(at, i, slot_scale_fetch(at, i));
}

alias slot_Raw = slot_field_Raw;
alias slot_Open = array<u32, 8>;

// Codes 32·block … 32·block + 31 of row n as they lie: for who does something else while they are on their way.
fn slot_fetch32(at: weight_At, n: u32, block: u32) -> slot_Raw {
    return slot_field_fetch32(at, n - at.row0, block);
}

// The same, ready for quads to be made of them one by one.
fn slot_open32(at: weight_At, n: u32, block: u32, raw: slot_Raw) -> slot_Open {
    return slot_field_codes(raw);
}

// Quad i of the block.
fn slot_number4(at: weight_At, n: u32, block: u32, opened: slot_Open, i: u32) -> vec4<f32> {
    var codes = opened;
    let k = block * 32u + i * 4u;
    let a = slot_scale_at(at, n, k);
    let b = slot_scale_at(at, n, k + 1u);
    let c = slot_scale_at(at, n, k + 2u);
    let d = slot_scale_at(at, n, k + 3u);
    return slot_rule_make(at, slot_level_UNIT * slot_level_of(at, n, codes[i]), vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y));
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
fn slot_begin(at: weight_At, lane: u32) { slot_level_begin(at, lane); }
