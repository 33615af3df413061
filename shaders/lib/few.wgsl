// What the kernels for few rows of x share: how lanes share rows of the weight, which slice of K is whose, and where sums go.
#import linear
#const ROWS = 1u         // rows of x
#const LANES = 32u       // lanes that share four rows of the weight
#const LANE_COUNT = 128u // lanes of a workgroup
#const SUBGROUP = 4u
#slot reduce
#slot parts @binding(8) // [slices, matrices, M, ⌈outputs / 4⌉]
const few_TEAMS = LANE_COUNT / LANES;

// The slice of K of a workgroup.
fn few_slice(id: u32) -> u32 {
    return id % linear_params.slices;
}

// The blocks of a slice: the first, and the one after the last.
fn few_blocks(slice: u32) -> vec2<u32> {
    let blocks = (linear_params.k + 31u) / 32u;
    let each = (blocks + linear_params.slices - 1u) / linear_params.slices;
    let first = min(slice * each, blocks);
    return vec2<u32>(first, min(first + each, blocks));
}

// The first of a lane's four outputs.
fn few_outputs(id: u32, lane: u32) -> u32 {
    return linear_params.n0 + (id / linear_params.slices * few_TEAMS + lane / LANES) * 4u;
}

// Sums over lanes, and stores: whole sums finished, those of a slice by themselves. All lanes call it.
fn few_store(slice: u32, lane: u32, n: u32, sums: array<vec4<f32>, ROWS>, up_sums: array<vec4<f32>, ROWS>) {
    var of_w = sums;
    var of_up = up_sums;
    let quads = (linear_params.n1 - linear_params.n0 + 3u) / 4u;
    let quad = (n - linear_params.n0) / 4u;
    for (var m = 0u; m < ROWS; m++) {
        let sum = reduce_sum4(of_w[m], lane);
        var up_sum = vec4<f32>();
        if (GATED) { up_sum = reduce_sum4(of_up[m], lane); }
        // Rows are stored by different lanes.
        if (lane % LANES == m % LANES) {
            if (!parts_ON) {
                linear_store4(m, n, sum, up_sum);
            } else if (quad < quads && m < linear_params.m) {
                let matrices = select(1u, 2u, GATED);
                let i = (slice * matrices * linear_params.m + m) * quads + quad;
                parts_store4(i, sum);
                if (GATED) { parts_store4(i + linear_params.m * quads, up_sum); }
            }
        }
    }
}
