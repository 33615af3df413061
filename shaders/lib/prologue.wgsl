// What the kernels of the QKV prologue share: params, operands, and the way from a projection to queries and to the rows of a cache.
//
//   x   = projection + add                                    q, k and v
//   x   = turn(x)                                             q and k, where ROPE is 1
//   x   = (x − mean) · factor · (weight + offset) + bias      q and k, where NORM; v by its root mean square alone, where VALUE_NORM
//   x   = turn(x)                                             q and k, where ROPE is 2
//   q is stored, k and v go to the rows of their tokens
//
// A token has `heads` rows of queries, then `groups` of keys, then `groups` of values; a row is told by its number among them, from which
// kind (0, 1, 2) and head follow. Work is a run of rows of every token.
#const NORM = false       // queries and keys are normalised
#const VALUE_NORM = false // values are
#const ROPE = 0u          // 1: before the norm, 2: after it
#const INTERLEAVED = false
#const ANGLES = 0u        // a token's row in the tables: 0: by itself, 1: by its position, 2: by where it is appended
#const PACKED = false     // q, k and v of a token lie side by side in one operand
#const RAGGED = false     // sequences of unequal length stand one after the other
#const PAGED = false      // a block table tells the page of a token
#const LENGTHS = false    // where an element's tokens are appended is on the device
#import kv

struct prologue_Params {
    keys: kv_At,
    values: kv_At,
    place: kv_Place,
    fold: u32,     // the grid's x
    tokens: u32,   // all tokens
    each: u32,     // tokens of an element of the batch
    batch: u32,    // elements of the batch, or sequences
    heads: u32,    // H
    groups: u32,   // G
    d: u32,        // numbers of a query or key
    e: u32,        // numbers of a value
    first: u32,    // the first row of each token in this dispatch
    count: u32,    // how many
    q0: u32,       // where each projection begins in its binding, in elements,
    k0: u32,
    v0: u32,
    q_batch: u32,  // and how far its batch elements, tokens and heads are apart
    q_token: u32,
    q_head: u32,
    k_batch: u32,
    k_token: u32,
    k_head: u32,
    v_batch: u32,
    v_token: u32,
    v_head: u32,
    y0: u32,       // the same of the queries that are made
    y_batch: u32,
    y_token: u32,
    y_head: u32,
    half: u32,     // pairs that turn
    cos0: u32,
    sin0: u32,
    period: u32,   // tokens or rows of the tables
    start: u32,    // where tokens are appended, if the host says so
    eps: f32,
    offset: f32,   // is added to weights
    q_add: u32,    // words among the weights, 2^32 - 1 for what is absent
    k_add: u32,
    v_add: u32,
    q_weight: u32,
    k_weight: u32,
    q_bias: u32,
    k_bias: u32,
    q_weight_head: u32, // from one head's weight to the next; 0 where all have the same
    k_weight_head: u32,
    q_bias_head: u32,
    k_bias_head: u32,
    positions: u32, // words among the places
    lengths: u32,
    cu: u32,
    pad0: u32,     // nothing
}

@group(0) @binding(0) var<uniform> prologue_params: prologue_Params;
#slot q @binding(1)       // [tokens, heads, D] in any order, or all three projections
#slot k @binding(2)       // [tokens, groups, D]
#slot v @binding(3)       // [tokens, groups, E]
#slot y @binding(4)       // [tokens, heads, D] in any order
#slot keys @binding(5)    // [rows, D]
#slot values @binding(6)  // [rows, E]
#slot cosines @binding(7) // [period, half]
#slot sines @binding(8)   // [period, half]
#slot weights @binding(9) // [words]: q_add [H·D], k_add [G·D], v_add [G·E], weights and biases of norms, [D] or [heads, D]
#slot places @binding(10) // [words]: positions [tokens], lengths [batch], block tables [batch, pages], cu [batch + 1]
#slot stat

const prologue_ABSENT = 0xffffffffu;

// A row of a token: its kind (0 query, 1 key, 2 value), its head, its token by number, its batch element, its place in that.
struct prologue_Row {
    kind: u32,
    head: u32,
    token: u32,
    b: u32,
    l: u32,
    width: u32, // numbers
}

