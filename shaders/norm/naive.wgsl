// norm/naive: one invocation a row, by the formula: the first lesson, and the second reference.
//
// Good for reading, and for anything that no other kernel takes. Wrong for speed: lanes read far apart, a row is read up
// to five times, and a few rows leave the device idle. No barriers, no workgroup memory.
// Sums are taken over blocks of 64 numbers and then over the blocks: one long chain of additions would lose
// digits where a row has thousands.
#import norm
#slot stat
#slot stats @binding(8)  // [rows, 2]
#slot codes @binding(9)  // [rows]

// Feature i of a row as it stands before the norm, by itself in a vec4.
fn value(row: u32, i: u32) -> f32 {
    return norm_value4(row, i, 1u, false).x;
}

fn output(row: u32, i: u32, mean: f32, shift: f32, factor: f32) -> f32 {
    var v = vec4<f32>(value(row, i));
    if (stat_CENTER) { v = norm_about4(v, mean, shift); }
    return norm_affine4(v * factor, row, i, 1u).x;
}

// The sums of the deviations from `mean` and of their squares.
fn sums_about(row: u32, mean: f32) -> vec2<f32> {
    var sums = vec2<f32>();
    for (var block = 0u; block < norm_params.stat_len; block += 64u) {
        var partial = vec2<f32>();
        for (var i = block; i < min(block + 64u, norm_params.stat_len); i++) {
            let deviation = value(row, i) - mean;
            partial += vec2<f32>(deviation, deviation * deviation);
        }
        sums += partial;
    }
    return sums;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (group.x + group.y * norm_params.fold) * 64u + lane;
    if (row >= norm_params.rows) { return; }
    norm_take(row);

    if (RESIDUAL || rows_LISTED) {
        for (var i = 0u; i < norm_params.len; i++) { _ = norm_value4(row, i, 1u, true); }
    }
    var mean = 0.0;
    var shift = 0.0;
    var sums = sums_about(row, 0.0);
    if (stat_CENTER) {
        mean = sums.x / norm_params.count;
        sums = sums_about(row, mean);
        shift = sums.x / norm_params.count;
        sums.y = norm_squares(sums, shift);
    }
    let factor = stat_factor(sums.y, sums.x, norm_params.count, norm_params.eps);
    stats_store(row, mean + shift, factor);

    var scale = 1.0;
    if (codes_ON) {
        var magnitude = 0u;
        for (var i = 0u; i < norm_params.len; i++) {
            magnitude = max(magnitude, code_magnitude(vec4<f32>(output(row, i, mean, shift, factor)), 1u));
        }
        scale = norm_scale(magnitude);
        codes_store(row, scale);
    }
    for (var i = 0u; i < norm_params.len; i++) {
        var out = vec4<f32>(output(row, i, mean, shift, factor));
        if (codes_ON) { out = norm_codes(out, scale); }
        y_store4(norm_params.y0 + norm_at(row, i), out, 1u);
    }
}
