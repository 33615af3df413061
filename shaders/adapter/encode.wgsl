// adapter/encode: the weight that base and adapter make together, rounded into any format that slot/into has, a tile at a time.
//
//     w[n,k] = encode(row_factor[n]·col_factor[k]·(w0[n,k] + delta[n,k]))
//
// As adapter/merge, but a lane's block of 32 becomes codes where it is, in registers: no matrix of numbers is written. What is stored is
// what encode/blocks makes of the f32 numbers of adapter/merge, bit for bit where a device computes those alike in both.
// Good where LANES adjacent lanes, up to the 8 of a team, have all numbers of a scale, and the scales of a row are whole words; and for K
// formats of two super-scales, the word of a team. Wrong for scales of longer runs (a row's) and for one super-scale, which is half a word:
// there parts of the merge are numbers for a while (src/ops/adapter/merge.rs).
// Bytes: the base once, the weight once. Barriers: those of the delta, one, and for LANES above 1 those of a reduction for each
// row of a lane. Workgroup memory: 512 bytes a row of the tile of one lane, 8 KiB of the adapter's, and the reduction's.
#import adapter
#import block
#const LANES = 1u // of a scale; a power of two, up to 8
#slot into @binding(5) // [N, K]
#slot reduce
const ALIKE = select(LANES, 1u, into_SUPER_BITS > 0u); // lanes whose scales are the same
const TILE_SCALES = 8u / ALIKE; // of a row
var<workgroup> tile_scales: array<vec2<u32>, adapter_ROWS * TILE_SCALES>;

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * adapter_params.fold;
    let at = adapter_params.into;
    let across = adapter_across();
    let n = adapter_params.n0 + id / across * adapter_ROWS;
    if (n >= adapter_params.n1) { return; }
    let block0 = id % across * 8u;
    let v = adapter_tile(n, block0, lane);
    let block = block0 + lane % 8u;
    #unroll
    for (var j = 0u; j < LANE_ROWS; j++) {
        var numbers = array<vec4<f32>, 8>();
        #unroll
        for (var i = 0u; i < 8u; i++) { numbers[i] = v[j * 8u + i]; }
        let range = into_range(numbers);
        let all = vec2<u32>(reduce_max(range.x, lane), reduce_max(range.y, lane));
        let grid = into_grid(all, numbers);
        if (lane % ALIKE == 0u) {
            tile_scales[(j * adapter_TEAMS + lane / 8u) * TILE_SCALES + lane % 8u / ALIKE] = into_scale(grid);
        }
        let row = adapter_row(n, lane, j);
        if (row < adapter_params.n1 && block < adapter_blocks()) {
            into_store32(at, row - at.row0, block, numbers, grid);
            if (into_SUPER_BITS > 0u && lane % 8u == 0u) {
                into_put(at.supers + (row - at.row0) * adapter_params.scales + block0 / 8u, into_super(all));
            }
        }
    }
    if (into_BITS == 0u) { return; }
    workgroupBarrier();
    let each = max(32u / max(into_BITS, 1u), 1u);     // scales to a word
    let words = max(into_BITS / 32u, 1u);             // words to a scale
    let of_row = max(TILE_SCALES * words / each, 1u); // words of a row of the tile
    let scale0 = block0 / ALIKE;                      // the tile's first scale of a row
    let scales = adapter_params.scales * (LANES / ALIKE);
    for (var i = lane; i < adapter_ROWS * of_row; i += LANE_COUNT) {
        let row = n + i / of_row;
        let scale = i % of_row * each / words;
        let first = i / of_row * TILE_SCALES + scale;
        var word = tile_scales[first][i % words];
        for (var s = 1u; s < each; s++) { word |= tile_scales[first + s].x << (s * into_BITS % 32u); }
        if (row < adapter_params.n1 && scale0 + scale < scales) {
            into_put(at.scales + ((row - at.row0) * scales + scale0) * words / each + i % of_row, word);
        }
    }
}
