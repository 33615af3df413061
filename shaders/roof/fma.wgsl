// roof/fma: a = a · scale + shift over and over, the roof of everything that computes in floats.
//
// 8 independent chains of vec4s a lane, all in registers, so that neither latency nor memory is in the way. The numbers come
// from params, so that nothing can be computed ahead, and the results are stored, so that nothing can be left out.
// Good as a measure of the multiply-add rate that plain WGSL reaches. Wrong as a measure of matrix units, which it does not use.
// Costs 64 FLOPs a lane and round, 16 bytes of traffic a lane in all, 32 registers (16 with f16), no barriers.
#import roof
#slot number
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>; // [count]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = roof_group(group) * 256u + lane;
    if (i >= roof_params.count) { return; }
    let scale = number_from(vec4<f32>(roof_params.scale));
    let shift = number_from(vec4<f32>(roof_params.shift));
    let start = number_from(vec4<f32>(0.0, 0.25, 0.5, 0.75) + f32(lane) / 256.0);
    var a = start;
    var b = start * scale;
    var c = start + shift;
    var d = start - shift;
    var e = start * shift;
    var f = start * start;
    var g = shift - start;
    var h = scale - start;
    for (var round = 0u; round < roof_params.rounds; round++) {
        a = fma(a, scale, shift);
        b = fma(b, scale, shift);
        c = fma(c, scale, shift);
        d = fma(d, scale, shift);
        e = fma(e, scale, shift);
        f = fma(f, scale, shift);
        g = fma(g, scale, shift);
        h = fma(h, scale, shift);
    }
    y[i] = vec4<f32>(((a + b) + (c + d)) + ((e + f) + (g + h)));
}
