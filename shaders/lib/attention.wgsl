// What the kernels of attention share: params, where a query and its keys are, which keys it sees, and what is done to a logit.
//
//     y = softmax(softcap(scale·q·kᵀ) − alibi·|p − t| + mask)·v
//
// A row is a query of one head. Its position is p; a key's position is its token t. Every feature is a constant, so that what is
// not asked for costs nothing. A key that is not seen has no weight, and not exp of something large; kernels that read it all the same do not add
// it: what lies there may be NaN.
#import kv
struct attention_Params {
    keys: kv_At,
    values: kv_At,
    place: kv_Place,
    fold: u32,       // the grid's x
    rows: u32,       // queries times heads, of the whole batch
    batch: u32,
    heads: u32,      // of queries
    kv_heads: u32,   // of keys and values
    queries: u32,    // of each element of the batch; of all, where they differ
    head_rows: u32,  // rows of q and y from one head to the next
    token_rows: u32, // from one query to the next
    q0: u32,         // first element of q
    y0: u32,         // of y
    lse0: u32,       // of lse
    mask0: u32,      // of the mask
    mask_batch: u32, // its elements from one element of the batch to the next; 0 where they share them
    mask_head: u32,
    mask_query: u32,
    mask_key: u32,
    scale: f32,
    softcap: f32,
    offset: i32,     // position of query 0
    left: i32,       // how far before its position a query sees
    right: i32,      // and after
    kv_len: u32,     // where the little operands begin: keys, [B]
    offsets: u32,    // position of query 0, [B]
    prefix: u32,     // keys that all queries see, [B]
    positions: u32,  // of queries, [B, L]
    sinks: u32,      // [H]
    alibi: u32,      // [H]
    gain: u32,       // [1]
    list: u32,       // tokens, [B, list_len]
    list_len: u32,
    q_starts: u32,   // the first query of each element of the batch, [B + 1]
    k_starts: u32,   // its first key, [B + 1]
    kv_head: u32,    // of each head of queries, [H]
    splits: u32,     // parts of the keys that are summed by themselves
    nothing: u32,    // 0, which no compiler knows
    q_len: u32,      // queries of each element of the batch that there are, [B]
    mix_before: u32,      // of lib/mixing, [H, H]
    mix_before_bias: u32, // [H]
    mix_after: u32,       // [H, H]
    mix_after_bias: u32,  // [H]
}
#const KV_LEN = false    // each element of the batch has its own number of keys
#const Q_LEN = false     // and of queries: those past it see nothing
#const CAUSAL = false
#const WINDOW = false
#const OFFSETS = false   // the position of query 0 is told for each element of the batch
#const POSITIONS = false // positions are told
#const PREFIX = false
#const MASK = false      // numbers that are added; −∞ hides
#const MASK_BOOL = false // 0 hides
#const SOFTCAP = false
#const ALIBI = false
#const GAIN = false      // in the place of scale
#const SINKS = false
#const KV_HEAD = false   // which head of keys a head of queries has is told
#const PAGED = false     // a table tells on which page a token is
#const LISTED = false    // a list tells which tokens are keys
#const RAGGED_Q = false  // elements of the batch follow each other, each with its own number of queries
#const RAGGED_K = false  // or keys
#const BOUNDED = false   // no logit is further from 0 than 50: the softmax asks for no largest
@group(0) @binding(0) var<uniform> attention_params: attention_Params;
#slot mask @binding(4)   // [B, H, L, S] or what is broadcast to it
#slot little @binding(7) // [words]

const attention_NONE = 0xffffffffu;   // no row
const attention_LOWEST = -3.4028234e38;
const attention_ENDLESS = 0xff800000u;  // a logit that, in order, is not below this is +∞ or NaN: softmax makes NaN of its row
const attention_FURTHEST = 0x42800000u; // 64, as bits
const attention_FAR = 536870911;      // positions are not further from 0, so that their sums fit 32 bits
const attention_TOGETHER = 16u;         // groups of heads

