// depth/select_grids: the grids of the dispatches over kept rows, whose number only the device knows.
//
// Entry i is the grid of a kernel that takes 2^i rows a workgroup, folded to FOLD workgroups in x. The rows are those up to the last
// that the last sample keeps; where samples follow each other without places between them, all that are kept. The last entry is that
// number itself, 1, 1.
// Good behind a selection, for kernels that run by indirect dispatch. Wrong where the caller knows the count: a plan then has the
// grid. Reads 4 bytes, writes 120.
#const COMPACT = false // samples follow each other
#import select
@group(0) @binding(5) var<storage, read> count: array<u32>;       // [samples]
@group(0) @binding(6) var<storage, read_write> grids: array<u32>; // [10, 3]
const FOLD = 32768u;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    if (lane >= 10u) { return; }
    let last = select_params.samples - 1u;
    var rows = count[select_params.count0 + last];
    if (COMPACT) {
        for (var i = 0u; i < last; i++) { rows += count[select_params.count0 + i]; }
    } else {
        rows += last * select_params.places;
    }
    let groups = (rows + (1u << lane) - 1u) >> lane;
    let at = select_params.grids0 + lane * 3u;
    let number = lane == 9u;
    grids[at] = select(min(groups, FOLD), rows, number);
    grids[at + 1u] = select(max((groups + FOLD - 1u) / FOLD, 1u), 1u, number);
    grids[at + 2u] = 1u;
}
