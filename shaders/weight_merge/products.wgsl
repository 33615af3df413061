// weight_merge/products: step 1 of Model Stock: products of the differences of weights with each other.
//
//     sums[r, j·(j+1)/2 + i] = Σ_k (w_i[k] − first[k])·(w_j[k] − first[k])    over the numbers k of row r, i ≤ j < WEIGHTS
//
// Lengths are the products of a difference with itself. LANES lanes share a row, ROWS rows share a workgroup; where the angles of whole
// weights are asked for, a row is a slice of them, so that one weight fills a device, and weight_merge/stock adds the slices.
// Good for up to six weights at a time: of more, each dispatch has two groups of three. Wrong for a row of millions, which one
// workgroup walks alone. Not by lengths of sums of weights, which would cancel.
// Differences below 2^-63 count as 0 in a length, and lengths above 2^63 are infinite: squares are f32.
// Bytes: every weight once and the first once, 4 bytes for each product and row. Barriers: a reduction for every four products, none where
// LANES <= SUBGROUP. Registers: 21 sums and six quads.
struct products_Params {
    fold: u32,   // the grid's x
    n: u32,      // rows of this dispatch
    len: u32,    // numbers in a row, but the last, which may have fewer
    end: u32,    // numbers in all
    stride: u32, // products of a row
    sums0: u32,  // where the sums of this dispatch begin
    first0: u32, // where each operand begins in its binding, in elements
    at0: u32,
    at1: u32,
    at2: u32,
    at3: u32,
    at4: u32,
    at5: u32,
    pad0: u32,   // nothing
    pad1: u32,   // nothing
    pad2: u32,   // nothing
}
#const LANES = 256u
#const ROWS = 1u
#const SUBGROUP = 4u
#const WEIGHTS = 6u
const LANE_COUNT = LANES * ROWS;
const PAIRS = WEIGHTS * (WEIGHTS + 1u) / 2u;
const ROUNDS = (PAIRS + 3u) / 4u; // reductions
@group(0) @binding(0) var<uniform> products_params: products_Params;
#slot reduce
#slot first @binding(1) // [n, len]
#slot w0 @binding(3)    // [n, len]
#slot w1 @binding(4)    // [n, len]
#slot w2 @binding(5)    // [n, len]
#slot w3 @binding(6)    // [n, len]
#slot w4 @binding(7)    // [n, len]
#slot w5 @binding(8)    // [n, len]
@group(0) @binding(10) var<storage, read_write> sums: array<f32>; // [rows, products]

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = products_params;
    let row0 = (group.x + group.y * p.fold) * ROWS;
    if (row0 >= p.n) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = row0 + lane / LANES < p.n;
    let row = min(row0 + lane / LANES, p.n - 1u);
    let begin = row * p.len;
    let len = min(p.end - begin, p.len);
    var totals: array<vec4<f32>, ROUNDS>;
    for (var i = lane % LANES * 4u; i < len; i += LANES * 4u) {
        let real = min(len - i, 4u);
        let at = begin + i;
        let first = first_load4(p.first0 + at, real);
        var d = array<vec4<f32>, 6>();
        d[0] = w0_load4(p.at0 + at, real) - first;
        if (WEIGHTS > 1u) { d[1] = w1_load4(p.at1 + at, real) - first; }
        if (WEIGHTS > 2u) { d[2] = w2_load4(p.at2 + at, real) - first; }
        if (WEIGHTS > 3u) { d[3] = w3_load4(p.at3 + at, real) - first; }
        if (WEIGHTS > 4u) { d[4] = w4_load4(p.at4 + at, real) - first; }
        if (WEIGHTS > 5u) { d[5] = w5_load4(p.at5 + at, real) - first; }
        let inside = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(real);
        #unroll
        for (var j = 0u; j < WEIGHTS; j++) {
            let dj = select(vec4<f32>(), d[j], inside);
            #unroll
            for (var o = 0u; o <= j; o++) {
                let pair = j * (j + 1u) / 2u + o;
                totals[pair / 4u][pair % 4u] += dot(select(vec4<f32>(), d[o], inside), dj);
            }
        }
    }
    let home = p.sums0 + row * p.stride;
    #unroll
    for (var round = 0u; round < ROUNDS; round++) {
        let total = reduce_sum4(totals[round], lane);
        if (live && lane % LANES == 0u) {
            #unroll
            for (var c = 0u; c < min(PAIRS - round * 4u, 4u); c++) { sums[home + round * 4u + c] = total[c]; }
        }
    }
}