// A query of one head.
struct attention_Row {
    b: u32,
    h: u32,
    g: u32,        // its head of keys and values
    l: u32,
    at: u32,       // its row of q and y
    stat: u32,     // its number in lse
    position: i32,
    keys: u32,     // keys of its element of the batch
}

fn attention_int(i: u32) -> i32 {
    return bitcast<i32>(little_word(i));
}

fn attention_float(i: u32) -> f32 {
    return bitcast<f32>(little_word(i));
}

fn attention_far(i: i32) -> i32 {
    return clamp(i, -attention_FAR, attention_FAR);
}

// The queries of an element of the batch.
fn attention_queries(b: u32) -> u32 {
    if (!RAGGED_Q) { return attention_params.queries; }
    let starts = attention_params.q_starts + b;
    return u32(max(attention_int(starts + 1u) - attention_int(starts), 0));
}

// The tokens that it has room for.
fn attention_room(b: u32) -> u32 {
    let room = attention_params.place.room;
    if (!RAGGED_K) { return room; }
    let starts = attention_params.k_starts + b;
    return min(room, u32(max(attention_int(starts + 1u) - attention_int(starts), 0)));
}

// Its keys: of a list, entries.
fn attention_keys(b: u32) -> u32 {
    var keys = attention_params.list_len;
    if (!LISTED) { keys = attention_room(b); }
    if (KV_LEN) { keys = min(keys, u32(max(attention_int(attention_params.kv_len + b), 0))); }
    return keys;
}

fn attention_row(b: u32, h: u32, l: u32) -> attention_Row {
    var row: attention_Row;
    row.b = b;
    row.h = h;
    row.l = l;
    if (KV_HEAD) {
        row.g = min(little_word(attention_params.kv_head + h), attention_params.kv_heads - 1u);
    } else {
        row.g = h / (attention_params.heads / attention_params.kv_heads);
    }
    var first = 0u; // query of the batch
    if (RAGGED_Q) {
        first = little_word(attention_params.q_starts + b);
        row.at = (first + l) * attention_params.token_rows + h * attention_params.head_rows;
        row.stat = row.at;
    } else {
        first = b * attention_params.queries;
        row.at = first * attention_params.heads + h * attention_params.head_rows + l * attention_params.token_rows;
        row.stat = (b * attention_params.heads + h) * attention_params.queries + l;
    }
    if (POSITIONS) {
        row.position = attention_far(attention_int(attention_params.positions + first + l));
    } else {
        row.position = i32(l) + attention_params.offset;
        if (OFFSETS) { row.position = i32(l) + attention_far(attention_int(attention_params.offsets + b)); }
    }
    row.keys = attention_keys(b);
    if (Q_LEN && i32(l) >= attention_int(attention_params.q_len + b)) { row.keys = 0u; }
    return row;
}

// Row number `id` of all, which is below `attention_params.rows`.
fn attention_row_of(id: u32) -> attention_Row {
    if (!RAGGED_Q) {
        let h = id / attention_params.queries;
        return attention_row(h / attention_params.heads, h % attention_params.heads, id % attention_params.queries);
    }
    // The last element of the batch that begins at this query or before it.
    let query = id / attention_params.heads;
    var b = 0u;
    for (var end = attention_params.batch; b + 1u < end;) {
        let middle = (b + end) / 2u;
        if (little_word(attention_params.q_starts + middle) <= query) { b = middle; } else { end = middle; }
    }
    return attention_row(b, id % attention_params.heads, query - little_word(attention_params.q_starts + b));
}

