// What the kernels for few rows of x share: how lanes share rows of the weight, and where sums go.
#import slices
#import make
#const ROWS = 1u         // rows of x
#const LANES = 32u       // lanes that share four rows of the weight
#const LANE_COUNT = 128u // lanes of a workgroup
#const SUBGROUP = 4u
#slot reduce
const few_TEAMS = LANE_COUNT / LANES;

// The first of a lane's four outputs.
fn few_outputs(id: u32, lane: u32) -> u32 {
    return linear_params.n0 + (make_number(id) / linear_params.slices * few_TEAMS + lane / LANES) * 4u;
}

// The blocks of a workgroup: those of its slice, and none where it makes terms only.
fn few_blocks(id: u32) -> vec2<u32> {
    return select(slices_blocks(slices_slice(id), 1u), vec2<u32>(), make_is_maker(id));
}

// Sums over lanes, and stores: whole sums finished, those of a slice by themselves. All lanes call it. What live adapters add, lanes add
// in turn, a pair of ranks each, so that the sums over lanes bring it together.
fn few_store(id: u32, lane: u32, n: u32, sums: array<vec4<f32>, ROWS>, up_sums: array<vec4<f32>, ROWS>) {
    var of_w = sums;
    var of_up = up_sums;
    let slice = slices_slice(id);
    if (tray_ON) {
        make_terms(id, lane);
        if (make_is_maker(id)) { return; }
        of_w[0] += make_w4(lane % LANES);
        of_up[0] += make_up4(lane % LANES);
    } else if (!parts_ON && (live_w_ON || live_up_ON) && n < linear_params.n1) {
        #unroll
        for (var m = 0u; m < ROWS; m++) {
            if (m < linear_params.m) {
                if (live_w_ON) { of_w[m] += live_w_sum4(linear_params.live, m, n, lane % LANES, LANES); }
                if (GATED && live_up_ON) { of_up[m] += live_up_sum4(linear_params.up_live, m, n, lane % LANES, LANES); }
            }
        }
    }
    #unroll
    for (var m = 0u; m < ROWS; m++) {
        let sum = reduce_sum4(of_w[m], lane);
        var up_sum = vec4<f32>();
        if (GATED) { up_sum = reduce_sum4(of_up[m], lane); }
        // Rows are stored by different lanes.
        if (lane % LANES == m % LANES) { slices_store4(slice, m, n, sum, up_sum); }
    }
}
