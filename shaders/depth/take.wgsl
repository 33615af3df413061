// depth/take: listed rows, one after the other: y[r] = x[list[r]], and zeros where there is no such row.
//
// One lane a word, whatever the words are: neighbours read and write side by side. Good for positions and whatever else belongs to a
// token. Wrong for hidden states before a norm, which reads rows through the list itself and also writes them compacted (its sum).
// Moves the least bytes possible: each word once read and once written, and 4 bytes a row.
struct take_Params {
    fold: u32,   // the grid's x
    rows: u32,   // of y
    len: u32,    // words of a row
    x_rows: u32, // rows of x
    x0: u32,     // where each operand begins in its binding, in words
    list0: u32,
    y0: u32,
    pad: u32,
}
@group(0) @binding(0) var<uniform> take_params: take_Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;       // [x_rows, len]
@group(0) @binding(2) var<storage, read> list: array<u32>;    // [rows]
@group(0) @binding(3) var<storage, read_write> y: array<u32>; // [rows, len]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * take_params.fold) * 256u + lane;
    let row = id / take_params.len;
    if (row >= take_params.rows) { return; }
    let source = list[take_params.list0 + row];
    var word = 0u;
    if (source < take_params.x_rows) { word = x[take_params.x0 + source * take_params.len + id % take_params.len]; }
    y[take_params.y0 + id] = word;
}