// The keys that rows at positions from `first` to `last` may see: from x on, before y.
fn attention_range(b: u32, keys: u32, first: i32, last: i32) -> vec2<u32> {
    var low = 0;
    var high = i32(keys);
    if (LISTED) { return vec2<u32>(0u, keys); }
    if (CAUSAL) { high = min(high, last + 1); }
    if (WINDOW) {
        low = max(low, first - attention_params.left);
        high = min(high, last + attention_params.right + 1);
    }
    if (PREFIX) {
        let prefix = attention_int(attention_params.prefix + b);
        if (prefix > 0) {
            low = 0;
            high = max(high, min(prefix, i32(keys)));
        }
    }
    return vec2<u32>(u32(low), u32(max(high, low)));
}

// Rows whose keys are the same: queries of one head, or of all heads of a group, which lie side by side: row r is query r / heads of head
// `head0 + r % heads`. A tile is some of them.
struct attention_Tile {
    b: u32,
    head0: u32,
    heads: u32,
    row0: u32,  // its first
    count: u32, // so many; 0 where there is no such tile
}

// Tile number `id` of those of so many rows. Of queries that are causal, the last come first, of all heads: they have the most keys, and
// none of them is left for the end. No more heads than attention_TOGETHER, or what they read of keys would not stay in a cache. Where elements of the batch have queries of their own number, those of element b begin at tile
// ⌊first row / size⌋ + b, which leaves room for all before it; so a search finds b, and the last tile of an element may be empty.
fn attention_tile(id: u32, size: u32) -> attention_Tile {
    var heads = attention_params.heads / attention_params.kv_heads;
    if (KV_HEAD) { heads = 1u; }
    return attention_tile_of(id, size, heads, attention_params.heads / heads);
}

// Where rows are those of so many heads of each of so many groups. Who makes all heads of a query together has tiles of queries: rows of the one
// head of one group.
fn attention_tile_of(id: u32, size: u32, heads: u32, groups: u32) -> attention_Tile {
    var tile: attention_Tile;
    tile.heads = heads;
    var rows = tile.heads * attention_params.queries;
    if (RAGGED_Q) {
        let tiles = tile.heads * attention_params.queries / size + attention_params.batch;
        let at = attention_placed(id, tiles, groups);
        if (at.x >= groups) { return tile; }
        tile.head0 = at.x * tile.heads;
        let n = at.y;
        for (var end = attention_params.batch; tile.b + 1u < end;) {
            let middle = (tile.b + end) / 2u;
            if (attention_first_tile(tile.heads, middle, size) <= n) { tile.b = middle; } else { end = middle; }
        }
        rows = tile.heads * attention_queries(tile.b);
        tile.row0 = (n - attention_first_tile(tile.heads, tile.b, size)) * size;
    } else {
        let tiles = (rows + size - 1u) / size;
        let at = attention_placed(id, tiles, groups * attention_params.batch);
        tile.b = at.x / groups;
        if (tile.b >= attention_params.batch) {
            tile.b = 0u;
            return tile;
        }
        tile.head0 = at.x % groups * tile.heads;
        tile.row0 = at.y * size;
    }
    if (tile.row0 < rows) { tile.count = min(rows - tile.row0, size); } else { tile.row0 = 0u; }
    return tile;
}

// Which group of heads tile number `id` has, of so many in all, and which of its tiles; no group where there are none left.
fn attention_placed(id: u32, tiles: u32, groups: u32) -> vec2<u32> {
    let first = id / (tiles * attention_TOGETHER) * attention_TOGETHER;
    let together = clamp(groups - min(first, groups), 1u, attention_TOGETHER);
    let i = id - first * tiles;
    return vec2<u32>(select(groups, first + i % together, first < groups), tiles - 1u - min(i / together, tiles - 1u));
}

fn attention_first_tile(heads: u32, b: u32, size: u32) -> u32 {
    return heads * little_word(attention_params.q_starts + b) / size + b;
}

// Row i of a tile; what is past the last one is the last one again.
fn attention_tile_row(tile: attention_Tile, i: u32) -> attention_Row {
    let r = tile.row0 + min(i, max(tile.count, 1u) - 1u);
    return attention_row(tile.b, tile.head0 + r % tile.heads, r / tile.heads);
}

