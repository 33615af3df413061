// quantize/again: codes and a scale for each row, by a workgroup that reads the row twice: quantize/row without registers.
//
// LANES lanes share a row and walk along it, once for its extent and once for its codes; ROWS rows share a workgroup. The
// formula is in lib/quantize.
// Good for rows that are too long for registers, and on software devices that have none, where the second read comes from the
// nearest cache. Wrong on GPUs for shorter rows, which quantize/row reads once, and where a few huge rows leave most of a
// device idle.
// Reads x twice, writes a byte for each code and 4 a row for the scale and, where not symmetric, for the zero. Barriers: one
// reduction, two where not symmetric; none where LANES <= SUBGROUP.
#const LANES = 8u
#const ROWS = 4u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#import quantize
#slot reduce

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * quantize_params.fold) * ROWS;
    if (first >= quantize_params.rows) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = first + lane / LANES < quantize_params.rows;
    let row = min(first + lane / LANES, quantize_params.rows - 1u);
    let start = lane % LANES * 4u;
    let stride = LANES * 4u;

    var extent = vec2<u32>();
    for (var i = start; i < quantize_params.len; i += stride) {
        let n = quantize_within(i);
        extent = max(extent, quantize_extent(quantize_x4(row, i, n), n));
    }
    if (!SYMMETRIC) { extent.x = reduce_max(extent.x, lane); }
    extent.y = reduce_max(extent.y, lane);
    let scale = quantize_scale(extent);
    let zero = quantize_zero(extent, scale);
    if (!live) { return; }
    if (lane % LANES == 0u) { quantize_keep(row, scale, zero); }
    for (var i = start; i < quantize_params.len; i += stride) {
        let n = quantize_within(i);
        quantize_store4(row, i, quantize_x4(row, i, n), n, scale, zero);
    }
}
