// adapter/col_norms: step 1 of the norms of columns: sums of squares of the adapted numbers, of each slice of N by itself.
//
//     sums[slice,k] = Σ_n w[n,k]²    over the rows n of the slice
//
// As adapter/row_norms, down the columns: a lane keeps the sums of its 32 columns in registers while the tile walks down.
// Good for the column magnitudes of BoRA. Wrong for rows, of which every tile would have sums of its own: adapter/row_norms.
// Bytes: the base once, 4 bytes for each column and slice. Barriers: 16 at the end, and those of the delta in each turn.
// Workgroup memory: 16 bytes a lane, and the delta's. Registers: 32 more than adapter/row_norms.
#import adapter
@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // [slices, K]
var<workgroup> tile_sums: array<vec4<f32>, LANE_COUNT>;

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * adapter_params.fold;
    let across = adapter_across();
    let slice = id / across;
    if (slice >= adapter_params.slices) { return; }
    let block0 = id % across * 8u;
    let tiles = (adapter_params.n1 - adapter_params.n0 + adapter_ROWS - 1u) / adapter_ROWS;
    let each = (tiles + adapter_params.slices - 1u) / adapter_params.slices;
    let last = min((slice + 1u) * each, tiles);

    var squares: array<vec4<f32>, 8>;
    for (var tile = slice * each; tile < last; tile++) {
        let v = adapter_tile(adapter_params.n0 + tile * adapter_ROWS, block0, lane);
        #unroll
        for (var j = 0u; j < LANE_ROWS; j++) {
            #unroll
            for (var i = 0u; i < 8u; i++) { squares[i] += v[j * 8u + i] * v[j * 8u + i]; }
        }
    }
    #unroll
    for (var i = 0u; i < 8u; i++) {
        tile_sums[lane] = squares[i];
        workgroupBarrier();
        if (lane < 8u) {
            var sum = vec4<f32>();
            for (var team = 0u; team < adapter_TEAMS; team++) { sum += tile_sums[team * 8u + lane]; }
            let k = (block0 + lane) * 32u + i * 4u;
            let at = (adapter_params.slice0 + slice) * adapter_params.k + k;
            #unroll
            for (var c = 0u; c < 4u; c++) {
                if (k + c < adapter_params.k) { sums[at + c] = sum[c]; }
            }
        }
        workgroupBarrier();
    }
}
