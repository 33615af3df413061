// adapter/row_norms: step 1 of the norms of rows: sums of squares of the adapted numbers, of each slice of K by itself.
//
//     sums[slice,n] = Σ_k w[n,k]²    over the columns k of the slice
//
// The numbers are made in registers from the packed base and the adapter, and squared there: nothing of [N,K] is written. Not by
// ‖w0‖² + 2s·b·(A·w0) + s²·b·(A·Aᵀ)·b, which costs less but cancels where the adapter nearly takes the base away.
// Numbers below 2^-63 count as 0 in a norm, and norms above 2^63 are infinite: squares are f32.
// Good for every K: adapter/factors adds the slices. Wrong for columns: adapter/col_norms.
// Bytes: the base once, 4 bytes for each row and slice. Barriers: 2, and those of the delta in each turn.
// Workgroup memory: LANE_ROWS·4 bytes a lane, and the delta's.
#import adapter
@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // [slices, N]
var<workgroup> tile_sums: array<f32, LANE_COUNT * LANE_ROWS>;

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * adapter_params.fold;
    let slice = id % adapter_params.slices;
    let n = adapter_params.n0 + id / adapter_params.slices * adapter_ROWS;
    if (n >= adapter_params.n1) { return; }
    let across = adapter_across();
    let each = (across + adapter_params.slices - 1u) / adapter_params.slices;
    let last = min((slice + 1u) * each, across);

    var squares: array<f32, LANE_ROWS>;
    for (var tile = slice * each; tile < last; tile++) {
        let v = adapter_tile(n, tile * 8u, lane);
        #unroll
        for (var j = 0u; j < LANE_ROWS; j++) {
            #unroll
            for (var i = 0u; i < 8u; i++) { squares[j] += dot(v[j * 8u + i], v[j * 8u + i]); }
        }
    }
    #unroll
    for (var j = 0u; j < LANE_ROWS; j++) { tile_sums[j * LANE_COUNT + lane] = squares[j]; }
    workgroupBarrier();
    // Lane by lane, so that the rows of a tile are stored next to each other.
    for (var r = lane; r < adapter_ROWS; r += LANE_COUNT) {
        var sum = 0.0;
        for (var t = 0u; t < 8u; t++) { sum += tile_sums[r * 8u + t]; }
        if (n + r < adapter_params.n1) { sums[slice * adapter_params.n + n + r] = sum; }
    }
}
