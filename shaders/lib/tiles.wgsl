// What the kernels by tiles of numbers share: what a lane brings of them.
#import matmul

// Quad v of the tile's rows of x.
fn tiles_input4(origin: vec2<u32>, v: u32, block: u32) -> vec4<f32> {
    return linear_x4(min(origin.x + v / 8u, linear_params.m - 1u), block * 32u + v % 8u * 4u);
}

// Four inputs from k on of a row of the tile as they lie. Past the last row, and past the last input, they are something else that is there.
fn tiles_fetch4(origin: vec2<u32>, row: u32, k: u32) -> x_Quad {
    var at = k;
    var count = 4u;
    if (TAIL) {
        at = min(k, (linear_params.k - 1u) / 4u * 4u);
        count = min(linear_params.k - at, 4u);
    }
    return x_fetch4(linear_params.x0 + min(origin.x + row, linear_params.m - 1u) * linear_params.k + at, count);
}

// What they are: zeros past the last input.
fn tiles_decode4(origin: vec2<u32>, row: u32, k: u32, raw: x_Quad) -> vec4<f32> {
    var v = x_decode4(raw);
    if (live_w_COLS) { v *= live_w_cols4(linear_params.live, min(origin.x + row, linear_params.m - 1u), k); }
    return linear_keep4(v, k);
}

// 32 numbers of a row of the tile's weights as they lie. Past the last row it is the last.
struct tiles_Raw {
    w: w_Raw,
    up: up_Raw,
}

fn tiles_fetch32(origin: vec2<u32>, row: u32, block: u32) -> tiles_Raw {
    let last = min(row, COLS - 1u);
    let n = matmul_output(origin, last);
    var raw = tiles_Raw();
    if (GATED && last >= matmul_HALF) {
        raw.up = up_fetch32(linear_params.up, n, block);
    } else {
        raw.w = w_fetch32(linear_params.w, n, block);
    }
    return raw;
}

// What they are.
fn tiles_decode32(origin: vec2<u32>, row: u32, block: u32, raw: tiles_Raw) -> array<vec4<f32>, 8> {
    let last = min(row, COLS - 1u);
    let n = matmul_output(origin, last);
    var v = array<vec4<f32>, 8>();
    if (GATED && last >= matmul_HALF) {
        let opened = up_open32(linear_params.up, n, block, raw.up);
        #unroll
        for (var i = 0u; i < 8u; i++) { v[i] = up_number4(linear_params.up, n, block, opened, i); }
    } else {
        let opened = w_open32(linear_params.w, n, block, raw.w);
        #unroll
        for (var i = 0u; i < 8u; i++) { v[i] = w_number4(linear_params.w, n, block, opened, i); }
    }
    #unroll
    for (var i = 0u; i < 8u; i++) { v[i] = linear_keep4(v[i], block * 32u + i * 4u); }
    return v;
}
