// roof/copy: y = x, the roof of everything that moves bytes.
//
// Each lane moves CHUNKS vec4s that lie LANES apart, so that neighbouring lanes touch neighbouring 16 bytes; all loads stand
// before the first store and in no branch, so that they are in flight together.
// Good as a measure of what a kernel can move on this device. Wrong as a way to copy: the queue's own command needs no
// shader. Which shape is quickest differs by device, so several are measured and the best is the roof.
// Costs 32 bytes of traffic a vec4, no arithmetic, no barriers, CHUNKS·4 registers.
#const LANES = 256u
#const CHUNKS = 1u
#import roof
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>; // [count]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>; // [count]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = roof_group(group) * (LANES * CHUNKS) + lane;
    var v: array<vec4<u32>, CHUNKS>;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        v[c] = x[min(first + c * LANES, roof_params.count - 1u)];
    }
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = first + c * LANES;
        if (i < roof_params.count) { y[i] = v[c]; }
    }
}
