// adapter/merge: the weight that base and adapter make together, as numbers, a tile at a time.
//
//     y[n,k] = row_factor[n]·col_factor[k]·(w0[n,k] + delta[n,k])
//
// Base in any format, adapter of any kind (`slot/delta`), numbers out in any storage, all in f32 between.
// Good once, when an adapter is merged for long: what runs then costs nothing more. Wrong for adapters that change with the request
// (the live form reads the packed base), and for a base in few bits whose merge would be written in many: adapter/encode.
// Bytes: the base once, the result once, and the adapter once a tile, from cache. A lane stores its block by quads, 128 bytes from
// its neighbour's: each store fills a part of a line, which the cache puts together. To turn a tile in workgroup memory first was
// dropped on paper: it takes the 16 KiB that the adapter's tile has.
// Barriers, workgroup memory and registers are those of the delta.
// Tried, and slower: 8 lanes to a piece of a row, loads from clamped places with no branch, and the delta made the weight in place. An NVIDIA
// H100 took 409 µs to merge a LoRA of rank 16 into 4096 × 4096 numbers from Q4_0, where these loops had taken 86; reading f16 as such came in
// between, and has not been timed by itself.
#import adapter
#slot y @binding(5) // [N, K]

// Stores a block of a row.
fn store32(n: u32, block: u32, v: array<vec4<f32>, 8>) {
    var numbers = v;
    let row = adapter_params.y0 + (n - adapter_params.first) * adapter_params.k;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let k = block * 32u + i * 4u;
        if (k < adapter_params.k) { y_store4(row + k, numbers[i], min(adapter_params.k - k, 4u)); }
    }
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * adapter_params.fold;
    let across = adapter_across();
    let n = adapter_params.n0 + id / across * adapter_ROWS;
    if (n >= adapter_params.n1) { return; }
    let block0 = id % across * 8u;
    let v = adapter_tile(n, block0, lane);
    let block = block0 + lane % 8u;
    if (block >= adapter_blocks()) { return; }
    #unroll
    for (var j = 0u; j < LANE_ROWS; j++) {
        let row = adapter_row(n, lane, j);
        if (row < adapter_params.n1) {
            var numbers = array<vec4<f32>, 8>();
            #unroll
            for (var i = 0u; i < 8u; i++) { numbers[i] = v[j * 8u + i]; }
            store32(row, block, numbers);
        }
    }
}
