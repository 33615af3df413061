// Sums over LANES adjacent lanes through workgroup memory, by halving. Runs everywhere.
// The kernel defines LANES, a power of two, and LANE_COUNT, the lanes of the workgroup.
// Costs log2(LANES) + 2 barriers and 12 bytes of workgroup memory a lane (8 where no row is quantised); with LANES = 1 nothing.
var<workgroup> slot_tile: array<vec2<f32>, LANE_COUNT>;
var<workgroup> slot_tile_max: array<u32, LANE_COUNT>;
var<workgroup> slot_tile4: array<vec4<f32>, LANE_COUNT>;

// Every lane of a row gets the row's sums.
fn slot_sum2(v: vec2<f32>, lane: u32) -> vec2<f32> {
    if (LANES == 1u) { return v; }
    slot_tile[lane] = v;
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        workgroupBarrier();
        if (lane % LANES < half) { slot_tile[lane] += slot_tile[lane + half]; }
    }
    workgroupBarrier();
    let sums = slot_tile[lane - lane % LANES];
    workgroupBarrier(); // the tile is free again
    return sums;
}

// Every lane of a row gets the row's largest number.
fn slot_max(v: u32, lane: u32) -> u32 {
    if (LANES == 1u) { return v; }
    slot_tile_max[lane] = v;
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        workgroupBarrier();
        if (lane % LANES < half) { slot_tile_max[lane] = max(slot_tile_max[lane], slot_tile_max[lane + half]); }
    }
    workgroupBarrier();
    let largest = slot_tile_max[lane - lane % LANES];
    workgroupBarrier();
    return largest;
}

// Every lane of a row gets the row's sums, of four numbers.
fn slot_sum4(v: vec4<f32>, lane: u32) -> vec4<f32> {
    if (LANES == 1u) { return v; }
    slot_tile4[lane] = v;
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        workgroupBarrier();
        if (lane % LANES < half) { slot_tile4[lane] += slot_tile4[lane + half]; }
    }
    workgroupBarrier();
    let sums = slot_tile4[lane - lane % LANES];
    workgroupBarrier(); // the tile is free again
    return sums;
}
