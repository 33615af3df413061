// quantize/naive: one invocation a row, by the formula of lib/quantize: the first lesson, and the second reference.
//
// Good for reading. Wrong for speed: lanes read far apart, a row is read twice, a number at a time, and a few rows leave the
// device idle. No barriers, no workgroup memory.
#import quantize

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (group.x + group.y * quantize_params.fold) * 64u + lane;
    if (row >= quantize_params.rows) { return; }
    var extent = vec2<u32>();
    for (var i = 0u; i < quantize_params.len; i++) {
        extent = max(extent, quantize_extent(quantize_x4(row, i, 1u), 1u));
    }
    let scale = quantize_scale(extent);
    let zero = quantize_zero(extent, scale);
    quantize_keep(row, scale, zero);
    for (var i = 0u; i < quantize_params.len; i++) {
        quantize_store4(row, i, quantize_x4(row, i, 1u), 1u, scale, zero);
    }
}
