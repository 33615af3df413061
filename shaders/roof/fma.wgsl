// roof/fma: a = a · scale + shift over and over, the roof of everything that computes in floats.
//
// 2 independent chains of vec4s a lane, 8 steps of each in a round, all in registers, so that neither latency nor memory nor
// the loop is in the way. The numbers come from params, so that nothing can be computed ahead, and the results are stored, so
// that nothing can be left out. (8 chains were tried: they spill on processors, which have 16 vector registers.)
// Good as a measure of the multiply-add rate that plain WGSL reaches. Wrong as a measure of matrix units: roof/matrix.
// Costs 128 FLOPs a lane and round, 16 bytes of traffic a lane in all, 8 registers (4 with f16), no barriers.
#import roof
#slot number
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>; // [count]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = roof_group(group) * 256u + lane;
    if (i >= roof_params.count) { return; }
    let scale = number_from(vec4<f32>(roof_params.scale));
    let shift = number_from(vec4<f32>(roof_params.shift));
    var a = number_from(vec4<f32>(0.0, 0.25, 0.5, 0.75) + f32(lane) / 256.0);
    var b = scale - a;
    for (var round = 0u; round < roof_params.rounds; round++) {
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
    }
    y[i] = vec4<f32>(a + b);
}
