// weight_merge/stock: step 2 of Model Stock: how far to go from the first weight to the mean of the others.
//
//     c = mean over the pairs i < j of ⟨d_i,d_j⟩ / max(‖d_i‖·‖d_j‖, 1e-12),    t = N·c / (1 + (N − 1)·c)
//
// of N differences, from the products of weight_merge/products, whose slices it adds. CLAMPED: t is limited to [0, 1].
// LANES lanes share a t: all of a workgroup for whole weights, of which there is one t, and one for each row.
// Good for the few weights that are merged. Wrong for hundreds: pairs come one after the other, each with a reduction of its own.
// Opposed weights, of which c is −1 / (N − 1), make t as large as f32 has numbers, and no infinity.
// Bytes: 12 for each pair and slice, from cache but once; 4 for each t. Barriers: a reduction for each pair, none where LANES is 1.
struct stock_Params {
    fold: u32,    // the grid's x
    count: u32,   // how many t there are
    slices: u32,  // rows of products of each
    weights: u32, // N
    groups: u32,  // of three weights: products of two groups lie together
    stride: u32,  // products of a row
    pad0: u32,    // nothing
    pad1: u32,    // nothing
}
#const LANES = 256u
#const SUBGROUP = 4u
#const CLAMPED = false
const LANE_COUNT = 256u;
@group(0) @binding(0) var<uniform> stock_params: stock_Params;
#slot reduce
@group(0) @binding(1) var<storage, read> sums: array<f32>;    // [pairs of groups, count·slices, products]
@group(0) @binding(2) var<storage, read_write> t: array<f32>; // [count]

// Where the product of two weights is, i ≤ j, of the first row.
fn place(i: u32, j: u32) -> u32 {
    var groups = vec2<u32>(i, j) / vec2<u32>(3u);
    var among = vec2<u32>(i, j) % vec2<u32>(3u);
    if (groups.x != groups.y) {
        among.y += 3u;
    } else if (groups.x + 1u < stock_params.groups) {
        groups.y += 1u;
    } else {
        groups.x -= 1u;
        among += vec2<u32>(3u);
    }
    let step = groups.x * (2u * stock_params.groups - groups.x - 1u) / 2u + groups.y - groups.x - 1u;
    return step * stock_params.count * stock_params.slices * stock_params.stride + among.y * (among.y + 1u) / 2u + among.x;
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * stock_params.fold) * (LANE_COUNT / LANES);
    if (first >= stock_params.count) { return; }
    let live = first + lane / LANES < stock_params.count;
    let row0 = min(first + lane / LANES, stock_params.count - 1u) * stock_params.slices;
    var cosines = 0.0;
    for (var j = 1u; j < stock_params.weights; j++) {
        for (var i = 0u; i < j; i++) {
            let at = vec3<u32>(place(i, j), place(i, i), place(j, j));
            var v = vec4<f32>();
            for (var slice = lane % LANES; slice < stock_params.slices; slice += LANES) {
                let row = (row0 + slice) * stock_params.stride;
                v += vec4<f32>(sums[at.x + row], sums[at.y + row], sums[at.z + row], 0.0);
            }
            v = reduce_sum4(v, lane);
            cosines += v.x / max(sqrt(v.y) * sqrt(v.z), 1e-12);
        }
    }
    let n = f32(stock_params.weights);
    let c = cosines / (n * (n - 1.0) * 0.5);
    let below = 1.0 + (n - 1.0) * c;
    // Not by max: a NaN stays one.
    var far = n * c / select(below, 1e-30, below < 1e-30);
    if (CLAMPED) { far = select(select(far, 0.0, far < 0.0), 1.0, far > 1.0); }
    if (live && lane % LANES == 0u) { t[first + lane / LANES] = far; }
}
