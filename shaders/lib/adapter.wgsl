// What the kernels of adapters share: params, the base weight, and the adapted numbers of a workgroup's tile.
//
//     w[n,k] = row_factor[n]·col_factor[k]·(w0[n,k] + delta[n,k])
//
// A tile is 8 blocks of 32 numbers along K, a lane each, by adapter_ROWS rows: LANE_COUNT / 8 teams of 8 lanes, with LANE_ROWS rows
// each. Lanes of a team decode neighbouring blocks of a row, so that they load neighbouring bytes; a team's rows lie a team apart.
#import weight
#import four
struct adapter_Params {
    w: weight_At,
    fold: u32,   // the grid's x
    n: u32,      // rows of the weight
    n0: u32,     // those of this dispatch begin here
    n1: u32,     // and end before this one
    k: u32,      // numbers in a row
    first: u32,  // the row at which the binding of y begins
    y0: u32,     // its first element there
    slices: u32, // of rows or columns; the sums of each are stored by themselves
    rank: u32,   // of the adapter
    wide: u32,   // numbers in a row of the blocks of MiSS; outputs of an MPO's cores but the first
    deep: u32,   // inputs of an MPO's cores but the first
    left: u32,   // inputs of its first core
    a0: u32,     // first elements of the adapter's tensors
    b0: u32,
    c0: u32,
    d0: u32,
    scale: f32,  // of the delta
    slice0: u32, // the first slice of this dispatch
    scales: u32, // scales in a row of the weight that is written
    pad0: u32,   // nothing
    into: weight_At, // the weight that is written
}
#const LANE_COUNT = 128u
#const LANE_ROWS = 1u // rows of a lane
#const TAIL = false   // K is not a multiple of 4
@group(0) @binding(0) var<uniform> adapter_params: adapter_Params;
#slot row_factor @binding(1) // [N]
#slot col_factor @binding(2) // [K]
#slot w @binding(6)          // [N, K]
#slot delta @binding(7)      // [the adapter's tensors]
const adapter_TEAMS = LANE_COUNT / 8u;
const adapter_ROWS = adapter_TEAMS * LANE_ROWS;

// Blocks of a row.
fn adapter_blocks() -> u32 {
    return (adapter_params.k + 31u) / 32u;
}

// Tiles side by side.
fn adapter_across() -> u32 {
    return (adapter_blocks() + 7u) / 8u;
}

// The row j of a lane, of the tile from row n on.
fn adapter_row(n: u32, lane: u32, j: u32) -> u32 {
    return n + j * adapter_TEAMS + lane / 8u;
}

// A block of the base weight, with what its side list adds.
fn adapter_base32(n: u32, block: u32) -> array<vec4<f32>, 8> {
    var v = w_load32(adapter_params.w, n, block);
    let range = w_side_range(adapter_params.w, n);
    for (var i = range.x; i < range.y; i += 2u) {
        let entry = w_side_entry(adapter_params.w, i);
        if (entry.x / 32u == block) { v = four_add32(v, entry.x % 32u, bitcast<f32>(entry.y)); }
    }
    return v;
}

// Which of the columns from k on there are.
fn adapter_inside(k: u32) -> vec4<bool> {
    return vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(adapter_params.k);
}

// The adapted numbers of a lane: of the block `lane % 8` of the tile from row n and block `block0` on, LANE_ROWS rows of 8 quads.
// What lies past the ends is 0. All lanes call it.
fn adapter_tile(n: u32, block0: u32, lane: u32) -> array<vec4<f32>, LANE_ROWS * 8u> {
    let delta = delta_tile(n, block0, lane);
    let block = block0 + lane % 8u;
    var v: array<vec4<f32>, LANE_ROWS * 8u>;
    if (block >= adapter_blocks()) { return v; }
    #unroll
    for (var j = 0u; j < LANE_ROWS; j++) {
        let row = adapter_row(n, lane, j);
        if (row < adapter_params.n1) {
            let base = adapter_base32(row, block);
            let factor = row_factor_load1(row);
            #unroll
            for (var i = 0u; i < 8u; i++) {
                let k = block * 32u + i * 4u;
                if (k < adapter_params.k) {
                    let numbers = (base[i] + delta[j * 8u + i]) * factor * col_factor_load4(k, min(adapter_params.k - k, 4u));
                    v[j * 8u + i] = numbers;
                    if (TAIL) { v[j * 8u + i] = select(vec4<f32>(), numbers, adapter_inside(k)); }
                }
            }
        }
    }
    return v;
}
