// Adapters of a pool are applied while their weight is multiplied. Which one a row of x has, stands before its terms
// (adapter/down), so that rows of a batch may differ.
//
// b stands by quads of outputs: of each pair of ranks 4 + 4 numbers, 16 bytes of f16, and pairs side by side. A lane with four
// outputs loads 8·R bytes for them, once for each row of x; lanes that share the four outputs take pairs in turn.
#slot slot_eight
#const slot_ROWS = false // some have factors of rows
#const slot_COLS = false // and of columns
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [adapters, quads of one]
const slot_ON = true;

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
    let term = at.terms + m * pool_terms(at);
    if ((linear_term(term + 2u) & pool_HAS_ROWS) == 0u) { return vec4<f32>(1.0); }
    return bitcast<vec4<f32>>(slot_data[linear_term(term) + at.rows + (n >> 2u)]);
}

// What inputs k … k + 3 of row m are multiplied with, k a multiple of four.
fn slot_cols4(at: pool_At, m: u32, k: u32) -> vec4<f32> {
    let term = at.terms + m * pool_terms(at);
    if ((linear_term(term + 2u) & pool_HAS_COLS) == 0u) { return vec4<f32>(1.0); }
    return bitcast<vec4<f32>>(slot_data[linear_term(term) + at.cols + (k >> 2u)]);
}
