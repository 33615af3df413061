// The delta of LoRA: scale·Σ_r b[n,r]·a[r,k].
//
// 8 ranks at a time lie in workgroup memory: of the tile's 256 columns of a, and of its rows of b. A lane loads a quad of a for all its
// rows, so that 16 bytes of workgroup memory serve 4·LANE_ROWS products. A quad's place is turned by its block, or 8 lanes
// would ask one bank at a time. A lane's loads are all made before the first is stored, and lie behind no branch.
// Barriers: 2 for 8 ranks. Workgroup memory: 8 KiB, and 32 bytes a row.
#slot slot_a @binding(0) // [R, K]
#slot slot_b @binding(1) // [N, R]
const slot_RANKS = 8u;
const slot_QUADS = slot_RANKS * 64u / LANE_COUNT;        // of a, those of a lane
const slot_EACH = slot_RANKS * adapter_ROWS / LANE_COUNT; // of b
var<workgroup> slot_tile_a: array<vec4<f32>, slot_RANKS * 64u>;
var<workgroup> slot_tile_b: array<f32, slot_RANKS * adapter_ROWS>;

fn slot_tile(n: u32, block0: u32, lane: u32) -> array<vec4<f32>, LANE_ROWS * 8u> {
    var sums: array<vec4<f32>, LANE_ROWS * 8u>;
    let last = adapter_params.rank - 1u;
    for (var r0 = 0u; r0 < adapter_params.rank; r0 += slot_RANKS) {
        var a = array<vec4<f32>, slot_QUADS>();
        var b = array<f32, slot_EACH>();
        for (var i = 0u; i < slot_QUADS; i++) {
            let v = i * LANE_COUNT + lane;
            let k = adapter_loaded(block0 * 32u + v % 64u * 4u);
            a[i] = slot_a_load4(adapter_params.a0 + min(r0 + v / 64u, last) * adapter_params.k + k, min(adapter_params.k - k, 4u));
        }
        for (var i = 0u; i < slot_EACH; i++) {
            let v = i * LANE_COUNT + lane;
            let row = min(n + v / slot_RANKS, adapter_params.n1 - 1u);
            b[i] = slot_b_load1(adapter_params.b0 + row * adapter_params.rank + min(r0 + v % slot_RANKS, last));
        }
        for (var i = 0u; i < slot_QUADS; i++) {
            let v = i * LANE_COUNT + lane;
            slot_tile_a[v / 8u * 8u + ((v + v / 8u) & 7u)] = select(vec4<f32>(), a[i], r0 + v / 64u <= last);
        }
        for (var i = 0u; i < slot_EACH; i++) {
            let v = i * LANE_COUNT + lane;
            slot_tile_b[v] = select(0.0, b[i], r0 + v % slot_RANKS <= last);
        }
        workgroupBarrier();
        for (var r = 0u; r < slot_RANKS; r++) {
            var factors = array<f32, LANE_ROWS>();
            for (var j = 0u; j < LANE_ROWS; j++) { factors[j] = slot_tile_b[(j * adapter_TEAMS + lane / 8u) * slot_RANKS + r]; }
            for (var i = 0u; i < 8u; i++) {
                let quad = adapter_column(0u, lane, i) / 4u;
                let a4 = slot_tile_a[r * 64u + quad / 8u * 8u + ((quad + quad / 8u) & 7u)];
                for (var j = 0u; j < LANE_ROWS; j++) { sums[j * 8u + i] += factors[j] * a4; }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < LANE_ROWS * 8u; i++) { sums[i] *= adapter_params.scale; }
    return sums;
}
