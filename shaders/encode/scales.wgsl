// encode/scales: the scale of every group of numbers of a matrix, wherever its numbers lie, for encode/codes.
//
// LANES lanes find the range of a scale's numbers: a team takes neighbours of a run together, and four runs at a time, all of whose loads are
// made before the first is used. Where a run is one number, as of groups along the outputs, neighbouring lanes have neighbouring scales.
// Good for blocks of rows and columns, groups along the outputs, groups that are not whole blocks of 32, and runs that go on over the ends of
// rows. Wrong for numbers that are neighbours in whole blocks of a row, which encode/blocks loads once.
// Moves the numbers once, by loads of 4 bytes that neighbouring lanes make side by side; stores the scales, and 16 bytes beside each for
// encode/codes. Barriers: those of two reductions, one. Tried on paper: a workgroup that finds a block's scale and codes it, which loads as much
// and wants another kernel for every way that numbers lie.
#import encode
#import keep
#slot into @binding(2) // [N, K]
#slot reduce
@group(0) @binding(3) var<storage, read_write> grids: array<vec4<u32>>; // [scales of this dispatch]

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = encode_params;
    let r = p.runs;
    let first = (group.x + group.y * p.fold) * encode_TEAMS;
    if (first >= r.count) { return; }
    let scale = min(first + lane / LANES, r.count - 1u);
    let numbers = encode_numbers(scale);
    var v = array<vec4<f32>, 8>();
    var range = vec2<u32>();
    for (var run = 0u; run < numbers.runs; run += 4u) {
        for (var i = lane % LANES; i < numbers.len; i += LANES) {
            // Of runs that there are not, the last again: that changes no range.
            let four = min(vec4<u32>(run) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(numbers.runs - 1u)) * r.apart + numbers.x0 + i;
            let loaded = vec4<f32>(x_load1(four.x), x_load1(four.y), x_load1(four.z), x_load1(four.w));
            #unroll
            for (var j = 0u; j < 8u; j++) { v[j] = loaded; }
            range = max(range, into_range(v));
        }
    }
    range = vec2<u32>(reduce_max(range.x, lane), reduce_max(range.y, lane));
    let grid = into_grid(range, v);
    if (lane % LANES == 0u && first + lane / LANES < r.count) { grids[scale] = into_words(grid); }
    keep_scales(p.w, r.scale0, first, r.count, lane, range, grid);
}
