// adapter/merge: the weight that base and adapter make together, as numbers, a tile at a time.
//
//     y[n,k] = row_factor[n]·col_factor[k]·(w0[n,k] + delta[n,k])
//
// Base in any format, adapter of any kind (`slot/delta`), numbers out in any storage, all in f32 between.
// Good once, when an adapter is merged for long: what runs then costs nothing more. Wrong for adapters that change with the request
// (the live form reads the packed base), and for a base in few bits whose merge would be written in many: adapter/encode.
// Bytes: the base once, the result once, and the adapter once a tile, from cache. Where the base is of numbers as they are, 8 lanes
// load and store 64 to 128 bytes in one piece (TURNED); a lane of a packed base has its block, and each of its stores fills a part of a
// sector, which the cache puts together. To turn those too in workgroup memory was dropped on paper: it takes the 16 KiB that
// the adapter's tile has.
// Barriers and workgroup memory are those of the delta. Registers: the tile's 32·LANE_ROWS numbers once, as the delta becomes the
// weight in place, and a block of the base. With the two apart and loads behind branches an H100 had 168 registers a lane, three
// workgroups to a core, and a fifth of the bandwidth of a copy.
#import adapter
#slot y @binding(5) // [N, K]

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * adapter_params.fold;
    let across = adapter_across();
    let n = adapter_params.n0 + id / across * adapter_ROWS;
    if (n >= adapter_params.n1) { return; }
    let block0 = id % across * 8u;
    let v = adapter_tile(n, block0, lane);
    for (var j = 0u; j < LANE_ROWS; j++) {
        let row = adapter_row(n, lane, j);
        if (row >= adapter_params.n1) { continue; }
        let first = adapter_params.y0 + (row - adapter_params.first) * adapter_params.k;
        for (var i = 0u; i < 8u; i++) {
            let k = adapter_column(block0, lane, i);
            if (k < adapter_params.k) { y_store4(first + k, v[j * 8u + i], min(adapter_params.k - k, 4u)); }
        }
    }
}
