// What all norms share: their params, their operands, and the way from a stored element to a value and back.
//
//   value  = pre(x + residual)                     rounded to the storage of x where a residual is added
//   h      = (value − mean) · factor               mean and factor: the row's statistics (slot stat)
//   y      = h · (weight + weight_offset) + bias   by feature, or by channel where CHANNELS; and what stands AFTER
//
// A row is `len` numbers that are adjacent, or where STRIDED, `inner` apart. An operand that is absent is
// a filling without a binding (zero, one, none), which compilers fold away.
//
// Where rows are listed (slot rows), row r of the outputs is made of row list[r] of x and the residual, and the sum receives what was
// read even where nothing is added: tokens that a layer keeps are compacted by the norm that reads them. A number that is no row of
// x gives zeros, whatever the bias. A kernel then calls norm_take(row) before all else.
#const RESIDUAL = false         // a residual is added
#const AFTER = false            // it is added to y instead: the norm is of x alone (norms after a branch)
#const CAST_BEFORE_WEIGHT = false // h is rounded to the storage of x before the weight (Llama)
#const CHANNELS = false         // weight and bias by channel: feature i of a row belongs to channel (row % period)·stride + i / run
#const CHANNEL_QUADS = false    // run is a multiple of four, so that four features share a channel: one division, not four
#const PHI = false              // the weight is divided by sqrt(phi + eps) (PowerNorm, stored variances)
#const STRIDED = false          // rows along an axis that is not the last
#import code
#import guarded

