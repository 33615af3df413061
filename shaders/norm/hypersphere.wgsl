// norm/hypersphere: SimbaV2's LERP residual on the unit sphere, y = l2n(x + alpha ⊙ (l2n(scaler ⊙ h) − x)), in one dispatch.
//
// Both rows stay in registers (h becomes the value), so x and h are read once; the unfused way is three dispatches and seven
// passes over memory. LANES, ROWS, CHUNKS as in norm/row.
// Good for rows of up to 8,192 numbers. Wrong above, where registers spill: see norm/hypersphere_wide.
// Two reductions: 2 to 4 barriers.
#const LANES = 256u
#const ROWS = 1u
#const CHUNKS = 1u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#slot reduce
#import hypersphere

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x + group.y * hypersphere_params.fold) * ROWS;
    if (first >= hypersphere_params.rows) { return; }
    // Lanes past the last row repeat it and store nothing: barriers need them all.
    let live = first + lane / LANES < hypersphere_params.rows;
    let row = min(first + lane / LANES, hypersphere_params.rows - 1u);
    let start = lane % LANES * 4u;

    // As in norm/row: loads stand in no branch, and before their first use.
    var v: array<vec4<f32>, CHUNKS>;
    var x: array<vec4<f32>, CHUNKS>;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = hypersphere_inside(start + c * LANES * 4u);
        let n = hypersphere_within(i);
        v[c] = h_load4(hypersphere_params.h0 + row * hypersphere_params.len + i, n) * scaler_load4(hypersphere_params.scaler0 + i, n);
        x[c] = x_load4(hypersphere_params.x0 + row * hypersphere_params.len + i, n);
    }
    var squares = 0.0;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        squares += select(0.0, dot(v[c], v[c]), start + c * LANES * 4u < hypersphere_params.len);
    }
    var factor = hypersphere_factor(reduce_sum2(vec2<f32>(squares, 0.0), lane).x);
    squares = 0.0;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = hypersphere_inside(start + c * LANES * 4u);
        let alpha = alpha_load4(hypersphere_params.alpha0 + i, hypersphere_within(i)) * hypersphere_params.gain;
        v[c] = x[c] + alpha * (v[c] * factor - x[c]);
        squares += select(0.0, dot(v[c], v[c]), start + c * LANES * 4u < hypersphere_params.len);
    }
    factor = hypersphere_factor(reduce_sum2(vec2<f32>(squares, 0.0), lane).x);
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = start + c * LANES * 4u;
        if (live && i < hypersphere_params.len) {
            y_store4(hypersphere_params.y0 + row * hypersphere_params.len + i, v[c] * factor, hypersphere_within(i));
        }
    }
}
