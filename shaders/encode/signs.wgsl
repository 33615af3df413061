// encode/signs: the scales of a weight of sums of signed scales, for encode/codes.
//
// A workgroup has the numbers that share scales. A scale is the mean magnitude of what is left when those before it are taken: in whole steps of the
// largest (lib/mean), so that the order of the sum is all the same.
// Good for it alone. Wrong for scales that follow from a range: encode/scales; and for one scale of all numbers, which one workgroup would
// find: encode/magnitudes.
// Moves the numbers once, by loads of 4 bytes that neighbouring lanes make side by side, four to a lane before the first is used; the first loads come
// from memory, those for each scale from cache, where a workgroup's numbers are (8 columns of 4,096 rows in f32: 128 KiB). Stores the scales, and
// 16 bytes beside those of a workgroup.
// Barriers: those of a reduction, and of one more for each scale. Tried on paper: numbers that stay in workgroup memory, which holds 4,096.
#import encode
#import mean
#import total
#slot into @binding(2) // [N, K]
#slot reduce
@group(0) @binding(3) var<storage, read_write> grids: array<vec4<u32>>; // [runs of scales of this dispatch]

// The bits of four numbers of a scale, LANE_COUNT apart, and of those past the last the last.
fn bits4(numbers: encode_Numbers, first: u32) -> vec4<u32> {
    let i = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) * LANE_COUNT, vec4<u32>(numbers.len * numbers.runs - 1u));
    let at = i / numbers.len * encode_params.runs.apart + i % numbers.len + numbers.x0;
    return bitcast<vec4<u32>>(vec4<f32>(x_load1(at.x), x_load1(at.y), x_load1(at.z), x_load1(at.w)));
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = encode_params;
    let r = p.runs;
    let at = group.x + group.y * p.fold;
    if (at >= r.count) { return; }
    let numbers = encode_numbers(at);
    let count = numbers.len * numbers.runs;
    var largest = 0u;
    for (var i = lane; i < count; i += LANE_COUNT * 4u) {
        largest = max(largest, block_most(bits4(numbers, i) & vec4<u32>(0x7fffffffu)));
    }
    let unit = mean_unit(reduce_max(largest, lane));
    // Scales lie by columns, then rows.
    let first = p.w.scales + (at % r.per * p.w.scales_row + (r.scale0 + at) / r.per) * into_PLANES;
    var steps = array<i32, into_PLANES>();
    #unroll
    for (var plane = 0u; plane < into_PLANES; plane++) {
        var sum = vec2<u32>();
        for (var i = lane; i < count; i += LANE_COUNT * 4u) {
            let bits = bits4(numbers, i);
            let size = bitcast<vec4<i32>>(mean_whole4(bits & vec4<u32>(0x7fffffffu), unit));
            var left = select(size, vec4<i32>() - size, bitcast<vec4<i32>>(bits) < vec4<i32>());
            #unroll
            for (var b = 0u; b < into_PLANES; b++) {
                if (b < plane) { left -= select(vec4<i32>(-steps[b]), vec4<i32>(steps[b]), left >= vec4<i32>()); }
            }
            let there = vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u) * LANE_COUNT < vec4<u32>(count);
            let sizes = select(vec4<u32>(), bitcast<vec4<u32>>(abs(left)), there);
            // Each is up to 2^30, so that four are up to 2^32.
            sum = mean_plus4(mean_plus4(sum, vec4<u32>(sizes.xy, 0u, 0u)), vec4<u32>(sizes.zw, 0u, 0u));
        }
        let mean = u32(bitcast<f32>(mean_of(total_of(sum, lane), count)));
        steps[plane] = bitcast<i32>(mean);
        if (lane == 0u) { into_put(first + plane, mean_number(bitcast<u32>(f32(mean)), unit)); }
    }
    if (lane == 0u) { grids[at] = into_words(into_found(unit, first)); }
}
