// linear/naive: one lane makes four neighbouring outputs of ROWS rows of x, by the formula.
//
// Runs everywhere, and is good on a software device: nothing waits for another lane. Wrong on a GPU: a lane walks
// whole rows of the weight by itself, so that neighbouring lanes read bytes that lie rows apart, and x is read again for every four
// outputs. Each weight is decoded ⌈M / ROWS⌉ times.
#import linear
#const ROWS = 1u

fn dots(m: u32, block: u32, w: array<vec4<f32>, 8>) -> f32 {
    var sum = 0.0;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let k = block * 32u + i * 4u;
        sum += dot(linear_x4(m, k), linear_keep4(w[i], k));
    }
    return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * linear_params.fold) * 64u + lane;
    let quads = (linear_params.n1 - linear_params.n0 + 3u) / 4u;
    let m0 = id / quads * ROWS;
    let n = linear_params.n0 + id % quads * 4u;
    if (m0 >= linear_params.m) { return; }
    let rows = linear_rows(n);

    var sums: array<vec4<f32>, ROWS>;
    var up_sums: array<vec4<f32>, ROWS>;
    let blocks = (linear_params.k + 31u) / 32u;
    for (var block = 0u; block < blocks; block++) {
        #unroll
        for (var j = 0u; j < 4u; j++) {
            let w = w_load32(linear_params.w, rows[j], block);
            #unroll
            for (var i = 0u; i < ROWS; i++) { sums[i][j] += dots(min(m0 + i, linear_params.m - 1u), block, w); }
            if (GATED) {
                let up = up_load32(linear_params.up, rows[j], block);
                #unroll
                for (var i = 0u; i < ROWS; i++) { up_sums[i][j] += dots(min(m0 + i, linear_params.m - 1u), block, up); }
            }
        }
    }
    #unroll
    for (var i = 0u; i < ROWS; i++) {
        linear_store4(m0 + i, n, sums[i] + linear_live4(m0 + i, n), up_sums[i] + linear_up_live4(m0 + i, n));
    }
}