// Row `row` of a token.
fn prologue_row(token: u32, row: u32) -> prologue_Row {
    let p = prologue_params.heads;
    let kind = select(select(2u, 1u, row < p + prologue_params.groups), 0u, row < p);
    let head = select(select(row - p - prologue_params.groups, row - p, kind == 1u), row, kind == 0u);
    let width = select(prologue_params.d, prologue_params.e, kind == 2u);
    if (!RAGGED) {
        let b = token / prologue_params.each;
        return prologue_Row(kind, head, token, b, token - b * prologue_params.each, width);
    }
    // The last sequence that begins at the token or before it.
    var low = 0u;
    var high = prologue_params.batch;
    while (high - low > 1u) {
        let middle = (low + high) / 2u;
        if (places_word(prologue_params.cu + middle) <= token) { low = middle; } else { high = middle; }
    }
    return prologue_Row(kind, head, token, low, token - places_word(prologue_params.cu + low), width);
}

// How many of the four numbers from i on are in a row; 0 past it.
fn prologue_within(at: prologue_Row, i: u32) -> u32 {
    return min(at.width - min(i, at.width), 4u);
}

// Four words from here on as floats, of which the first n are real; zeros for the others.
fn prologue_floats4(word: u32, n: u32) -> vec4<f32> {
    var v = vec4<f32>();
    #unroll
    for (var j = 0u; j < 4u; j++) {
        if (j < n) { v[j] = bitcast<f32>(weights_word(word + j)); }
    }
    return v;
}

// Four numbers of a projection from i on, of which the first n are real, with what is added; zeros for the others. n may be 0.
fn prologue_x4(at: prologue_Row, i: u32, n: u32) -> vec4<f32> {
    if (n == 0u) { return vec4<f32>(); }
    var v: vec4<f32>;
    var add = prologue_params.q_add;
    // A ragged batch is one run of tokens.
    let b = select(at.b, 0u, RAGGED);
    let l = select(at.l, at.token, RAGGED);
    if (at.kind == 0u) {
        v = q_load4(prologue_params.q0 + b * prologue_params.q_batch + l * prologue_params.q_token + at.head * prologue_params.q_head + i, n);
    } else if (at.kind == 1u) {
        let k = b * prologue_params.k_batch + l * prologue_params.k_token + at.head * prologue_params.k_head + i;
        if (PACKED) { v = q_load4(prologue_params.k0 + k, n); } else { v = k_load4(prologue_params.k0 + k, n); }
        add = prologue_params.k_add;
    } else {
        let k = b * prologue_params.v_batch + l * prologue_params.v_token + at.head * prologue_params.v_head + i;
        if (PACKED) { v = q_load4(prologue_params.v0 + k, n); } else { v = v_load4(prologue_params.v0 + k, n); }
        add = prologue_params.v_add;
    }
    if (add != prologue_ABSENT) { v += prologue_floats4(add + at.head * at.width + i, n); }
    return v;
}

// Where a row's first angle is in the tables.
fn prologue_table(at: prologue_Row) -> u32 {
    var row = at.token % prologue_params.period;
    if (ANGLES == 1u) {
        row = min(u32(max(bitcast<i32>(places_word(prologue_params.positions + at.token)), 0)), prologue_params.period - 1u);
    }
    if (ANGLES == 2u) { row = min(prologue_place(at), prologue_params.period - 1u); }
    return row * prologue_params.half;
}

// Where the tokens of a row's batch element are appended.
fn prologue_start(at: prologue_Row) -> u32 {
    if (!LENGTHS) { return prologue_params.start; }
    return u32(max(bitcast<i32>(places_word(prologue_params.lengths + at.b)), 0));
}

// Which token of its batch element a row's is in the cache. Past the last number it is that, for which there is no room.
fn prologue_place(at: prologue_Row) -> u32 {
    let start = prologue_start(at);
    return start + min(at.l, prologue_ABSENT - start);
}

// The row of the cache of a key or value; absent where its token is of no sequence, or there is no room for it.
fn prologue_home(at: prologue_Row) -> u32 {
    if (RAGGED && at.token >= places_word(prologue_params.cu + prologue_params.batch)) { return prologue_ABSENT; }
    let j = prologue_place(at);
    if (j >= prologue_params.place.room) { return prologue_ABSENT; }
    var b = at.b;
    if (PAGED) {
        b = places_word(prologue_params.place.table + at.b * prologue_params.place.pages + j / prologue_params.place.page);
    }
    // What is below 0 is a large number.
    if (b >= prologue_params.place.held) { return prologue_ABSENT; }
    return kv_row(prologue_params.place, b, at.head, j);
}

