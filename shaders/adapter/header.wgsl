// adapter/header: another scale for an adapter of a pool, or none there any more.
//
// One word changes, in the order of the queue, so that what runs before it still sees the last scale. Good between two requests. Wrong for
// an adapter with magnitudes, whose norms have the scale in them: it is attached anew.
// Bytes: 16.
struct header_Params {
    first: u32, // the adapter's first quad in the binding of the pool
    keep: u32,  // 1: with this scale, 0: it is none
    scale: f32, // of the delta
    fold: u32,  // the grid's x, which is 1
}
@group(0) @binding(0) var<uniform> header_params: header_Params;
@group(0) @binding(1) var<storage, read_write> pool: array<vec4<u32>>; // [adapters, quads of one]

@compute @workgroup_size(1)
fn main() {
    let was = pool[header_params.first];
    let now = vec4<u32>(was.x, was.y, bitcast<u32>(header_params.scale), was.w);
    pool[header_params.first] = select(vec4<u32>(), now, header_params.keep == 1u);
}
