// depth/grids: the grids of the steps of an op over rows that only the device has counted: ⌈⌈rows / tile⌉·times / each⌉ workgroups each.
//
// Good before steps whose workgroups are not simply so many rows each: those find their grids where depth/select_grids left them. Wrong
// where the host knows the rows. Reads 4 bytes, writes 12 a step: all latency, some microseconds for all steps of an op together.
struct grids_Step {
    first: u32, // the row with which the step begins
    most: u32,  // the rows that it has at most
    tile: u32,  // rows that are made together
    times: u32, // parts of such a tile
    each: u32,  // parts of a workgroup
    fold: u32,  // where its grid is folded
    pad0: u32,
    pad1: u32,
}
struct grids_Params {
    s0: grids_Step,
    s1: grids_Step,
    s2: grids_Step,
    s3: grids_Step,
    s4: grids_Step,
    s5: grids_Step,
    s6: grids_Step,
    rows0: u32, // the word that has the rows
    count: u32, // steps
    first: u32, // the first grid of this dispatch
    pad: u32,
}
@group(0) @binding(0) var<uniform> grids_params: grids_Params;
@group(0) @binding(1) var<storage, read> counted: array<u32>;     // [10, 3]
@group(0) @binding(2) var<storage, read_write> grids: array<u32>; // [steps, 3]

fn step_of(i: u32) -> grids_Step {
    var all = array<grids_Step, 7>(
        grids_params.s0, grids_params.s1, grids_params.s2, grids_params.s3, grids_params.s4, grids_params.s5, grids_params.s6);
    var step = all[0];
    #unroll
    for (var j = 1u; j < 7u; j++) {
        if (i == j) { step = all[j]; }
    }
    return step;
}

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) lane: u32) {
    if (lane >= grids_params.count) { return; }
    let step = step_of(lane);
    let rows = min(max(counted[grids_params.rows0], step.first) - step.first, step.most);
    let groups = ((rows + step.tile - 1u) / step.tile * step.times + step.each - 1u) / step.each;
    let at = (grids_params.first + lane) * 3u;
    grids[at] = min(groups, step.fold);
    grids[at + 1u] = (groups + step.fold - 1u) / step.fold;
    grids[at + 2u] = 1u;
}