struct norm_Params {
    fold: u32,      // the grid's x, to which long grids are folded
    rows: u32,      // rows of this dispatch
    row0: u32,      // the number of its first row in the tensor, modulo period
    len: u32,       // numbers in a row
    stat_len: u32,  // of which the first stat_len make the statistics
    inner: u32,     // distance of a row's neighbours
    period: u32,    // channels: see CHANNELS
    stride: u32,
    run: u32,
    slices: u32,    // slices of a row, for the kernels that split rows
    x0: u32,        // where each operand begins in its binding, in elements
    residual0: u32,
    weight0: u32,
    bias0: u32,
    phi0: u32,
    mean0: u32,
    y0: u32,
    sum0: u32,
    stats0: u32,
    scale0: u32,
    count: f32,     // stat_len
    eps: f32,
    weight_offset: f32,
    floor: f32,     // codes: the smallest largest magnitude; elementwise: what is added last
    pre0: vec4<u32>,
    pre_run: u32,   // pre: feature i of a row belongs to channel (row % period)·(len / pre_run) + i / pre_run
    pre_eps: f32,
    relu: u32,      // elementwise: negative values become zero
    list0: u32,     // where the list of rows begins
    x_rows: u32,    // rows of x, of which some are listed
    nothing: u32,   // 0, which no compiler knows: see norm_apart4
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> norm_params: norm_Params;
#slot x @binding(1)         // [rows, len]; [x_rows, len] where rows are listed
#slot residual @binding(2)  // [rows, len]; [x_rows, len] where rows are listed
#slot weight @binding(3)    // [len] or [channels]
#slot bias @binding(4)      // [len] or [channels]
#slot phi @binding(5)       // [len] or [channels]
#slot y @binding(6)         // [rows, len]
#slot sum @binding(7)       // [rows, len]
#slot rows @binding(16)     // [rows]
#slot pre @binding(10)      // [channels] each

// The row of x that this invocation reads, where rows are listed.
var<private> norm_from: u32;

fn norm_take(row: u32) {
    norm_from = rows_row(norm_params.list0 + row);
}

// Where feature i of a row is read. What is no row reads the last one, which norm_there forgets.
fn norm_read_at(row: u32, i: u32) -> u32 {
    if (rows_LISTED) { return min(norm_from, norm_params.x_rows - 1u) * norm_params.len + i; }
    return norm_at(row, i);
}

// These numbers of the row that is read; zeros of what is no row.
fn norm_there(v: vec4<f32>) -> vec4<f32> {
    if (rows_LISTED) { return select(vec4<f32>(), v, norm_from < norm_params.x_rows); }
    return v;
}

// The place of feature i of a row among the elements of a row-shaped operand.
fn norm_at(row: u32, i: u32) -> u32 {
    if (STRIDED) {
        let inner = norm_params.inner;
        return (row / inner * norm_params.len + i) * inner + row % inner;
    }
    return row * norm_params.len + i;
}

fn norm_channel(row: u32, i: u32) -> u32 {
    let last = min(i, norm_params.len - 1u);
    return (row + norm_params.row0) % norm_params.period * norm_params.stride + last / norm_params.run;
}

// The channels of the four features from i on.
fn norm_channel4(row: u32, i: u32) -> vec4<u32> {
    if (CHANNEL_QUADS) { return vec4<u32>(norm_channel(row, i)); }
    return vec4<u32>(norm_channel(row, i), norm_channel(row, i + 1u), norm_channel(row, i + 2u), norm_channel(row, i + 3u));
}

fn norm_pre_channel(row: u32, i: u32) -> u32 {
    let last = min(i, norm_params.len - 1u);
    return (row + norm_params.row0) % norm_params.period * (norm_params.len / norm_params.pre_run) + last / norm_params.pre_run;
}

// How many of the four features from i on are in the row.
fn norm_within(i: u32) -> u32 {
    return min(norm_params.len - i, 4u);
}

// Which of the four features from i on count for the statistics.
fn norm_counts(i: u32) -> vec4<bool> {
    return vec4<u32>(i, i + 1u, i + 2u, i + 3u) < vec4<u32>(norm_params.stat_len);
}

// Where to load what stands at feature i or later: the last four features stand for all that is past them, so that loads need
// no branch, and none waits for the one before. What they give counts for nothing (see norm_counts).
fn norm_inside(i: u32) -> u32 {
    return min(i, (norm_params.len - 1u) & ~3u);
}

// Four numbers of x from feature i on, of which the first n are real.
fn norm_x4(row: u32, i: u32, n: u32) -> vec4<f32> {
    return norm_there(x_load4(norm_params.x0 + norm_read_at(row, i), n));
}

fn norm_residual4(row: u32, i: u32, n: u32) -> vec4<f32> {
    return norm_there(residual_load4(norm_params.residual0 + norm_read_at(row, i), n));
}

// x + residual before it is rounded; x where none is added.
fn norm_sum4(x: vec4<f32>, residual: vec4<f32>) -> vec4<f32> {
    if (RESIDUAL) { return x + residual; }
    return x;
}

// Four values from four sums.
fn norm_of_sum4(sum: vec4<f32>, row: u32, i: u32) -> vec4<f32> {
    var v = sum;
    if (RESIDUAL) { v = x_round4(v); }
    return pre_apply(v, row, i);
}

// Stores four sums where they are wanted. Storing rounds as x_round4 does, so that compilers see one rounding.
fn norm_keep_sum4(sum: vec4<f32>, row: u32, i: u32, n: u32) {
    if (RESIDUAL || rows_LISTED) { sum_store4(norm_params.sum0 + norm_at(row, i), sum, n); }
}

// Four values from feature i on, of which the first n are real; also stores their sums where they are wanted and `live`.
fn norm_value4(row: u32, i: u32, n: u32, live: bool) -> vec4<f32> {
    let sum = norm_sum4(norm_x4(row, i, n), norm_residual4(row, i, n));
    if (live) { norm_keep_sum4(sum, row, i, n); }
    return norm_of_sum4(sum, row, i);
}

// Four outputs from four normalised values.
fn norm_affine4(normalised: vec4<f32>, row: u32, i: u32, n: u32) -> vec4<f32> {
    var h = normalised;
    if (CAST_BEFORE_WEIGHT) { h = x_round4(h); }
    var w: vec4<f32>;
    var b: vec4<f32>;
    var phi: vec4<f32>;
    if (CHANNELS) {
        let c = norm_channel4(row, i);
        let wc = c + norm_params.weight0;
        let bc = c + norm_params.bias0;
        let pc = c + norm_params.phi0;
        w = vec4<f32>(weight_load1(wc.x), weight_load1(wc.y), weight_load1(wc.z), weight_load1(wc.w));
        b = vec4<f32>(bias_load1(bc.x), bias_load1(bc.y), bias_load1(bc.z), bias_load1(bc.w));
        phi = vec4<f32>(phi_load1(pc.x), phi_load1(pc.y), phi_load1(pc.z), phi_load1(pc.w));
    } else {
        w = weight_load4(norm_params.weight0 + i, n);
        b = bias_load4(norm_params.bias0 + i, n);
        phi = phi_load4(norm_params.phi0 + i, n);
    }
    if (PHI) { w *= inverseSqrt(phi + norm_params.eps); }
    let y = norm_there(h * (w + norm_params.weight_offset) + b);
    if (AFTER) { return norm_residual4(row, i, n) + y; }
    return y;
}

// The scale of a row of codes, from its largest magnitude.
fn norm_scale(magnitude: u32) -> f32 {
    return bitcast<f32>(max(magnitude, bitcast<u32>(norm_params.floor))) / 127.0;
}

fn norm_codes(v: vec4<f32>, scale: f32) -> vec4<f32> {
    return code_round4(v, scale, 0.0, -128.0, 127.0);
}

// Four differences that are what they are, whatever is subtracted next. A compiler that may reorder sums, as Metal's may, would make
// v − (a + b) of (v − a) − b, and the second part of a mean would be lost: so they pass through whole numbers.
fn norm_apart4(v: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(v) | vec4<u32>(norm_params.nothing));
}

// Four deviations from a mean of two parts, what f32 has of it and what that leaves.
fn norm_about4(v: vec4<f32>, mean: f32, shift: f32) -> vec4<f32> {
    return norm_apart4(v - mean) - shift;
}

// Squares about the mean, from the sums of deviations and their squares about what is `shift` off it. Rounding may leave less than nothing.
fn norm_squares(sums: vec2<f32>, shift: f32) -> f32 {
    return guarded_positive(sums.y - sums.x * shift);
}

fn norm_add4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
