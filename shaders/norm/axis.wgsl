// norm/axis: rows along an axis that is not the last, so that a row's numbers lie `inner` apart. No centring.
//
// A workgroup takes 32 neighbouring rows and walks down the axis with 8 lanes a row: neighbouring lanes load neighbouring
// numbers. Good for l2_norm over channels. Wrong where inner is 1, which is what norm/row is for; where inner is below 32
// some lanes idle.
// Reads x twice (three times with codes); the second read comes from cache as long as the 32 columns fit it.
// 1 barrier, 1 more with codes; 12 bytes of workgroup memory a lane.
const COLUMNS = 32u;
const DEPTH = 8u;
#import norm
#slot stat
#slot codes @binding(9)  // [rows]

var<workgroup> tile_sums: array<vec2<f32>, COLUMNS * DEPTH>;
var<workgroup> tile_max: array<u32, COLUMNS * DEPTH>;

@compute @workgroup_size(COLUMNS * DEPTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * norm_params.fold) * COLUMNS;
    if (first >= norm_params.rows) { return; }
    let column = lane % COLUMNS;
    let depth = lane / COLUMNS;
    let live = first + column < norm_params.rows;
    let row = min(first + column, norm_params.rows - 1u);

    var sums = vec2<f32>();
    for (var i = depth; i < norm_params.len; i += DEPTH) {
        let v = norm_value4(row, i, 1u, live).x;
        if (i < norm_params.stat_len) { sums += vec2<f32>(v, v * v); }
    }
    tile_sums[lane] = sums;
    workgroupBarrier();
    sums = tile_sums[column];
    for (var d = 1u; d < DEPTH; d++) { sums += tile_sums[column + d * COLUMNS]; }
    let factor = stat_factor(sums.y, sums.x, norm_params.count, norm_params.eps);

    var scale = 1.0;
    if (codes_ON) {
        var magnitude = 0u;
        for (var i = depth; i < norm_params.len; i += DEPTH) {
            let v = norm_affine4(vec4<f32>(norm_value4(row, i, 1u, false).x * factor), row, i, 1u);
            magnitude = max(magnitude, code_magnitude(v, 1u));
        }
        tile_max[lane] = magnitude;
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) { magnitude = max(magnitude, tile_max[column + d * COLUMNS]); }
        scale = norm_scale(magnitude);
        if (live && depth == 0u) { codes_store(row, scale); }
    }
    for (var i = depth; i < norm_params.len; i += DEPTH) {
        var v = norm_affine4(vec4<f32>(norm_value4(row, i, 1u, false).x * factor), row, i, 1u);
        if (codes_ON) { v = norm_codes(v, scale); }
        if (live) { y_store4(norm_params.y0 + norm_at(row, i), v, 1u); }
    }
}
