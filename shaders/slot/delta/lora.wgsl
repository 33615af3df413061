// The delta of LoRA: scale·Σ_r b[n,r]·a[r,k].
//
// 8 ranks at a time lie in workgroup memory: of the tile's 256 columns of a, and of its rows of b. A lane loads a quad of a for all its
// rows, so that 16 bytes of workgroup memory serve 4·LANE_ROWS products. A quad's place is turned by its block, or 8 lanes
// would ask one bank at a time. Barriers: 2 for 8 ranks. Workgroup memory: 8 KiB, and 32 bytes a row.
#slot slot_a @binding(0) // [R, K]
#slot slot_b @binding(1) // [N, R]
const slot_RANKS = 8u;
// Ranks and rows of a lane are constants, and indices of their own: what a bounds check does to the others is done once.
var<workgroup> slot_tile_a: array<array<vec4<f32>, 64>, slot_RANKS>;
var<workgroup> slot_tile_b: array<array<array<f32, slot_RANKS>, adapter_TEAMS>, LANE_ROWS>;

fn slot_tile(n: u32, block0: u32, lane: u32) -> array<vec4<f32>, LANE_ROWS * 8u> {
    var sums: array<vec4<f32>, LANE_ROWS * 8u>;
    let t = lane % 8u;
    for (var r0 = 0u; r0 < adapter_params.rank; r0 += slot_RANKS) {
        for (var v = lane; v < slot_RANKS * 64u; v += LANE_COUNT) {
            let r = r0 + v / 64u;
            let k = block0 * 32u + v % 64u * 4u;
            var a = vec4<f32>();
            if (r < adapter_params.rank && k < adapter_params.k) {
                a = slot_a_load4(adapter_params.a0 + r * adapter_params.k + k, min(adapter_params.k - k, 4u));
            }
            slot_tile_a[v / 64u][v % 64u / 8u * 8u + ((v + v / 8u) & 7u)] = a;
        }
        for (var v = lane; v < slot_RANKS * adapter_ROWS; v += LANE_COUNT) {
            let row = n + v / slot_RANKS;
            let r = r0 + v % slot_RANKS;
            var b = 0.0;
            if (r < adapter_params.rank && row < adapter_params.n1) {
                b = slot_b_load1(adapter_params.b0 + row * adapter_params.rank + r);
            }
            slot_tile_b[v / slot_RANKS / adapter_TEAMS][v / slot_RANKS % adapter_TEAMS][v % slot_RANKS] = b;
        }
        workgroupBarrier();
        #unroll
        for (var r = 0u; r < slot_RANKS; r++) {
            #unroll
            for (var i = 0u; i < 8u; i++) {
                let a = slot_tile_a[r][t * 8u + ((i + t) & 7u)];
                #unroll
                for (var j = 0u; j < LANE_ROWS; j++) {
                    sums[j * 8u + i] += slot_tile_b[j][lane / 8u][r] * a;
                }
            }
        }
        workgroupBarrier();
    }
    #unroll
    for (var i = 0u; i < LANE_ROWS * 8u; i++) { sums[i] *= adapter_params.scale; }
    return sums;
}
