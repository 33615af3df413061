// prepare/row_product: y[n] = b[n] + α · Σ_k (w[n,k] − v[n,k]) · x[k], for every row of a matrix.
//
// LANES lanes share a row; ROWS rows share a workgroup. The difference is taken before the product, so that a small one keeps its bits.
// Good for folding a shift into a bias, and for power iteration. Wrong in a model's forward pass: linear decodes packed weights.
// Reads w and v once, x from cache; writes 4 bytes a row. Barriers: one reduction, none where LANES <= SUBGROUP.
#const LANES = 32u
#const ROWS = 4u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#import prepare
#slot reduce
#slot w @binding(1) // [N, K]
#slot v @binding(2) // [N, K]
#slot x @binding(3) // [K]
#slot b @binding(4) // [N]
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // [N]

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * prepare_params.fold) * ROWS;
    if (first >= prepare_params.n) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = first + lane / LANES < prepare_params.n;
    let row = min(first + lane / LANES, prepare_params.n - 1u);
    let k = prepare_params.k;
    var sum = 0.0;
    for (var i = lane % LANES * 4u; i < k; i += LANES * 4u) {
        let real = min(k - i, 4u);
        let w = w_load4(prepare_params.at1 + row * k + i, real) - v_load4(prepare_params.at2 + row * k + i, real);
        let product = w * x_load4(prepare_params.at3 + i, real);
        sum += dot(select(vec4<f32>(), product, prepare_inside(i, k)), vec4<f32>(1.0));
    }
    sum = reduce_sum2(vec2<f32>(sum, 0.0), lane).x;
    if (!live || lane % LANES != 0u) { return; }
    y[prepare_params.at5 + row] = b_load1(prepare_params.at4 + row) + prepare_params.p0 * sum;
}
