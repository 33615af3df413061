// The delta of a matrix product operator of two cores: scale·Σ_r a[n0,k0,r]·b[r,n1,k1], where n = n0·wide + n1 and k = k0·deep + k1.
//
// More cores than two are contracted first (adapter/contract). Both come from cache, R numbers of each for one of the delta; neighbours
// along k share those of a. No barriers, no workgroup memory.
#slot slot_a @binding(0) // [N / wide, K / deep, R]
#slot slot_b @binding(1) // [R, wide, deep]

fn slot_tile(n: u32, block0: u32, lane: u32) -> array<vec4<f32>, LANE_ROWS * 8u> {
    var v: array<vec4<f32>, LANE_ROWS * 8u>;
    let k0 = (block0 + lane % 8u) * 32u;
    #unroll
    for (var j = 0u; j < LANE_ROWS; j++) {
        let row = min(adapter_row(n, lane, j), adapter_params.n1 - 1u);
        #unroll
        for (var i = 0u; i < 32u; i++) {
            let k = min(k0 + i, adapter_params.k - 1u);
            let at_a = adapter_params.a0 + (row / adapter_params.wide * adapter_params.left + k / adapter_params.deep) * adapter_params.rank;
            let at_b = adapter_params.b0 + row % adapter_params.wide * adapter_params.deep + k % adapter_params.deep;
            var sum = 0.0;
            for (var r = 0u; r < adapter_params.rank; r++) {
                sum += slot_a_load1(at_a + r) * slot_b_load1(at_b + r * adapter_params.wide * adapter_params.deep);
            }
            v[j * 8u + i / 4u][i % 4u] = adapter_params.scale * sum;
        }
    }
    return v;
}
