// Where the kernels that find scales put them. Scales of 8 and 16 bits are put together in workgroup memory, so that every word is stored by
// one lane.
#import encode
const keep_ALIKE = select(LANES, 1u, into_SUPER_BITS > 0u); // lanes whose scales are the same
var<workgroup> keep_tile: array<vec2<u32>, LANE_COUNT / keep_ALIKE>;
var<workgroup> keep_tile_supers: array<u32, encode_TEAMS>;

// Stores the scales of a workgroup, and its super-scales: from number `first` on of the `count` of a dispatch, which begin at number `scale0` of
// the part. All lanes call it; those that share a scale have the same. The words of a workgroup are its own: rows of a dispatch begin at a
// multiple of 16.
fn keep_scales(at: weight_At, scale0: u32, first: u32, count: u32, lane: u32, range: vec2<u32>, grid: into_Grid) {
    if (into_BITS == 0u) { return; }
    const PER = LANES / keep_ALIKE; // scales of a team
    if (lane % keep_ALIKE == 0u) {
        let there = first * PER + lane / keep_ALIKE < count * PER;
        keep_tile[lane / keep_ALIKE] = select(vec2<u32>(), into_scale(grid), there);
    }
    if (into_SUPER_BITS > 0u && lane % LANES == 0u) {
        keep_tile_supers[lane / LANES] = select(0u, into_super(range), first + lane / LANES < count);
    }
    workgroupBarrier();
    let each = max(32u / max(into_BITS, 1u), 1u); // scales to a word
    let words = max(into_BITS / 32u, 1u);         // words to a scale
    let before = scale0 + first;
    for (var i = lane; i < encode_TEAMS * PER * words / each; i += LANE_COUNT) {
        var word = keep_tile[i * each / words][i % words];
        for (var s = 1u; s < each; s++) { word |= keep_tile[i * each + s].x << (s * into_BITS % 32u); }
        if (first * PER + i * each / words < count * PER) { into_put(at.scales + before * PER * words / each + i, word); }
    }
    if (into_SUPER_BITS == 0u) { return; }
    const OVER = 32u / max(into_SUPER_BITS, 1u); // super-scales to a word
    if (lane < encode_TEAMS / OVER && first + lane * OVER < count) {
        var word = keep_tile_supers[lane * OVER];
        if (OVER == 2u) { word |= keep_tile_supers[lane * OVER + 1u] << 16u; }
        into_put(at.supers + before / OVER + lane, word);
    }
}
