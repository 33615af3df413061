// What the kernels by tiles share: how lanes share a tile, where it stands, and where its sums go. A lane has LANE_ROWS rows of x and two
// quads of rows of the weight, HALF apart; where there are two matrices the second quad is of the other, for the same outputs.
#import slices
#const ROWS = 64u     // rows of x
#const COLS = 64u     // rows of the weight, or of both
#const LANE_ROWS = 8u // rows of x of a lane
const matmul_LANES_X = COLS / 8u; // lanes along the outputs
const matmul_LANE_COUNT = matmul_LANES_X * (ROWS / LANE_ROWS);
const matmul_HALF = COLS / 2u;
const matmul_OUTPUTS = select(COLS, matmul_HALF, GATED);

// The first row of x of a workgroup, and its first output.
fn matmul_origin(group: u32) -> vec2<u32> {
    let id = group / linear_params.slices;
    let across = (linear_params.n1 - linear_params.n0 + matmul_OUTPUTS - 1u) / matmul_OUTPUTS;
    return vec2<u32>(id / across * ROWS, linear_params.n0 + id % across * matmul_OUTPUTS);
}

// The output of a row of the tile's weights, or the last that there is.
fn matmul_output(origin: vec2<u32>, row: u32) -> u32 {
    let second = GATED && row >= matmul_HALF;
    return min(origin.y + row - select(0u, matmul_HALF, second), linear_params.n1 - 1u);
}

// Finishes and stores a lane's sums: two quads for each of its rows of x.
fn matmul_store(origin: vec2<u32>, slice: u32, lane: u32, sums: array<vec4<f32>, LANE_ROWS * 2u>) {
    var all = sums;
    let n = origin.y + lane % matmul_LANES_X * 4u;
    #unroll
    for (var r = 0u; r < LANE_ROWS; r++) {
        let m = origin.x + lane / matmul_LANES_X * LANE_ROWS + r;
        if (GATED) {
            slices_store4(slice, m, n, all[r * 2u] + slices_live4(m, n), all[r * 2u + 1u] + slices_up_live4(m, n));
        } else {
            slices_store4(slice, m, n, all[r * 2u] + slices_live4(m, n), vec4<f32>());
            slices_store4(slice, m, n + matmul_HALF, all[r * 2u + 1u] + slices_live4(m, n + matmul_HALF), vec4<f32>());
        }
    }
}