// The factor of a row, from the sum of squares of its `count` numbers about their mean.
fn prologue_factor(at: prologue_Row, squares: f32, count: f32) -> f32 {
    if (at.kind == 2u) { return inverseSqrt(squares / count + prologue_params.eps); }
    return stat_factor(squares, 0.0, count, prologue_params.eps);
}

// A row of this kind is normalised.
fn prologue_norms(at: prologue_Row) -> bool {
    return select(NORM, VALUE_NORM, at.kind == 2u);
}

// The mean of a row is subtracted.
fn prologue_centers(at: prologue_Row) -> bool {
    return stat_CENTER && at.kind != 2u;
}

// Four normalised numbers from i on, of which the first n are real; zeros for the others.
fn prologue_normal4(at: prologue_Row, v: vec4<f32>, i: u32, n: u32, mean: f32, factor: f32) -> vec4<f32> {
    if (!prologue_norms(at)) { return v; }
    var h = (v - mean) * factor;
    if (at.kind != 2u) {
        let is_key = at.kind == 1u;
        let weight = select(prologue_params.q_weight, prologue_params.k_weight, is_key);
        let bias = select(prologue_params.q_bias, prologue_params.k_bias, is_key);
        if (weight != prologue_ABSENT) {
            let each = select(prologue_params.q_weight_head, prologue_params.k_weight_head, is_key);
            h *= prologue_floats4(weight + at.head * each + i, n) + prologue_params.offset;
        }
        if (bias != prologue_ABSENT) {
            let each = select(prologue_params.q_bias_head, prologue_params.k_bias_head, is_key);
            h += prologue_floats4(bias + at.head * each + i, n);
        }
    }
    return select(vec4<f32>(), h, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n));
}

// A row of this kind turns.
fn prologue_turns(at: prologue_Row) -> bool {
    return ROPE != 0u && at.kind != 2u;
}

// Number i of a row after its turn, from itself and its partner; `table` is where its row's angles begin.
fn prologue_turn1(v: f32, partner: f32, i: u32, table: u32) -> f32 {
    let half = prologue_params.half;
    let first = select(i < half, (i & 1u) == 0u, INTERLEAVED);
    let pair = table + select(select(i - half, i, first), i / 2u, INTERLEAVED);
    let turned = partner * sines_load1(prologue_params.sin0 + pair);
    return v * cosines_load1(prologue_params.cos0 + pair) + select(turned, -turned, first);
}

// Where the partner of number i stands.
fn prologue_partner(i: u32) -> u32 {
    if (INTERLEAVED) { return i ^ 1u; }
    return select(i - prologue_params.half, i + prologue_params.half, i < prologue_params.half);
}

// Stores four numbers of a row from i on, of which the first n are real. Rows of codes are stored by their blocks.
fn prologue_store4(at: prologue_Row, home: u32, i: u32, v: vec4<f32>, n: u32) {
    if (n == 0u) { return; }
    if (at.kind == 0u) {
        let b = select(at.b, 0u, RAGGED);
        let l = select(at.l, at.token, RAGGED);
        y_store4(prologue_params.y0 + b * prologue_params.y_batch + l * prologue_params.y_token + at.head * prologue_params.y_head + i, v, n);
    } else if (home == prologue_ABSENT) {
    } else if (at.kind == 1u) {
        if (!keys_CODED) { keys_store4(prologue_params.keys, home, i, v); }
    } else {
        if (!values_CODED) { values_store4(prologue_params.values, home, i, v); }
    }
}

// A row of this kind is stored as codes.
fn prologue_codes(at: prologue_Row) -> bool {
    return select(select(false, keys_CODED, at.kind == 1u), values_CODED, at.kind == 2u);
}

// Stores a block of 32 numbers of a row of codes.
fn prologue_store32(at: prologue_Row, home: u32, block: u32, v: array<vec4<f32>, 8>) {
    if (home == prologue_ABSENT) { return; }
    if (at.kind == 1u) { keys_store32(prologue_params.keys, home, block, v); }
    if (at.kind == 2u) { values_store32(prologue_params.values, home, block, v); }
}
