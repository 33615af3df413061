// adapter/merge: the weight that base and adapter make together, a tile at a time.
//
//     w[n,k] = row_factor[n]·col_factor[k]·(w0[n,k] + delta[n,k])
//
// Base in any format, adapter of any kind (`slot/delta`), numbers out in any storage (`slot/store`), all in f32 between.
// Good once, when an adapter is merged for long: what runs then costs nothing more. Wrong for adapters that change with the request,
// and for a base in few bits whose merge would be written in many: the live form reads the packed base.
// Bytes: the base once, the result once, and the adapter once a tile, from cache. A lane stores its block by quads, 128 bytes from
// its neighbour's: each store fills a part of a line, which the cache puts together. To turn a tile in workgroup memory first was
// dropped on paper: it takes the 16 KiB that the adapter's tile has.
// Barriers, workgroup memory and registers are those of the delta.
#import adapter
#slot store @binding(5) // [N, K]

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
    for (var j = 0u; j < LANE_ROWS; j++) {
        let row = adapter_row(n, lane, j);
        if (row >= adapter_params.n1) { continue; }
        var numbers = array<vec4<f32>, 8>();
        for (var i = 0u; i < 8u; i++) { numbers[i] = v[j * 8u + i]; }
        store_block32(row, block, numbers);
    }
}
