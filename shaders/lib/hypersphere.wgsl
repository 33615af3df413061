// What both kernels of the hyperspherical step share: params and operands.
#import guarded
#slot x @binding(1)      // [rows, len]
#slot h @binding(2)      // [rows, len]
#slot alpha @binding(3)  // [len]
#slot scaler @binding(4) // [len]
#slot y @binding(5)      // [rows, len]

struct hypersphere_Params {
    fold: u32,
    rows: u32,
    len: u32,
    x0: u32,      // where each operand begins in its binding, in elements
    h0: u32,
    alpha0: u32,
    scaler0: u32,
    y0: u32,
    eps: f32,     // no norm is taken smaller
    gain: f32,    // alpha is multiplied by it (a scaler's init / scale)
}
@group(0) @binding(0) var<uniform> hypersphere_params: hypersphere_Params;

// 1 / max(norm, eps), where a NaN stays one.
fn hypersphere_factor(squares: f32) -> f32 {
    return guarded_inverse(sqrt(squares), hypersphere_params.eps);
}

// Where to load what stands at feature i or later: as norm_inside.
fn hypersphere_inside(i: u32) -> u32 {
    return min(i, (hypersphere_params.len - 1u) & ~3u);
}

fn hypersphere_within(i: u32) -> u32 {
    return min(hypersphere_params.len - i, 4u);
}
