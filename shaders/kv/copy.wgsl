// kv/copy: words of a buffer to another place in it, in two runs: the codes of rows of a cache, and their scales. WebGPU copies no buffer into itself.
// Good for pages of a cache that two sequences shared. Wrong between buffers, which a copy command copies. One lane a word. Bytes: each word once read and once written.
struct copy_Params {
    fold: u32,  // the grid's x
    a0: u32,    // the first run: where it is,
    a1: u32,    // where it goes,
    a: u32,     // its words
    b0: u32,    // the second
    b1: u32,
    b: u32,
    pad: u32,   // nothing
}
@group(0) @binding(0) var<uniform> copy_params: copy_Params;
@group(0) @binding(1) var<storage, read_write> words: array<u32>; // [words]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * copy_params.fold) * 64u + lane;
    if (id < copy_params.a) {
        words[copy_params.a1 + id] = words[copy_params.a0 + id];
    } else if (id - copy_params.a < copy_params.b) {
        words[copy_params.b1 + (id - copy_params.a)] = words[copy_params.b0 + (id - copy_params.a)];
    }
}
