// adapter/down: what live adapters make of x: a term for each row of x and rank of its adapter.
//
//     terms[m, r] = scale·Σ_k x[m,k]·col_factor[k]·a[r,k]    of the adapter index[m]
//
// Before its terms stand where the row's adapter begins, its pairs of ranks and its flags: the linear kernels ask nothing else of the
// index. An index below 0, or past the last adapter, is none, and so is a place where nothing is attached: no ranks, no flags.
// Good before linear/*, which has the time of the weight's bytes to hide the terms in: two dispatches, or three where K is sliced. Wrong as a matrix product
// for ranks in the hundreds, for which a is read again for every ROWS rows of x.
// LANES lanes take four ranks of ROWS rows of x; each lane eight inputs, then the eight LANES further on. For few rows of x
// ROWS is 1, so that a decode step has as many workgroups as it can; else rows with the same adapter share what is loaded of a.
// For one row lib/make does it in the dispatch of the linear kernel. Where every workgroup there made its terms itself, it would be R·K numbers
// of a for N / 16 of them.
// Bytes: a for each ROWS rows of x, x for each four ranks, from cache after the first time; 4·R + 16 out for each row.
// Barriers: those of ROWS sums. Registers: 32 of a and 8 of x for a turn, 4·ROWS of sums. Workgroup memory: that of the sums.
// A decode step is as long as its loads wait for each other: for the index, the adapter's header, and then all of a and x of 4,096 inputs at once,
// in no branch. Tried: a branch around each load. An NVIDIA H100 took 6.4 µs more for 4-bit codes with an adapter of rank 16 than
// without (14.2 µs beside 7.7), of which the loads in line were probably most; what stands here was not timed yet.
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
const TURNS = select(1u, 2u, ROWS == 1u); // of LANES·8 inputs, whose loads are on their way together
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

// Where eight inputs of a rank lie, from k on: of one that is not there, those of the first.
fn fetched8(entry: Entry, r: u32, k: u32) -> array<vec4<u32>, 2> {
    let blocks = (down_params.k + 7u) / 8u;
    let first = select(entry.first, down_params.pool.base, entry.first == NONE) + down_params.pool.a;
    let there = entry.first != NONE && entry.header.w == 0u && r < entry.header.x * 2u;
    let i = first + (select(0u, r, there) * blocks + min(k / 8u, blocks - 1u)) * eight_QUADS;
    return array<vec4<u32>, 2>(pool[i], pool[i + eight_QUADS - 1u]);
}

// What they are.
fn a8(entry: Entry, r: u32, k: u32, fetched: array<vec4<u32>, 2>) -> array<vec4<f32>, 2> {
    let none = vec4<f32>();
    let one = vec4<f32>(1.0);
    let ranks = entry.header.x * 2u;
    let every = entry.header.w;
    if (every > 0u) {
        let low = vec4<u32>(k, k + 1u, k + 2u, k + 3u) % every;
        let high = vec4<u32>(k + 4u, k + 5u, k + 6u, k + 7u) % every;
        return array<vec4<f32>, 2>(select(none, one, low == vec4<u32>(r)), select(none, one, high == vec4<u32>(r)));
    }
    let both = eight_numbers(fetched);
    return array<vec4<f32>, 2>(select(none, both[0], r < ranks), select(none, both[1], r < ranks));
}

// Four inputs of row m from k on, times the factors of columns; zeros past the end.
fn x4(entry: Entry, m: u32, k: u32) -> vec4<f32> {
    let inside = min(k, (down_params.k - 1u) & ~3u);
    var v = x_load4(down_params.x0 + m * down_params.k + inside, min(down_params.k - inside, 4u));
    if (COLS) {
        let first = select(entry.first, down_params.pool.base, entry.first == NONE) + down_params.pool.cols;
        let factors = bitcast<vec4<f32>>(pool[first + inside / 4u]);
        v = select(v, v * factors, (entry.header.y & pool_HAS_COLS) != 0u);
    }
    return select(vec4<f32>(), v, k < down_params.k);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * down_params.fold;
    let fours = down_params.pool.pairs / 2u;
    let m0 = id / fours * ROWS;
    if (m0 >= down_params.m) { return; }
    let r0 = id % fours * 4u;
    var entries: array<Entry, ROWS>;
    #unroll
    for (var i = 0u; i < ROWS; i++) { entries[i] = entry_of(min(m0 + i, down_params.m - 1u)); }

    // Where one row has no such ranks there is nothing to do, but all lanes meet below.
    let end = select(down_params.k, 0u, ROWS == 1u && r0 >= entries[0].header.x * 2u);
    var sums: array<vec4<f32>, ROWS>;
    for (var k0 = lane * 8u; k0 < end; k0 += LANES * 8u * TURNS) {
        var a = array<vec4<f32>, 8u * TURNS>();
        var loaded = NONE;
        #unroll
        for (var i = 0u; i < ROWS; i++) {
            let entry = entries[i];
            if (ROWS == 1u || r0 < entry.header.x * 2u) {
                let m = min(m0 + i, down_params.m - 1u);
                var x = array<vec4<f32>, 2u * TURNS>();
                #unroll
                for (var turn = 0u; turn < TURNS; turn++) {
                    let k = k0 + turn * LANES * 8u;
                    x[turn * 2u] = x4(entry, m, k);
                    x[turn * 2u + 1u] = x4(entry, m, k + 4u);
                }
                if (ROWS == 1u || entry.first != loaded) {
                    loaded = entry.first;
                    var fetched = array<array<vec4<u32>, 2>, 4u * TURNS>();
                    #unroll
                    for (var at = 0u; at < 4u * TURNS; at++) {
                        fetched[at] = fetched8(entry, r0 + at % 4u, k0 + at / 4u * LANES * 8u);
                    }
                    #unroll
                    for (var at = 0u; at < 4u * TURNS; at++) {
                        let both = a8(entry, r0 + at % 4u, k0 + at / 4u * LANES * 8u, fetched[at]);
                        a[at * 2u] = both[0];
                        a[at * 2u + 1u] = both[1];
                    }
                }
                #unroll
                for (var turn = 0u; turn < TURNS; turn++) {
                    let low = x[turn * 2u];
                    let high = x[turn * 2u + 1u];
                    let at = turn * 8u;
                    sums[i] += vec4<f32>(dot(low, a[at]), dot(low, a[at + 2u]), dot(low, a[at + 4u]), dot(low, a[at + 6u]));
                    sums[i] += vec4<f32>(dot(high, a[at + 1u]), dot(high, a[at + 3u]), dot(high, a[at + 5u]), dot(high, a[at + 7u]));
                }
            }
        }
    }
    #unroll
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
            #unroll
            for (var r = 0u; r < 4u; r++) { terms[start + 4u + r0 + r] = bitcast<u32>(scaled[r]); }
        }
    }
}
