// norm/hypersphere_naive: y = l2n(x + alpha ⊙ (l2n(scaler ⊙ h) − x)), one invocation a row, by the formula.
//
// Good for reading, and as the second reference. Wrong for speed: see norm/naive. Reads h three times and x twice. No barriers.
#import hypersphere

fn scaled(row: u32, i: u32) -> f32 {
    return h_load1(hypersphere_params.h0 + row * hypersphere_params.len + i) * scaler_load1(hypersphere_params.scaler0 + i);
}

fn moved(row: u32, i: u32, factor: f32) -> f32 {
    let x = x_load1(hypersphere_params.x0 + row * hypersphere_params.len + i);
    return x + alpha_load1(hypersphere_params.alpha0 + i) * hypersphere_params.gain * (scaled(row, i) * factor - x);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (group.x + group.y * hypersphere_params.fold) * 64u + lane;
    if (row >= hypersphere_params.rows) { return; }
    // Blocks of 64 keep the digits that one long chain of additions would lose.
    var squares = 0.0;
    for (var block = 0u; block < hypersphere_params.len; block += 64u) {
        var partial = 0.0;
        for (var i = block; i < min(block + 64u, hypersphere_params.len); i++) {
            let v = scaled(row, i);
            partial += v * v;
        }
        squares += partial;
    }
    let inner = hypersphere_factor(squares);
    squares = 0.0;
    for (var block = 0u; block < hypersphere_params.len; block += 64u) {
        var partial = 0.0;
        for (var i = block; i < min(block + 64u, hypersphere_params.len); i++) {
            let v = moved(row, i, inner);
            partial += v * v;
        }
        squares += partial;
    }
    let outer = hypersphere_factor(squares);
    for (var i = 0u; i < hypersphere_params.len; i++) {
        y_store4(hypersphere_params.y0 + row * hypersphere_params.len + i, vec4<f32>(moved(row, i, inner) * outer), 1u);
    }
}
