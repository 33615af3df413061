// A weight of sums of signed scales: bit b of a code says whether scale b is added or subtracted. Scales are shared by COLS numbers
// along K and ROWS rows. For each number BITS loads of a scale that its neighbours load too, and as many additions.
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]
#const slot_BITS = 3u
#const slot_ROWS = 1u
#const slot_COLS = 8u
#slot slot_field // codes
#slot slot_side  // what is added

fn slot_word(i: u32) -> u32 {
    return slot_data[i >> 2u][i & 3u];
}

fn slot_number(at: weight_At, n: u32, k: u32, code: u32) -> f32 {
    let first = at.scales + ((min(k, at.k - 1u) / slot_COLS) * at.scales_row + n / slot_ROWS) * slot_BITS;
    var sum = 0.0;
    for (var b = 0u; b < slot_BITS; b++) {
        let scale = bitcast<f32>(slot_word(first + b));
        let term = select(-scale, scale, ((code >> b) & 1u) == 1u);
        sum = select(sum + term, term, b == 0u);
    }
    return sum;
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
    let q = (vec4<u32>(codes[i]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
    return vec4<f32>(
        slot_number(at, n, k, q.x), slot_number(at, n, k + 1u, q.y),
        slot_number(at, n, k + 2u, q.z), slot_number(at, n, k + 3u, q.w));
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
