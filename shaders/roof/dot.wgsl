// roof/dot: a = a + dot4I8Packed(a, word) over and over, the roof of integer dot products.
//
// 8 independent chains a lane. A chain feeds its own product, else the product would be taken once before the loop.
// Good as a measure of the DP4a rate. Devices without the instruction run a sequence of others in its place; then this
// is the rate of that sequence, and says that int8 kernels do not pay there. Wrong as a measure of matrix units.
// Costs 128 operations (2 dot products of 8 a chain) a lane and round, 16 bytes of traffic a lane in all.
#import roof
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>; // [count]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = roof_group(group) * 256u + lane;
    if (i >= roof_params.count) { return; }
    let word = roof_params.word;
    var a = i;
    var b = i + 0x01010101u;
    var c = i + 0x02020202u;
    var d = i + 0x03030303u;
    var e = i + 0x04040404u;
    var f = i + 0x05050505u;
    var g = i + 0x06060606u;
    var h = i + 0x07070707u;
    for (var round = 0u; round < roof_params.rounds; round++) {
        a += bitcast<u32>(dot4I8Packed(a, word));
        b += bitcast<u32>(dot4I8Packed(b, word));
        c += bitcast<u32>(dot4I8Packed(c, word));
        d += bitcast<u32>(dot4I8Packed(d, word));
        e += bitcast<u32>(dot4I8Packed(e, word));
        f += bitcast<u32>(dot4I8Packed(f, word));
        g += bitcast<u32>(dot4I8Packed(g, word));
        h += bitcast<u32>(dot4I8Packed(h, word));
        a += bitcast<u32>(dot4I8Packed(a, word));
        b += bitcast<u32>(dot4I8Packed(b, word));
        c += bitcast<u32>(dot4I8Packed(c, word));
        d += bitcast<u32>(dot4I8Packed(d, word));
        e += bitcast<u32>(dot4I8Packed(e, word));
        f += bitcast<u32>(dot4I8Packed(f, word));
        g += bitcast<u32>(dot4I8Packed(g, word));
        h += bitcast<u32>(dot4I8Packed(h, word));
    }
    y[i] = vec4<u32>(a ^ b, c ^ d, e ^ f, g ^ h);
}
