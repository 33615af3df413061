// Adapters of a pool are applied while their weight is multiplied. Which one a row of x has, stands before its terms
// (adapter/down), so that rows of a batch may differ. Where this dispatch makes its terms itself (HERE; lib/make) there is one row, and its
// adapter is found once.
//
// b stands by quads of outputs: of each pair of ranks 4 + 4 numbers, 16 bytes of f16, and pairs side by side. A lane with four
// outputs loads 8·R bytes for them, once for each row of x; lanes that share the four outputs take pairs in turn.
#slot slot_eight
#const slot_ROWS = false // some have factors of rows
#const slot_COLS = false // and of columns
#const slot_HERE = false // this dispatch makes its terms
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [adapters, quads of one]
const slot_ON = true;
// Of the one row: where its adapter begins, whether there is one, and its quad of words; and the pair of ranks (in two quads, or one) and the
// factors of rows that a lane wants in the end.
var<private> slot_first: u32;
var<private> slot_there: bool;
var<private> slot_header: vec4<u32>;
var<private> slot_pair: vec4<u32>;
var<private> slot_pair_more: vec4<u32>;
var<private> slot_factors: vec4<f32>;

// What the pairs of ranks `first`, `first + step`, … add to outputs n … n + 3 of row m, n a multiple of four.
fn slot_sum4(at: pool_At, m: u32, n: u32, first: u32, step: u32) -> vec4<f32> {
    let term = at.terms + m * pool_terms(at);
    let pairs = linear_term(term + 1u);
    let b = linear_term(term) + at.b + (n >> 2u) * at.pairs * slot_eight_QUADS;
    var sum = vec4<f32>();
    for (var p = first; p < pairs; p += step) {
        let i = b + p * slot_eight_QUADS;
        let both = slot_eight_numbers(array<vec4<u32>, 2>(slot_data[i], slot_data[i + slot_eight_QUADS - 1u]));
        let t = term + 4u + 2u * p;
        sum += bitcast<f32>(linear_term(t)) * both[0] + bitcast<f32>(linear_term(t + 1u)) * both[1];
    }
    return sum;
}

// What the sums of outputs n … n + 3 of row m are multiplied with.
fn slot_rows4(at: pool_At, m: u32, n: u32) -> vec4<f32> {
    if (slot_HERE) { return select(vec4<f32>(1.0), slot_factors, (slot_header.y & pool_HAS_ROWS) != 0u); }
    let term = at.terms + m * pool_terms(at);
    if ((linear_term(term + 2u) & pool_HAS_ROWS) == 0u) { return vec4<f32>(1.0); }
    return bitcast<vec4<f32>>(slot_data[linear_term(term) + at.rows + (n >> 2u)]);
}

// What inputs k … k + 3 of row m are multiplied with, k a multiple of four.
fn slot_cols4(at: pool_At, m: u32, k: u32) -> vec4<f32> {
    if (slot_HERE) {
        let factors = bitcast<vec4<f32>>(slot_data[slot_first + at.cols + (k >> 2u)]);
        return select(vec4<f32>(1.0), factors, (slot_header.y & pool_HAS_COLS) != 0u);
    }
    let term = at.terms + m * pool_terms(at);
    if ((linear_term(term + 2u) & pool_HAS_COLS) == 0u) { return vec4<f32>(1.0); }
    return bitcast<vec4<f32>>(slot_data[linear_term(term) + at.cols + (k >> 2u)]);
}

// HERE: finds the row's adapter, in this place of a pool with so many. Where there is none it begins where the first does.
fn slot_find(at: pool_At, place: u32, places: u32) {
    slot_there = place < places;
    slot_first = at.base + select(0u, place, slot_there) * at.stride;
}

// HERE: what its header says.
fn slot_head() {
    slot_header = select(vec4<u32>(), slot_data[slot_first], slot_there);
}

// HERE: what lane `first` of `step` adds to four terms. A unit is a slice of K and four ranks, those of a slice side by side.
fn slot_unit4(at: pool_At, unit: u32, first: u32, step: u32) -> vec4<f32> {
    let quads = at.pairs / 2u;
    let r0 = unit % quads * 4u;
    let blocks = (linear_params.k + 7u) / 8u;
    let each = (blocks + pool_SLICES - 1u) / pool_SLICES;
    let begin = min(unit / quads * each, blocks);
    let end = min(begin + each, blocks);
    var sums = vec4<f32>();
    if (slot_header.w > 0u) {
        for (var block = begin + first; block < end; block += step) {
            let low = linear_x4(0u, block * 8u);
            let high = linear_x4(0u, block * 8u + 4u);
            #unroll
            for (var r = 0u; r < 4u; r++) {
                let a = pool_repeated8(slot_header.w, r0 + r, block * 8u);
                sums[r] += dot(low, a[0]) + dot(high, a[1]);
            }
        }
    } else {
        // No branch stands between the loads.
        for (var block = begin + first; block < end; block += step) {
            var fetched = array<array<vec4<u32>, 2>, 4>();
            #unroll
            for (var r = 0u; r < 4u; r++) {
                let i = slot_first + at.a + ((r0 + r) * blocks + block) * slot_eight_QUADS;
                fetched[r] = array<vec4<u32>, 2>(slot_data[i], slot_data[i + slot_eight_QUADS - 1u]);
            }
            let low = linear_x4(0u, block * 8u);
            let high = linear_x4(0u, block * 8u + 4u);
            #unroll
            for (var r = 0u; r < 4u; r++) {
                let a = slot_eight_numbers(fetched[r]);
                sums[r] += dot(low, a[0]) + dot(high, a[1]);
            }
        }
    }
    // Past the adapter's ranks stands what an adapter before has left.
    let ranks = vec4<u32>(r0, r0 + 1u, r0 + 2u, r0 + 3u);
    return select(vec4<f32>(), sums * bitcast<f32>(slot_header.z), ranks < vec4<u32>(slot_header.x * 2u));
}

// HERE: asks for what a lane with outputs n … n + 3 and this pair of ranks wants in the end.
fn slot_fetch(at: pool_At, n: u32, pair: u32) {
    let i = slot_first + at.b + ((n >> 2u) * at.pairs + min(pair, at.pairs - 1u)) * slot_eight_QUADS;
    slot_pair = slot_data[i];
    if (slot_eight_QUADS > 1u) { slot_pair_more = slot_data[i + 1u]; }
    if (slot_ROWS) { slot_factors = bitcast<vec4<f32>>(slot_data[slot_first + at.rows + (n >> 2u)]); }
}

// HERE: what two terms of this pair of ranks add to the outputs for which it was fetched.
fn slot_add4(terms: vec2<f32>, pair: u32) -> vec4<f32> {
    let both = slot_eight_numbers(array<vec4<u32>, 2>(slot_pair, slot_pair_more));
    return select(vec4<f32>(), terms.x * both[0] + terms.y * both[1], pair < slot_header.x);
}
