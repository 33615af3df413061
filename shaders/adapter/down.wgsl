// adapter/down: what live adapters make of x: a term for each row of x and rank of its adapter.
//
//     terms[m, r] = scale·Σ_k x[m,k]·col_factor[k]·a[r,k]    of the adapter index[m]
//
// Before its terms stand where the row's adapter begins, its pairs of ranks and its flags: the linear kernels ask nothing else of the
// index. An index below 0, or past the last adapter, is none, and so is a place where nothing is attached: no ranks, no flags.
// Good before linear/*: two dispatches, and the second has the time of the weight's bytes to hide the terms in. Wrong as a matrix product
// for ranks in the hundreds, for which a is read again for every ROWS rows of x.
// LANES lanes take four ranks of ROWS rows of x; each lane eight inputs at a time, then the eight LANES further on. For few rows of x
// ROWS is 1, so that a decode step has as many workgroups as it can; else rows with the same adapter share what is loaded of a.
// Into the linear kernel itself it cannot go: every workgroup there would need all terms, R·K numbers of a for N / 16 of them.
// Bytes: a for each ROWS rows of x, x for each four ranks, from cache after the first time; 4·R + 16 out for each row.
// Barriers: those of ROWS sums. Registers: 32 of a, 8 of x, 4·ROWS of sums. Workgroup memory: that of the sums.
#import pool
struct down_Params {
    pool: pool_At,
    fold: u32,    // the grid's x
    m: u32,       // rows of x in this dispatch
    k: u32,       // inputs
    x0: u32,      // first element of x
    index0: u32,  // of the index
    entries: u32, // adapters for which there is room
    pad0: u32,    // nothing
    pad1: u32,    // nothing
}
#const LANES = 256u
#const ROWS = 1u    // rows of x
#const COLS = false // some adapters have factors of columns
#const SUBGROUP = 4u
const LANE_COUNT = LANES;
@group(0) @binding(0) var<uniform> down_params: down_Params;
#slot x @binding(1)     // [M, K]
#slot index @binding(2) // [M]
#slot eight
#slot reduce
@group(0) @binding(3) var<storage, read> pool: array<vec4<u32>>;         // [adapters, quads of one]
@group(0) @binding(4) var<storage, read_write> terms: array<u32>; // [M, 4 + ranks]
const NONE = 0xffffffffu;

struct Entry {
    first: u32,  // its first quad, or NONE
    header: vec4<u32>,
}

// The adapter of row m.
fn entry_of(m: u32) -> Entry {
    let i = index_word(down_params.index0 + m);
    if (i >= down_params.entries) { return Entry(NONE, vec4<u32>()); }
    let first = down_params.pool.base + i * down_params.pool.stride;
    return Entry(first, pool[first]);
}

// Eight inputs of a rank, from k on.
fn a8(entry: Entry, r: u32, k: u32) -> array<vec4<f32>, 2> {
    let every = entry.header.w;
    if (every > 0u) {
        let low = vec4<u32>(k, k + 1u, k + 2u, k + 3u) % every;
        let high = vec4<u32>(k + 4u, k + 5u, k + 6u, k + 7u) % every;
        let one = vec4<f32>(1.0);
        return array<vec4<f32>, 2>(select(vec4<f32>(), one, low == vec4<u32>(r)), select(vec4<f32>(), one, high == vec4<u32>(r)));
    }
    let i = entry.first + down_params.pool.a + (r * ((down_params.k + 7u) / 8u) + k / 8u) * eight_QUADS;
    return eight_numbers(array<vec4<u32>, 2>(pool[i], pool[i + eight_QUADS - 1u]));
}

// Four inputs of row m from k on, times the factors of columns.
fn x4(entry: Entry, m: u32, k: u32) -> vec4<f32> {
    if (k >= down_params.k) { return vec4<f32>(); }
    var v = x_load4(down_params.x0 + m * down_params.k + k, min(down_params.k - k, 4u));
    if (COLS && (entry.header.y & pool_HAS_COLS) != 0u) {
        v *= bitcast<vec4<f32>>(pool[entry.first + down_params.pool.cols + k / 4u]);
    }
    return v;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * down_params.fold;
    let fours = down_params.pool.pairs / 2u;
    let m0 = id / fours * ROWS;
    if (m0 >= down_params.m) { return; }
    let r0 = id % fours * 4u;
    var entries: array<Entry, ROWS>;
    for (var i = 0u; i < ROWS; i++) { entries[i] = entry_of(min(m0 + i, down_params.m - 1u)); }

    var sums: array<vec4<f32>, ROWS>;
    for (var k = lane * 8u; k < down_params.k; k += LANES * 8u) {
        var a = array<vec4<f32>, 8>();
        var loaded = NONE;
        for (var i = 0u; i < ROWS; i++) {
            let entry = entries[i];
            let ranks = entry.header.x * 2u;
            if (r0 >= ranks) { continue; }
            if (entry.first != loaded) {
                loaded = entry.first;
                for (var r = 0u; r < 4u; r++) {
                    var both = array<vec4<f32>, 2>();
                    if (r0 + r < ranks) { both = a8(entry, r0 + r, k); }
                    a[r * 2u] = both[0];
                    a[r * 2u + 1u] = both[1];
                }
            }
            let m = min(m0 + i, down_params.m - 1u);
            let low = x4(entry, m, k);
            let high = x4(entry, m, k + 4u);
            sums[i] += vec4<f32>(dot(low, a[0]), dot(low, a[2]), dot(low, a[4]), dot(low, a[6]));
            sums[i] += vec4<f32>(dot(high, a[1]), dot(high, a[3]), dot(high, a[5]), dot(high, a[7]));
        }
    }
    for (var i = 0u; i < ROWS; i++) {
        let sum = reduce_sum4(sums[i], lane);
        if (lane == 0u && m0 + i < down_params.m) {
            let entry = entries[i];
            let start = down_params.pool.terms + (m0 + i) * pool_terms(down_params.pool);
            if (r0 == 0u) {
                terms[start] = select(entry.first, down_params.pool.base, entry.first == NONE);
                terms[start + 1u] = entry.header.x;
                terms[start + 2u] = entry.header.y;
            }
            let scaled = bitcast<f32>(entry.header.z) * sum;
            for (var r = 0u; r < 4u; r++) { terms[start + 4u + r0 + r] = bitcast<u32>(scaled[r]); }
        }
    }
}
