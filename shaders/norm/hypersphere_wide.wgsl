// norm/hypersphere_wide: y = l2n(x + alpha ⊙ (l2n(scaler ⊙ h) − x)) for rows of any length, a workgroup a row.
//
// Good for rows above 8,192 numbers, which norm/hypersphere cannot keep in registers. Wrong below: it reads h three times and x
// twice, from cache at best. Two reductions: 4 barriers, or 6 to 20 by the tree.
const LANES = 256u;
#const SUBGROUP = 4u
const LANE_COUNT = LANES;
#slot reduce
#import hypersphere

fn scaled(row: u32, i: u32, n: u32) -> vec4<f32> {
    return h_load4(hypersphere_params.h0 + row * hypersphere_params.len + i, n) * scaler_load4(hypersphere_params.scaler0 + i, n);
}

fn moved(row: u32, i: u32, n: u32, factor: f32) -> vec4<f32> {
    let x = x_load4(hypersphere_params.x0 + row * hypersphere_params.len + i, n);
    return x + alpha_load4(hypersphere_params.alpha0 + i, n) * hypersphere_params.gain * (scaled(row, i, n) * factor - x);
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * hypersphere_params.fold;
    if (row >= hypersphere_params.rows) { return; }
    let len = hypersphere_params.len;

    var squares = 0.0;
    for (var i = lane * 4u; i < len; i += LANES * 4u) {
        let v = scaled(row, i, min(len - i, 4u));
        squares += dot(v, v);
    }
    let inner = hypersphere_factor(reduce_sum2(vec2<f32>(squares, 0.0), lane).x);
    squares = 0.0;
    for (var i = lane * 4u; i < len; i += LANES * 4u) {
        let v = moved(row, i, min(len - i, 4u), inner);
        squares += dot(v, v);
    }
    let outer = hypersphere_factor(reduce_sum2(vec2<f32>(squares, 0.0), lane).x);
    for (var i = lane * 4u; i < len; i += LANES * 4u) {
        let n = min(len - i, 4u);
        y_store4(hypersphere_params.y0 + row * len + i, moved(row, i, n, inner) * outer, n);
    }
}
