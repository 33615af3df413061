// The delta of MiSS: scale·a[k % R, n % wide]; wide is N, or less in its mini form.
//
// A lane walks down a column of the block, 32 numbers from cache; no barriers, no workgroup memory.
#slot slot_a @binding(0) // [R, wide]

fn slot_tile(n: u32, block0: u32, lane: u32) -> array<vec4<f32>, LANE_ROWS * 8u> {
    var v: array<vec4<f32>, LANE_ROWS * 8u>;
    #unroll
    for (var j = 0u; j < LANE_ROWS; j++) {
        let column = adapter_params.a0 + adapter_row(n, lane, j) % adapter_params.wide;
        var row = (block0 + lane % 8u) * 32u % adapter_params.rank;
        #unroll
        for (var i = 0u; i < 32u; i++) {
            v[j * 8u + i / 4u][i % 4u] = adapter_params.scale * slot_a_load1(column + row * adapter_params.wide);
            row = select(row + 1u, 0u, row + 1u == adapter_params.rank);
        }
    }
    return v;
}
