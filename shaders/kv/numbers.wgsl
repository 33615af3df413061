// kv/numbers: rows of a cache in any format as numbers. One lane decodes a block of 32 of a row.
// Good for looking, and for what needs numbers. Wrong before attention, which decodes for itself. Bytes: the rows once, the numbers once.
#import kv
struct numbers_Params {
    rows: kv_At,
    fold: u32,  // the grid's x
    row0: u32,  // the first row of this dispatch
    count: u32, // how many
    y0: u32,    // the first element of y in its binding
}
@group(0) @binding(0) var<uniform> numbers_params: numbers_Params;
#slot keys @binding(1) // [rows, width]
#slot y @binding(2)    // [count, width]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * numbers_params.fold) * 64u + lane;
    let blocks = kv_blocks(numbers_params.rows);
    let row = id / blocks;
    if (row >= numbers_params.count) { return; }
    let block = id % blocks;
    var v = keys_load32(numbers_params.rows, numbers_params.row0 + row, block);
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let at = block * 32u + i * 4u;
        let width = numbers_params.rows.width;
        if (at < width) { y_store4(numbers_params.y0 + row * width + at, v[i], min(width - at, 4u)); }
    }
}
