// What the kernels of a linear layer share: params, operands, the ends of rows, and what is done to a sum before it is stored.
//
//     y = residual + row_scale ⊙ activation(x·wᵀ + bias) [⊙ (x·upᵀ)]
//
// Where x is int8 codes, x_scale stands before x in both products. Where adapters are applied live, x·wᵀ is
//
//     rows ⊙ ((cols ⊙ x)·wᵀ + terms·bᵀ)
//
// with the factors and b of each row's own adapter (slot/live), and terms that adapter/down has made, or lib/make makes.
#import weight
#import four
#import pool
struct linear_Params {
    w: weight_At,
    up: weight_At,
    live: pool_At,    // adapters of the weight
    up_live: pool_At, // and of the second
    fold: u32,      // the grid's x
    m: u32,         // rows of x in this dispatch
    n: u32,         // outputs of a row of y
    n0: u32,        // of which those of this dispatch begin here
    n1: u32,        // and end before this one
    k: u32,         // inputs
    slices: u32,    // of K; the sums of each are stored by themselves
    x0: u32,        // first element of x
    bias0: u32,     // of the bias
    residual0: u32, // of the residual
    row_scale0: u32, // of the scales of rows
    y0: u32,        // of y
    x_scale0: u32,  // of the scales of codes
    index0: u32,    // of the index; this and what follows: where terms are made in the dispatch itself (lib/make)
    makers: u32,    // workgroups that make them
    room: u32,      // words of a half of the tray
    entries: u32,   // adapters for which there is room
    up_entries: u32, // and of the second weight
    pad0: u32,      // nothing
    pad1: u32,      // nothing
}
#const TAIL = false  // K is not a multiple of 32
#const GATED = false // there are two matrices
@group(0) @binding(0) var<uniform> linear_params: linear_Params;
#slot x @binding(1)         // [M, K]
#slot bias @binding(2)      // [N]
#slot residual @binding(3)  // [M, N]
#slot row_scale @binding(4) // [M]
#slot y @binding(5)         // [M, N]
#slot w @binding(6)         // [N, K]
#slot up @binding(7)        // [N, K]
#slot code_scale @binding(9) // [M]
#slot live_w @binding(10)    // [adapters of w]
#slot live_up @binding(11)   // [adapters of up]
#slot terms @binding(12)     // [M, 4 + ranks], and the same for up
#slot activation

// Four inputs of row m from k on; zeros past the end.
fn linear_x4(m: u32, k: u32) -> vec4<f32> {
    let i = linear_params.x0 + m * linear_params.k + k;
    if (TAIL && k >= linear_params.k) { return vec4<f32>(); }
    var count = 4u;
    if (TAIL) { count = min(linear_params.k - k, 4u); }
    let v = x_load4(i, count);
    if (!live_w_COLS) { return v; }
    return v * live_w_cols4(linear_params.live, m, k);
}

// A word of what adapter/down has made.
fn linear_term(i: u32) -> u32 {
    return terms_word(i);
}

// Four weights from k on without what lies past the end, which may be anything.
fn linear_keep4(v: vec4<f32>, k: u32) -> vec4<f32> {
    if (!TAIL) { return v; }
    return select(vec4<f32>(), v, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(linear_params.k));
}

fn linear_input(m: u32, k: u32) -> f32 {
    let v = x_load1(linear_params.x0 + m * linear_params.k + k);
    if (!live_w_COLS) { return v; }
    return v * four_at(live_w_cols4(linear_params.live, m, k), k % 4u);
}

// What the side list of row n adds to the sum of row m.
fn linear_side(m: u32, n: u32) -> f32 {
    var sum = 0.0;
    let range = w_side_range(linear_params.w, n);
    for (var i = range.x; i < range.y; i += 2u) {
        let entry = w_side_entry(linear_params.w, i);
        sum += linear_input(m, entry.x) * bitcast<f32>(entry.y);
    }
    return sum;
}

fn linear_up_side(m: u32, n: u32) -> f32 {
    var sum = 0.0;
    let range = up_side_range(linear_params.up, n);
    for (var i = range.x; i < range.y; i += 2u) {
        let entry = up_side_entry(linear_params.up, i);
        sum += linear_input(m, entry.x) * bitcast<f32>(entry.y);
    }
    return sum;
}

// Rows n … n + 3 as far as there are such, else the last.
fn linear_rows(n: u32) -> vec4<u32> {
    return min(vec4<u32>(n, n + 1u, n + 2u, n + 3u), vec4<u32>(linear_params.n1 - 1u));
}

// What the adapter of row m adds to the sums of outputs n … n + 3: all its ranks.
fn linear_live4(m: u32, n: u32) -> vec4<f32> {
    if (!live_w_ON || m >= linear_params.m || n >= linear_params.n1) { return vec4<f32>(); }
    return live_w_sum4(linear_params.live, m, n, 0u, 1u);
}

fn linear_up_live4(m: u32, n: u32) -> vec4<f32> {
    if (!live_up_ON || m >= linear_params.m || n >= linear_params.n1) { return vec4<f32>(); }
    return live_up_sum4(linear_params.up_live, m, n, 0u, 1u);
}

// Finishes and stores outputs n … n + 3 of row m, of which there may be fewer. What live adapters add is in the sums.
fn linear_store4(m: u32, n: u32, sums: vec4<f32>, up_sums: vec4<f32>) {
    if (m >= linear_params.m || n >= linear_params.n1) { return; }
    let count = min(linear_params.n1 - n, 4u);
    let rows = linear_rows(n);
    let x_scale = code_scale_load1(linear_params.x_scale0 + m);
    var whole = x_scale * (sums + vec4<f32>(linear_side(m, rows.x), linear_side(m, rows.y), linear_side(m, rows.z), linear_side(m, rows.w)));
    if (live_w_ROWS) { whole *= live_w_rows4(linear_params.live, m, n); }
    var v = activation_of(whole + bias_load4(linear_params.bias0 + n, count));
    if (GATED) {
        var up = x_scale * (up_sums + vec4<f32>(linear_up_side(m, rows.x), linear_up_side(m, rows.y), linear_up_side(m, rows.z), linear_up_side(m, rows.w)));
        if (live_up_ROWS) { up *= live_up_rows4(linear_params.up_live, m, n); }
        v *= up;
    }
    let i = m * linear_params.n + n;
    v = v * row_scale_load1(linear_params.row_scale0 + m) + residual_load4(linear_params.residual0 + i, count);
    y_store4(linear_params.y0 + i, v, count);
}
