// roof/matrix: sums = a · b + sums over and over, the roof of everything that computes by matrix units: f16 operands, f32 sums.
//
// 4 independent chains a subgroup, 8 steps in a round, all in registers, so that neither latency nor memory nor the loop is in the way. The
// numbers come from params, so that nothing can be computed ahead, and the results are stored, so that nothing can be left out.
// Good as a measure of what plain WGSL reaches of matrix units, with operands that stay. Wrong as a measure of a product of matrices, whose operands
// come through workgroup memory: what that costs is what a fraction of this roof shows.
// Costs 16·SIZE³ FLOPs a subgroup and round, 16 bytes of traffic a lane in all, and 4·SIZE² sums a subgroup in registers, 32 a lane where a matrix
// is 16 × 16. Barriers: 1, and 2 for each chain. Workgroup memory: 256 / SUBGROUP · SIZE² words, and two operands: 9 KiB.
enable subgroups;
#import roof
#const SUBGROUP = 32u // lanes
#slot matrix
const LANE_COUNT = 256u;
const NUMBERS = matrix_SIZE * matrix_SIZE; // of a matrix
const CELL_STRIDE = matrix_SIZE / 4u * matrix_CELLS;
const SUMS = LANE_COUNT / SUBGROUP * NUMBERS; // of a chain of each subgroup
var<workgroup> tile_a: array<matrix_cell, matrix_SIZE * CELL_STRIDE>;
var<workgroup> tile_b: array<matrix_cell, matrix_SIZE * CELL_STRIDE>;
var<workgroup> tile_sums: array<f32, SUMS>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>; // [count]

@compute @workgroup_size(LANE_COUNT)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    for (var i = lane; i < NUMBERS / 4u; i += LANE_COUNT) {
        #unroll
        for (var j = 0u; j < matrix_CELLS; j++) {
            tile_a[i * matrix_CELLS + j] = matrix_cell_of(matrix_of4(vec4<f32>(roof_params.scale)), j);
            tile_b[i * matrix_CELLS + j] = matrix_cell_of(matrix_of4(vec4<f32>(roof_params.shift)), j);
        }
    }
    for (var i = lane; i < SUMS; i += LANE_COUNT) { tile_sums[i] = f32(i % 4u); }
    workgroupBarrier();
    let at = subgroup * NUMBERS;
    let a = coopLoadT<matrix_a>(&tile_a[0], CELL_STRIDE);
    let b = coopLoad<matrix_b>(&tile_b[0], CELL_STRIDE);
    var s0 = coopLoadT<matrix_sum>(&tile_sums[at], matrix_SIZE);
    var s1 = coopLoadT<matrix_sum>(&tile_sums[at], matrix_SIZE);
    var s2 = coopLoadT<matrix_sum>(&tile_sums[at], matrix_SIZE);
    var s3 = coopLoadT<matrix_sum>(&tile_sums[at], matrix_SIZE);
    for (var round = 0u; round < roof_params.rounds; round++) {
        s0 = coopMultiplyAdd(a, b, s0);
        s1 = coopMultiplyAdd(a, b, s1);
        s2 = coopMultiplyAdd(a, b, s2);
        s3 = coopMultiplyAdd(a, b, s3);
        s0 = coopMultiplyAdd(a, b, s0);
        s1 = coopMultiplyAdd(a, b, s1);
        s2 = coopMultiplyAdd(a, b, s2);
        s3 = coopMultiplyAdd(a, b, s3);
    }
    // Each chain's sums through the same memory, into what a lane writes.
    var all = vec4<f32>();
    #unroll
    for (var chain = 0u; chain < 4u; chain++) {
        workgroupBarrier();
        if (chain == 0u) { coopStoreT(s0, &tile_sums[at], matrix_SIZE); }
        if (chain == 1u) { coopStoreT(s1, &tile_sums[at], matrix_SIZE); }
        if (chain == 2u) { coopStoreT(s2, &tile_sums[at], matrix_SIZE); }
        if (chain == 3u) { coopStoreT(s3, &tile_sums[at], matrix_SIZE); }
        workgroupBarrier();
        for (var i = lane * 4u; i < SUMS; i += LANE_COUNT * 4u) {
            all += vec4<f32>(tile_sums[i], tile_sums[i + 1u], tile_sums[i + 2u], tile_sums[i + 3u]);
        }
    }
    let i = roof_group(group) * LANE_COUNT + lane;
    if (i < roof_params.count) { y[i] = all; }
}