// The keys that some row of a tile may see. Its first row sees keys if any does.
fn attention_tile_range(tile: attention_Tile) -> vec2<u32> {
    if (tile.count == 0u) { return vec2<u32>(); }
    let last_row = tile.row0 + tile.count - 1u;
    let one = attention_row(tile.b, tile.head0, tile.row0 / tile.heads);
    var first = one.position;
    var last = attention_row(tile.b, tile.head0, last_row / tile.heads).position;
    if (POSITIONS) {
        for (var l = tile.row0 / tile.heads; l <= last_row / tile.heads; l++) {
            let position = attention_row(tile.b, tile.head0, l).position;
            first = min(first, position);
            last = max(last, position);
        }
    }
    return attention_range(tile.b, one.keys, first, last);
}

// Part number `part` of these keys, of as many as there are splits: whole tiles of so many keys, but for the last.
fn attention_part(keys: vec2<u32>, part: u32, size: u32) -> vec2<u32> {
    let each = ((keys.y - keys.x + attention_params.splits - 1u) / attention_params.splits + size - 1u) / size * size;
    let first = min(keys.x + part * each, keys.y);
    return vec2<u32>(first, min(first + each, keys.y));
}

// The token that is key j.
fn attention_token(b: u32, j: u32) -> u32 {
    if (!LISTED) { return j; }
    return little_word(attention_params.list + b * attention_params.list_len + j);
}

// A number of a list that is no token is no key.
fn attention_is_token(b: u32, token: u32) -> bool {
    return !LISTED || token < attention_room(b);
}

// The token that is key j; in the place of what is no token the last one, which nobody sees there.
fn attention_some_token(b: u32, j: u32) -> u32 {
    let token = attention_token(b, j);
    if (!LISTED) { return token; }
    return min(token, max(attention_room(b), 1u) - 1u);
}

// And its row of keys and values.
fn attention_some_key(b: u32, g: u32, j: u32) -> u32 {
    return attention_key(b, g, attention_some_token(b, j));
}

// The row of keys and values of a token.
fn attention_key(b: u32, g: u32, token: u32) -> u32 {
    let place = attention_params.place;
    if (PAGED) {
        let page = little_word(place.table + b * place.pages + token / place.page);
        return kv_row(place, min(page, place.held - 1u), g, token);
    }
    if (RAGGED_K) {
        return g * place.head_rows + (little_word(attention_params.k_starts + b) + token) * place.token_rows;
    }
    return b * place.batch_rows + g * place.head_rows + token * place.token_rows;
}

fn attention_mask_at(row: attention_Row, j: u32) -> u32 {
    let of_row = row.b * attention_params.mask_batch + row.h * attention_params.mask_head + row.l * attention_params.mask_query;
    return attention_params.mask0 + of_row + j * attention_params.mask_key;
}

// The row sees key j, which is this token and in the range of the row.
fn attention_sees(row: attention_Row, j: u32, token: u32) -> bool {
    var sees = !Q_LEN || row.keys > 0u;
    let ahead = i32(token) - row.position;
    if (CAUSAL) { sees = sees && ahead <= 0; }
    if (WINDOW) { sees = sees && ahead >= -attention_params.left && ahead <= attention_params.right; }
    if (PREFIX && row.keys > 0u) { sees = sees || i32(token) < attention_int(attention_params.prefix + row.b); }
    if (LISTED) { sees = sees && attention_is_token(row.b, token); }
    if (MASK_BOOL) { sees = sees && mask_load1(attention_mask_at(row, j)) != 0.0; }
    if (MASK) { sees = sees && bitcast<u32>(mask_load1(attention_mask_at(row, j))) != 0xff800000u; }
    return sees;
}

// Within 64 units in the last place: by its series where exp would cancel, and no device's own, which may be off by 2^-11.
fn attention_tanh(x: f32) -> f32 {
    let s = x * x;
    let small = x - x * s * (0.33333334 - s * (0.13333334 - s * 0.053968254));
    let t = exp(-2.0 * min(abs(x), 20.0));
    let large = (1.0 - t) / (1.0 + t);
    return select(select(large, -large, x < 0.0), small, s < 0.04);
}

