// linear/dequantize: a weight in any format as numbers. One lane decodes a block of 32 of a row, and adds what the side list has for it.
// Good for looking, and for what needs numbers. Wrong before a multiplication: kernels that multiply decode for themselves.
// Bytes: the weight once, the numbers once.
#import weight
#import four
struct dequantize_Params {
    w: weight_At,
    fold: u32, // the grid's x
    n0: u32,   // rows of this dispatch begin here
    n1: u32,   // and end before this one
    k: u32,    // numbers in a row
    first: u32, // the row at which the binding of y begins
    y0: u32,   // its first element there
    pad0: u32, // nothing
    pad1: u32, // nothing
}
@group(0) @binding(0) var<uniform> dequantize_params: dequantize_Params;
#slot y @binding(5) // [N, K]
#slot w @binding(6) // [N, K]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * dequantize_params.fold) * 64u + lane;
    let k = dequantize_params.k;
    let blocks = (k + 31u) / 32u;
    let n = dequantize_params.n0 + id / blocks;
    if (n >= dequantize_params.n1) { return; }
    let block = id % blocks;
    var v = w_load32(dequantize_params.w, n, block);
    let range = w_side_range(dequantize_params.w, n);
    for (var i = range.x; i < range.y; i += 2u) {
        let entry = w_side_entry(dequantize_params.w, i);
        if (entry.x / 32u == block) { v = four_add32(v, entry.x % 32u, bitcast<f32>(entry.y)); }
    }
    let row = dequantize_params.y0 + (n - dequantize_params.first) * k;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let at = block * 32u + i * 4u;
        if (at < k) { y_store4(row + at, v[i], min(k - at, 4u)); }
    }
}
