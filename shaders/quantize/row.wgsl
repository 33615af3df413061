// quantize/row: codes and a scale for each row, a row in registers, one global read.
//
// LANES lanes share a row and each holds CHUNKS vec4s of it; ROWS rows share a workgroup, as in norm/row. The formula is in
// lib/quantize.
// Good for rows of up to 8,192 numbers. Wrong for longer rows, whose registers spill.
// Moves the least bytes possible: x once, a byte for each code, 4 a row for the scale and, where not symmetric, for the zero.
// Barriers: one reduction, two where not symmetric. Registers: 4·CHUNKS floats a lane.
#const LANES = 256u
#const ROWS = 1u
#const CHUNKS = 1u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#import quantize
#slot reduce

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * quantize_params.fold) * ROWS;
    if (first >= quantize_params.rows) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = ROWS == 1u || first + lane / LANES < quantize_params.rows;
    let row = min(first + lane / LANES, quantize_params.rows - 1u);
    let start = lane % LANES * 4u;

    // All loads stand before the first use, and in no branch.
    var v: array<vec4<f32>, CHUNKS>;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = quantize_inside(start + c * LANES * 4u);
        v[c] = quantize_x4(row, i, quantize_within(i));
    }
    var extent = vec2<u32>();
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = quantize_inside(start + c * LANES * 4u);
        extent = max(extent, quantize_extent(v[c], quantize_within(i)));
    }
    if (!SYMMETRIC) { extent.x = reduce_max(extent.x, lane); }
    extent.y = reduce_max(extent.y, lane);
    let scale = quantize_scale(extent);
    let zero = quantize_zero(extent, scale);
    if (live && lane % LANES == 0u) { quantize_keep(row, scale, zero); }
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        if (live && i < quantize_params.len) { quantize_store4(row, i, v[c], quantize_within(i), scale, zero); }
    }
}
