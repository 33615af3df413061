// The delta of BAT: in R×R blocks, p along N and q along K: w0_pq·a[p] + a[p]. That is, for row i of block p and column j of block q,
// Σ_t w0[n, q·R + t]·a[p,t,j] + a[p,i,j].
//
// It needs what else its row of the base has in the same R×R block, which a lane decodes once more: ⌈R/32⌉ + 1 blocks of 32 for one
// at most, from cache. For each of their numbers it goes through those of its own 32 that lie in the same R×R block, and loads
// their numbers of a from cache. No barriers, no workgroup memory.
#slot slot_a @binding(0) // [N / R, R, R]

// Four numbers of the block of row n; of columns past the end others.
fn slot_four(p: u32, row: u32, j: vec4<u32>) -> vec4<f32> {
    let at = vec4<u32>(adapter_params.a0 + (p * adapter_params.rank + row) * adapter_params.rank) + j;
    return vec4<f32>(slot_a_load1(at.x), slot_a_load1(at.y), slot_a_load1(at.z), slot_a_load1(at.w));
}

fn slot_tile(n: u32, block0: u32, lane: u32) -> array<vec4<f32>, LANE_ROWS * 8u> {
    var v: array<vec4<f32>, LANE_ROWS * 8u>;
    let rank = adapter_params.rank;
    let block = block0 + lane % 8u;
    if (block >= adapter_blocks()) { return v; }
    // Which R×R block each of the 32 columns is in, and where.
    var q: array<vec4<u32>, 8>;
    var col: array<vec4<u32>, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let k = vec4<u32>(block * 32u + i * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
        q[i] = k / vec4<u32>(rank);
        col[i] = k - q[i] * vec4<u32>(rank);
    }
    let other0 = q[0].x * rank / 32u;
    let to = min(((q[7].w + 1u) * rank + 31u) / 32u, adapter_blocks());
    #unroll
    for (var j = 0u; j < LANE_ROWS; j++) {
        let row = adapter_row(n, lane, j);
        if (row < adapter_params.n1) {
            let p = row / rank;
            #unroll
            for (var i = 0u; i < 8u; i++) { v[j * 8u + i] = slot_four(p, row % rank, col[i]); }
            for (var other = other0; other < to; other++) {
                let base = adapter_base32(row, other);
                for (var c = 0u; c < min(32u, adapter_params.k - other * 32u); c++) {
                    let k = other * 32u + c;
                    let q_of = k / rank;
                    var quad = base[0];
                    #unroll
                    for (var i = 1u; i < 8u; i++) { quad = select(quad, base[i], c / 4u == i); }
                    let number = four_at(quad, c % 4u);
                    #unroll
                    for (var i = 0u; i < 8u; i++) {
                        let same = q[i] == vec4<u32>(q_of);
                        if (any(same)) {
                            let term = number * slot_four(p, k - q_of * rank, col[i]);
                            v[j * 8u + i] += select(vec4<f32>(), term, same);
                        }
                    }
                }
            }
        }
    }
    return v;
}
