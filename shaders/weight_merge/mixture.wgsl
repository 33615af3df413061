// weight_merge/mixture: the factors of XFT's weights: 1 of the shared one, softmax(a) of the others.
//
// One lane a factor; each walks all of `a`, which is in cache. Good for the experts of a layer. Wrong for a softmax of thousands.
// Reads 2 or 4 bytes for each expert and lane, writes 4.
#import guarded

struct mixture_Params {
    fold: u32,  // the grid's x
    count: u32, // factors: one more than there are numbers in a
    a0: u32,    // the first of them in its binding
    pad0: u32,  // nothing
}
@group(0) @binding(0) var<uniform> mixture_params: mixture_Params;
#slot a @binding(1) // [count - 1]
@group(0) @binding(2) var<storage, read_write> by: array<f32>; // [count]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + group.y * mixture_params.fold) * 64u + lane;
    if (i >= mixture_params.count) { return; }
    let a0 = mixture_params.a0;
    var largest = a_load1(a0);
    for (var j = 2u; j < mixture_params.count; j++) {
        let v = a_load1(a0 + j - 1u);
        largest = select(largest, v, v > largest);
    }
    var sum = 0.0;
    for (var j = 1u; j < mixture_params.count; j++) { sum += guarded_share(a_load1(a0 + j - 1u), largest); }
    by[i] = select(guarded_share(a_load1(a0 + max(i, 1u) - 1u), largest) / sum, 1.0, i == 0u);
}
