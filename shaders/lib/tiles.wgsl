// What the kernels by tiles of numbers share: what a lane brings of them.
#import matmul

// Quad v of the tile's rows of x.
fn tiles_input4(origin: vec2<u32>, v: u32, block: u32) -> vec4<f32> {
    return linear_x4(min(origin.x + v / 8u, linear_params.m - 1u), block * 32u + v % 8u * 4u);
}

// A row of the tile's weights; past the last it is the last.
fn tiles_weights32(origin: vec2<u32>, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let last = min(row, COLS - 1u);
    var w = array<vec4<f32>, 8>();
    if (GATED && last >= matmul_HALF) {
        w = up_load32(linear_params.up, matmul_output(origin, last), block);
    } else {
        w = w_load32(linear_params.w, matmul_output(origin, last), block);
    }
    for (var i = 0u; i < 8u; i++) { w[i] = linear_keep4(w[i], block * 32u + i * 4u); }
    return w;
}
