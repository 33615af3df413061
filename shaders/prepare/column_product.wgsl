// prepare/column_product: y[k] = b[k] + α · Σ_n (w[n,k] − v[n,k]) · x[n], for every column of a matrix.
//
// As prepare/row_product, by teams that walk down the rows (lib/columns): the matrix is not transposed.
// Good for power iteration. Wrong for a few columns of very many rows: a workgroup has 32 columns.
// Reads w and v once, x from cache; writes 4 bytes a column. Barriers: one reduction over teams; 4 KiB of workgroup memory.
#import prepare
#import columns
#slot w @binding(1) // [N, K]
#slot v @binding(2) // [N, K]
#slot x @binding(3) // [N]
#slot b @binding(4) // [K]
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // [K]

@compute @workgroup_size(columns_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * prepare_params.fold;
    let k = prepare_params.k;
    if (id * columns_QUADS * 4u >= k) { return; }
    let quad = (id * columns_QUADS + lane % columns_QUADS) * 4u;
    // Lanes past the last column walk no rows: barriers need them all.
    let real = min(k - min(quad, k), 4u);
    let end = select(0u, prepare_params.n, real > 0u);
    var sum = vec4<f32>();
    for (var row = lane / columns_QUADS; row < end; row += columns_TEAMS) {
        let at = row * k + quad;
        let w = w_load4(prepare_params.at1 + at, real) - v_load4(prepare_params.at2 + at, real);
        sum += w * x_load1(prepare_params.at3 + row);
    }
    sum = columns_sum4(sum, lane);
    if (lane >= columns_QUADS) { return; }
    #unroll
    for (var i = 0u; i < 4u; i++) {
        let column = quad + i;
        if (i < real) {
            y[prepare_params.at5 + column] = b_load1(prepare_params.at4 + column) + prepare_params.p0 * sum[i];
        }
    }
}
