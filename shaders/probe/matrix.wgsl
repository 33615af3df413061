// probe/matrix: what linear/tiled_coop takes for granted of matrix units, shown by doing it.
//
//   sums[r, c] = Σ over k of a[r, k] · b[k, c] + d[r, c], whole numbers that differ from place to place
//
// Good for the dispatcher, before it believes in the matrix units of a device: a is loaded by rows, b by columns, sums are loaded and
// stored by rows, in quads where the filling has such and as single numbers, each at a place of its own for each subgroup. No operand is symmetric, so that rows taken for columns show. Sums
// reach 2^21, where f16 is infinite, and an f32 is exact. Wrong for anything else. Costs 4 bytes a number, 3 barriers, and for each
// subgroup 4.5 KiB of workgroup memory where a matrix is 16 × 16.
enable subgroups;
#import four
#const SUBGROUP = 32u
#const SUBGROUPS = 4u // of a workgroup
#slot matrix
const LANE_COUNT = SUBGROUP * SUBGROUPS;
const STRIDE = matrix_SIZE + 8u; // as tiles are: rows at multiples of 16 bytes, and not one after the other
const CELL_STRIDE = STRIDE / 4u * matrix_CELLS;
const ROWS = SUBGROUPS * matrix_SIZE;
var<workgroup> tile_a: array<matrix_cell, ROWS * CELL_STRIDE>;
var<workgroup> tile_b: array<matrix_cell, ROWS * CELL_STRIDE>;
var<workgroup> tile_sums: array<matrix_sum_cell, ROWS * CELL_STRIDE>;
var<workgroup> tile_plain: array<f32, ROWS * STRIDE>; // single numbers, where sums are kept too

struct probe_Params {
    seed: u32,
}
@group(0) @binding(0) var<uniform> probe_params: probe_Params;
@group(0) @binding(1) var<storage, read_write> probe_sums: array<f32>; // [workgroups, SUBGROUPS, SIZE, SIZE]

fn number(at: u32) -> u32 {
    return ((at + 1u) * 0x9e3779b1u) ^ probe_params.seed;
}

@compute @workgroup_size(LANE_COUNT)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let first = group.x * ROWS * matrix_SIZE;
    for (var i = lane * 4u; i < ROWS * matrix_SIZE; i += LANE_COUNT * 4u) {
        var a = vec4<f32>();
        var b = vec4<f32>();
        var d = vec4<f32>();
        #unroll
        for (var j = 0u; j < 4u; j++) {
            let x = number(first + i + j);
            a[j] = f32(x >> 24u) - 128.0;
            b[j] = f32((x >> 16u) & 255u) - 128.0;
            d[j] = f32(x & 0xfffffu);
        }
        let at = i / matrix_SIZE * CELL_STRIDE + i % matrix_SIZE / 4u * matrix_CELLS;
        #unroll
        for (var j = 0u; j < matrix_CELLS; j++) {
            tile_a[at + j] = matrix_cell_of(matrix_of4(a), j);
            tile_b[at + j] = matrix_cell_of(matrix_of4(b), j);
            tile_sums[at + j] = matrix_sum_cell_of(d, j);
        }
    }
    workgroupBarrier();
    let at = subgroup * matrix_SIZE * STRIDE;
    let cell = subgroup * matrix_SIZE * CELL_STRIDE;
    let a = coopLoadT<matrix_a>(&tile_a[cell], CELL_STRIDE);
    let b = coopLoad<matrix_b>(&tile_b[cell], CELL_STRIDE);
    let sums = coopLoadT<matrix_sum>(&tile_sums[cell], CELL_STRIDE);
    coopStoreT(coopMultiplyAdd(a, b, sums), &tile_plain[at], STRIDE);
    workgroupBarrier();
    coopStoreT(coopLoadT<matrix_sum>(&tile_plain[at], STRIDE), &tile_sums[cell], CELL_STRIDE);
    workgroupBarrier();
    for (var i = lane; i < ROWS * matrix_SIZE; i += LANE_COUNT) {
        let of_row = i % matrix_SIZE;
        var cells = array<matrix_sum_cell, matrix_CELLS>();
        #unroll
        for (var j = 0u; j < matrix_CELLS; j++) {
            cells[j] = tile_sums[i / matrix_SIZE * CELL_STRIDE + of_row / 4u * matrix_CELLS + j];
        }
        probe_sums[first + i] = four_at(matrix_sum4(cells), of_row % 4u);
    }
}
