// depth/route: how much each token is worth to a layer, r = x·w + b, and its gate g = alpha·f(r) + bias.
//
// LANES lanes share a row and each loads CHUNKS vec4s of it at a time; ROWS rows share a workgroup, as in norm/row.
// Good for any number of rows and features. Wrong for more than one router: a linear layer shares what is read of x.
// Reads x once and the router from the cache, writes 8 bytes a row. One reduction: none where LANES <= SUBGROUP, else 2 barriers or
// more. It is not fused with the norm of the same row: only rows that are kept have one, and which they are follows from this.
#const LANES = 64u
#const ROWS = 4u
#const CHUNKS = 4u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#slot reduce
#slot x @binding(1)      // [rows, len]
#slot weight @binding(2) // [len]
#slot bias @binding(3)   // [1]
#slot score @binding(4)  // [rows]
#slot gates @binding(5)  // [rows]
#slot gate

struct route_Params {
    fold: u32,
    rows: u32,
    len: u32,
    x0: u32, // where each operand begins in its binding, in elements
    weight0: u32,
    bias0: u32,
    score0: u32,
    gates0: u32,
    alpha: f32,
    add: f32, // the gate's bias
}
@group(0) @binding(0) var<uniform> params: route_Params;

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * params.fold) * ROWS;
    if (first >= params.rows) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = first + lane / LANES < params.rows;
    let row = min(first + lane / LANES, params.rows - 1u);
    let last = (params.len - 1u) & ~3u;
    var sum = vec4<f32>();
    for (var start = lane % LANES * 4u; start < params.len; start += LANES * 4u * CHUNKS) {
        // All loads of a turn stand before the first use, and in no branch; the last four features stand for all past them.
        var v = array<vec4<f32>, CHUNKS>();
        var w = array<vec4<f32>, CHUNKS>();
        #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            let i = min(start + c * LANES * 4u, last);
            let n = min(params.len - i, 4u);
            v[c] = x_load4(params.x0 + row * params.len + i, n);
            w[c] = weight_load4(params.weight0 + i, n);
        }
        #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            let there = vec4<bool>(start + c * LANES * 4u < params.len);
            sum += select(vec4<f32>(), v[c] * w[c], there);
        }
    }
    let dot = reduce_sum2(vec2<f32>((sum.x + sum.y) + (sum.z + sum.w), 0.0), lane).x;
    if (!live || lane % LANES != 0u) { return; }
    let r = dot + bias_load1(params.bias0);
    score_put(params.score0 + row, bitcast<u32>(r));
    // A NaN stays one, whatever the device makes of it in exp.
    let is_nan = (bitcast<u32>(r) & 0x7fffffffu) > 0x7f800000u;
    gates_put(params.gates0 + row, bitcast<u32>(select(params.alpha * gate_of(r) + params.add, r, is_nan)));
}
