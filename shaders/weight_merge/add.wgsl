// weight_merge/add: whole weights by factors, as one weight.
//
//     y[i] = sum[i] + Σ_j c_j·by_j·(w_j[i] − first[i])
//
// Every merge that is linear in its weights: `c` is known to whoever asks, `by` is made on the device, of all numbers or of a row.
// `first` is the weight that differences are taken from, or 0; `sum` is what earlier weights came to, and where BEGINS it is `first`. Differences
// are taken before they are multiplied, so that weights that are close to each other lose nothing, and the same weight stays as it is.
// Good for up to six weights at a time; of more, each dispatch adds some to the sum of those before, which is f32 and small enough for the
// second-level cache. Wrong for a low-bit weight: dequantize it, or merge an adapter.
// Bytes: every weight once, y once; `first` once for each dispatch. No barriers. Registers: QUADS quads of each weight are on their way at a
// time. `by` is the same for a workgroup or a row, from cache.
struct add_Params {
    fold: u32,      // the grid's x
    n: u32,         // rows of this dispatch; 1 where no number belongs to a row
    k: u32,         // numbers in a row
    y0: u32,        // where each operand begins in its binding, in elements
    sum0: u32,
    first0: u32,
    by0: u32,
    by_row: u32,    // from one row's factors to the next
    by_weight: u32, // from one weight's factor to the next
    at0: u32,
    at1: u32,
    at2: u32,
    at3: u32,
    at4: u32,
    at5: u32,
    c0: f32,        // the factor of each weight
    c1: f32,
    c2: f32,
    c3: f32,
    c4: f32,
    c5: f32,
    pad0: u32,      // nothing
    pad1: u32,      // nothing
    pad2: u32,      // nothing
}
#const WEIGHTS = 6u // how many are added
#const BEGINS = false
const QUADS = 2u; // of a lane
@group(0) @binding(0) var<uniform> add_params: add_Params;
#slot first @binding(1) // [n, k]
#slot sum @binding(2)   // [n, k]
#slot w0 @binding(3)    // [n, k]
#slot w1 @binding(4)    // [n, k]
#slot w2 @binding(5)    // [n, k]
#slot w3 @binding(6)    // [n, k]
#slot w4 @binding(7)    // [n, k]
#slot w5 @binding(8)    // [n, k]
#slot by @binding(9)    // [n] or [weights] or [1]
#slot y @binding(10)    // [n, k]

// What weight j of a row is multiplied with.
fn factor(row: u32, j: u32, c: f32) -> f32 {
    return c * by_load1(add_params.by0 + row * add_params.by_row + j * add_params.by_weight);
}

// Four numbers of y, from number i of a row on.
fn merged4(row: u32, i: u32, real: u32) -> vec4<f32> {
    let p = add_params;
    let at = row * p.k + i;
    let first = first_load4(p.first0 + at, real);
    var v = first;
    if (!BEGINS) { v = sum_load4(p.sum0 + at, real); }
    if (WEIGHTS > 0u) { v += factor(row, 0u, p.c0) * (w0_load4(p.at0 + at, real) - first); }
    if (WEIGHTS > 1u) { v += factor(row, 1u, p.c1) * (w1_load4(p.at1 + at, real) - first); }
    if (WEIGHTS > 2u) { v += factor(row, 2u, p.c2) * (w2_load4(p.at2 + at, real) - first); }
    if (WEIGHTS > 3u) { v += factor(row, 3u, p.c3) * (w3_load4(p.at3 + at, real) - first); }
    if (WEIGHTS > 4u) { v += factor(row, 4u, p.c4) * (w4_load4(p.at4 + at, real) - first); }
    if (WEIGHTS > 5u) { v += factor(row, 5u, p.c5) * (w5_load4(p.at5 + at, real) - first); }
    return v;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let begin = (group.x + group.y * add_params.fold) * (256u * QUADS) + lane;
    let across = (add_params.k + 3u) / 4u;
    let count = add_params.n * across;
    if (begin >= count) { return; }
    // Loads stand in no branch, so that none waits for the one before.
    var v: array<vec4<f32>, QUADS>;
    #unroll
    for (var q = 0u; q < QUADS; q++) {
        let id = min(begin + q * 256u, count - 1u);
        let i = id % across * 4u;
        v[q] = merged4(id / across, i, min(add_params.k - i, 4u));
    }
    #unroll
    for (var q = 0u; q < QUADS; q++) {
        let id = begin + q * 256u;
        let i = id % across * 4u;
        if (id < count) { y_store4(add_params.y0 + id / across * add_params.k + i, v[q], min(add_params.k - i, 4u)); }
    }
}
