// encode/mean: the scale of a weight that has one, which follows from the mean of all magnitudes, for encode/codes.
//
// One workgroup adds what encode/magnitudes left of each share.
// Good where it is the only one; wrong for scales of some of the numbers: encode/signs.
// Moves 12 bytes a share, up to 256 of them; it costs a dispatch. Barriers: those of two reductions, one.
// Tried on paper: encode/codes adds the shares itself, and saves the dispatch, but then it is another kernel than that of all other formats.
#import encode
#import keep
#import mean
#import total
#slot into @binding(2) // [N, K]
#slot reduce
@group(0) @binding(3) var<storage, read_write> shares: array<u32>; // [4 + 3 · shares]: what makes codes, the largest, the sums

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(local_invocation_index) lane: u32) {
    let p = encode_params;
    var largest = 0u;
    var sum = vec2<u32>();
    for (var i = lane; i < p.blocks; i += LANE_COUNT) {
        largest = max(largest, shares[4u + i]);
        let at = 4u + p.blocks + i * 2u;
        sum = mean_plus(sum, vec2<u32>(shares[at], shares[at + 1u]));
    }
    let unit = mean_unit(reduce_max(largest, lane));
    let steps = mean_of(total_of(sum, lane), (p.n1 - p.n0) * p.w.k);
    let range = vec2<u32>(mean_number(steps, unit), 0u);
    let grid = into_grid(range, array<vec4<f32>, 8>());
    let words = into_words(grid);
    if (lane == 0u) {
        #unroll
        for (var i = 0u; i < 4u; i++) { shares[i] = words[i]; }
    }
    keep_scales(p.w, 0u, 0u, 1u, lane, range, grid);
}
