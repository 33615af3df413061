// encode/magnitudes: of the numbers of a matrix, what each workgroup's share has: the largest magnitude; and in the next dispatch (SUMS), the sum
// of magnitudes, as whole numbers of a step that follows from the largest of all. encode/mean makes a scale of these.
//
// A lane takes 8 quads a turn, a workgroup's neighbours between them; all loads of a turn are made before the first is used.
// Good for a scale that is a mean of all: whole numbers add up to the same in any order (lib/mean). Wrong for scales of fewer numbers, for which
// there are as many workgroups as scales: encode/signs.
// Moves the numbers once, each time; stores 12 bytes a workgroup, of which there are up to 256.
// Barriers: those of a reduction, or of two. Tried on paper: sums of f32 in a tree that the host repeats, for which no compiler may fuse or
// reorder; and a sum for each exponent, which needs no largest before it, and 2 KiB of atomics a workgroup.
#import encode
#import mean
#import total
#slot reduce
#const SUMS = false
@group(0) @binding(3) var<storage, read_write> shares: array<u32>; // [4 + 3 · shares]: nothing yet, the largest, the sums

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = encode_params;
    let count = (p.n1 - p.n0) * p.w.k;
    let quads = count / 4u; // there are whole ones: N is a multiple of 4
    let x0 = p.x0 + (p.n0 - p.first) * p.w.k;
    var unit = 0;
    if (SUMS) {
        var of_all = 0u;
        for (var i = lane; i < p.blocks; i += LANE_COUNT) { of_all = max(of_all, shares[4u + i]); }
        unit = mean_unit(reduce_max(of_all, lane));
    }
    var largest = 0u;
    var sum = vec2<u32>();
    for (var turn = 0u; turn < p.turns; turn++) {
        var v = array<vec4<f32>, 8>();
        #unroll
        for (var i = 0u; i < 8u; i++) {
            let at = ((turn * 8u + i) * p.blocks + group.x) * LANE_COUNT + lane;
            let there = min(at, quads - 1u) * 4u;
            v[i] = select(vec4<f32>(), x_load4(x0 + there, 4u), vec4<bool>(at < quads));
        }
        if (SUMS) {
            #unroll
            for (var i = 0u; i < 8u; i++) {
                sum = mean_plus4(sum, mean_whole4(bitcast<vec4<u32>>(v[i]) & vec4<u32>(0x7fffffffu), unit));
            }
        } else {
            largest = max(largest, block_magnitude(v));
        }
    }
    if (SUMS) {
        sum = total_of(sum, lane);
        if (lane < 2u) { shares[4u + p.blocks + group.x * 2u + lane] = select(sum.x, sum.y, lane == 1u); }
    } else {
        largest = reduce_max(largest, lane);
        if (lane == 0u) { shares[4u + group.x] = largest; }
    }
}