// A logit without its mask.
fn attention_bare_logit(row: attention_Row, token: u32, dot: f32) -> f32 {
    var logit = dot * attention_params.scale;
    if (GAIN) { logit = dot * attention_float(attention_params.gain); }
    if (SOFTCAP) {
        let capped = attention_params.softcap * attention_tanh(logit / attention_params.softcap);
        logit = select(capped, logit, attention_is_nan(logit));
    }
    if (ALIBI) { logit -= attention_float(attention_params.alibi + row.h) * f32(abs(i32(token) - row.position)); }
    return logit;
}

// And with it.
fn attention_masked(row: attention_Row, j: u32, logit: f32) -> f32 {
    if (!MASK) { return logit; }
    return logit + mask_load1(attention_mask_at(row, j));
}

// The logit of a key that is seen.
fn attention_logit(row: attention_Row, j: u32, token: u32, dot: f32) -> f32 {
    return attention_masked(row, j, attention_bare_logit(row, token, dot));
}

fn attention_is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// A logit as a number without sign in the same order, above 0; a NaN is above all.
fn attention_ordered(v: f32) -> u32 {
    if (attention_is_nan(v)) { return 0xffffffffu; }
    let bits = bitcast<u32>(v);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn attention_from_ordered(v: u32) -> f32 {
    return bitcast<f32>(select(~v, v & 0x7fffffffu, v >= 0x80000000u));
}

// What stands for a row's largest logit before any is known: where they are bounded it is 0, and stays.
fn attention_first_top() -> f32 {
    if (BOUNDED) { return 0.0; }
    return attention_LOWEST;
}

// Where logits are bounded: exp of one, about 0. It may be past the bound by what rounding adds to its query and key, and by much more
// than that: up to 64 its weight is as good as any. One that is further, or NaN, has weight −1, which makes NaN of its row; so a bound that is
// wrong gives no wrong number.
fn attention_weight(logit: f32) -> f32 {
    if ((bitcast<u32>(logit) & 0x7fffffffu) > attention_FURTHEST) { return -1.0; }
    return exp(logit);
}

// exp of what is not above 0. From -104 on it is 0; a little further no device rounds it up to what is not.
fn attention_exp(v: f32) -> f32 {
    return exp(max(v, -110.0));
}

// Of a row whose largest logit is `top`, or 0 where they are bounded, with the sum of exp(logit − top): what the sum of its values is
// multiplied by, and its lse. A logit that was NaN or +∞ makes NaN of both, and so does such a sink; one of −∞ is as none. A sink above 87 leaves
// nothing of bounded weights, of which at most e^-23 is left beside it.
fn attention_finish(row: attention_Row, top: f32, sum: f32, wrong: bool) -> vec2<f32> {
    var all_top = top;
    var all = sum;
    var factor = 1.0;
    var is_wrong = wrong;
    if (SINKS) {
        let sink = attention_float(attention_params.sinks + row.h);
        let ordered = attention_ordered(sink);
        is_wrong = is_wrong || ordered >= attention_ENDLESS;
        if (ordered > attention_ordered(attention_LOWEST)) {
            // Beside what is not there it is the largest, however low.
            let alone = sum == 0.0;
            all_top = select(max(top, sink), sink, alone);
            factor = select(attention_exp(top - all_top), 0.0, alone);
            all = sum * factor + attention_exp(sink - all_top);
        }
    }
    if (is_wrong) { return vec2<f32>(bitcast<f32>(0x7fc00000u | attention_params.nothing)); }
    let lowest = bitcast<f32>(0xff800000u | attention_params.nothing); // −∞
    // Nothing is seen.
    if (all == 0.0) { return vec2<f32>(0.0, lowest); }
    return vec2<f32>(factor / all, all_top + log(all));
}
