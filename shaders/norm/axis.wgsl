// norm/axis: rows along an axis that is not the last, so that a row's numbers lie `inner` apart. No centring.
//
// A workgroup takes COLUMNS neighbouring rows and walks down the axis with 256 / COLUMNS lanes a row, eight numbers of each a turn:
// neighbouring lanes load neighbouring numbers, and eight loads are under way at a time. Good for l2_norm over channels. Wrong where inner
// is 1, which is what norm/row is for, and for a few rows of millions, which leave most of a device idle.
// Reads x twice (three times with codes); the second read comes from cache as long as the columns fit it.
// 1 barrier, 1 more with codes; 12 bytes of workgroup memory a lane.
// A sum has a 64th of a row's terms one after the other. With one number a turn and 8 lanes a row it had an eighth, and lavapipe, which ends
// a shader after 65,535 turns of its loops, left rows of 262,144 numbers half done.
#const COLUMNS = 32u // a power of two, 32 or less
const DEPTH = 256u / COLUMNS;
const TURN = DEPTH * 8u; // numbers of a row in a turn
#import norm
#slot stat
#slot codes @binding(9)  // [rows]

var<workgroup> tile_sums: array<vec2<f32>, COLUMNS * DEPTH>;
var<workgroup> tile_max: array<u32, COLUMNS * DEPTH>;

// Where four numbers stand, from i on; past the end of the row the last one again, so that loads need no branch.
fn places(i: u32) -> vec4<u32> {
    return min(vec4<u32>(i, i + DEPTH, i + DEPTH * 2u, i + DEPTH * 3u), vec4<u32>(norm_params.len - 1u));
}

// Which of them are there, below `end`.
fn there(i: u32, end: u32) -> vec4<bool> {
    return vec4<u32>(i, i + DEPTH, i + DEPTH * 2u, i + DEPTH * 3u) < vec4<u32>(end);
}

// Four numbers before the norm, and not rounded where a residual is added.
fn added4(row: u32, at: vec4<u32>) -> vec4<f32> {
    let x = vec4<f32>(norm_x4(row, at.x, 1u).x, norm_x4(row, at.y, 1u).x, norm_x4(row, at.z, 1u).x, norm_x4(row, at.w, 1u).x);
    let more = vec4<f32>(
        norm_residual4(row, at.x, 1u).x, norm_residual4(row, at.y, 1u).x, norm_residual4(row, at.z, 1u).x, norm_residual4(row, at.w, 1u).x);
    return norm_sum4(x, more);
}

fn outputs4(row: u32, i: u32, factor: f32) -> vec4<f32> {
    let at = places(i);
    let h = norm_of_sum4(added4(row, at), row, i) * factor;
    return vec4<f32>(
        norm_affine4(h.xxxx, row, at.x, 1u).x, norm_affine4(h.yyyy, row, at.y, 1u).x,
        norm_affine4(h.zzzz, row, at.z, 1u).x, norm_affine4(h.wwww, row, at.w, 1u).x);
}

// The sum of x and the residual, where it is wanted.
fn keep4(row: u32, i: u32, sum: vec4<f32>) {
    let at = places(i);
    let is_there = there(i, norm_params.len);
    if (is_there.x) { norm_keep_sum4(sum.xxxx, row, at.x, 1u); }
    if (is_there.y) { norm_keep_sum4(sum.yyyy, row, at.y, 1u); }
    if (is_there.z) { norm_keep_sum4(sum.zzzz, row, at.z, 1u); }
    if (is_there.w) { norm_keep_sum4(sum.wwww, row, at.w, 1u); }
}

fn store4(row: u32, i: u32, v: vec4<f32>) {
    let at = places(i);
    let is_there = there(i, norm_params.len);
    if (is_there.x) { y_store4(norm_params.y0 + norm_at(row, at.x), v.xxxx, 1u); }
    if (is_there.y) { y_store4(norm_params.y0 + norm_at(row, at.y), v.yyyy, 1u); }
    if (is_there.z) { y_store4(norm_params.y0 + norm_at(row, at.z), v.zzzz, 1u); }
    if (is_there.w) { y_store4(norm_params.y0 + norm_at(row, at.w), v.wwww, 1u); }
}

@compute @workgroup_size(COLUMNS * DEPTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * norm_params.fold) * COLUMNS;
    if (first >= norm_params.rows) { return; }
    let column = lane % COLUMNS;
    let depth = lane / COLUMNS;
    let live = first + column < norm_params.rows;
    let row = min(first + column, norm_params.rows - 1u);
    let half = DEPTH * 4u; // of a turn

    var total = vec4<f32>();
    var squares = vec4<f32>();
    for (var i = depth; i < norm_params.len; i += TURN) {
        let low = added4(row, places(i));
        let high = added4(row, places(i + half));
        if (live) {
            keep4(row, i, low);
            keep4(row, i + half, high);
        }
        let a = select(vec4<f32>(), norm_of_sum4(low, row, i), there(i, norm_params.stat_len));
        let b = select(vec4<f32>(), norm_of_sum4(high, row, i), there(i + half, norm_params.stat_len));
        total += a + b;
        squares += a * a + b * b;
    }
    tile_sums[lane] = vec2<f32>(norm_add4(total), norm_add4(squares));
    workgroupBarrier();
    var sums = tile_sums[column];
    for (var d = 1u; d < DEPTH; d++) { sums += tile_sums[column + d * COLUMNS]; }
    let factor = stat_factor(sums.y, sums.x, norm_params.count, norm_params.eps);

    var scale = 1.0;
    if (codes_ON) {
        var magnitude = 0u;
        for (var i = depth; i < norm_params.len; i += TURN) {
            let low = outputs4(row, i, factor);
            let high = outputs4(row, i + half, factor);
            // The last number again is no larger than itself.
            magnitude = max(magnitude, max(code_magnitude(low, 4u), code_magnitude(high, 4u)));
        }
        tile_max[lane] = magnitude;
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) { magnitude = max(magnitude, tile_max[column + d * COLUMNS]); }
        scale = norm_scale(magnitude);
        if (live && depth == 0u) { codes_store(row, scale); }
    }
    for (var i = depth; i < norm_params.len; i += TURN) {
        var low = outputs4(row, i, factor);
        var high = outputs4(row, i + half, factor);
        if (codes_ON) {
            low = norm_codes(low, scale);
            high = norm_codes(high, scale);
        }
        if (live) {
            store4(row, i, low);
            store4(row, i + half, high);
        }
    }
}
