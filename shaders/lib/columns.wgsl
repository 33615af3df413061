// How a workgroup shares columns of a matrix: 8 lanes beside each other read 32 columns of a row, and 32 teams of 8 walk down the rows.
// Sums over teams go through 4 KiB of workgroup memory each, by halving: 6 barriers, and one before the tile is used again.
const columns_LANES = 256u;
const columns_QUADS = 8u;
const columns_TEAMS = columns_LANES / columns_QUADS;
var<workgroup> columns_tile: array<vec4<f32>, columns_LANES>;
var<workgroup> columns_tile_max: array<vec4<u32>, columns_LANES>;

// Sums over teams: every lane gets those of its four columns.
fn columns_sum4(v: vec4<f32>, lane: u32) -> vec4<f32> {
    workgroupBarrier();
    columns_tile[lane] = v;
    for (var half = columns_LANES / 2u; half >= columns_QUADS; half >>= 1u) {
        workgroupBarrier();
        if (lane < half) { columns_tile[lane] += columns_tile[lane + half]; }
    }
    workgroupBarrier();
    return columns_tile[lane % columns_QUADS];
}

// The largest over teams, of bits.
fn columns_max4(v: vec4<u32>, lane: u32) -> vec4<u32> {
    workgroupBarrier();
    columns_tile_max[lane] = v;
    for (var half = columns_LANES / 2u; half >= columns_QUADS; half >>= 1u) {
        workgroupBarrier();
        if (lane < half) { columns_tile_max[lane] = max(columns_tile_max[lane], columns_tile_max[lane + half]); }
    }
    workgroupBarrier();
    return columns_tile_max[lane % columns_QUADS];
}
