// Sums over LANES adjacent lanes: shuffles inside a subgroup, then one round through workgroup memory.
// The kernel defines LANES and SUBGROUP, powers of two, and LANE_COUNT, the lanes of the workgroup.
// SUBGROUP is the smallest size that the device may choose; that lanes lie in a subgroup in their order is what every
// device does with a one-dimensional workgroup, and what the dispatcher proves where the device has not promised it.
// Costs 2 barriers and 8 bytes of workgroup memory a subgroup; where LANES <= SUBGROUP, none.
enable subgroups;
const slot_SHARED = min(LANES, SUBGROUP); // lanes that sum by shuffles
const slot_PARTS = LANES / slot_SHARED;   // sums that are left of a row
var<workgroup> slot_tile: array<vec2<f32>, LANE_COUNT / slot_SHARED>;
var<workgroup> slot_tile_max: array<u32, LANE_COUNT / slot_SHARED>;

// Every lane of a row gets the row's sums.
fn slot_sum2(v: vec2<f32>, lane: u32) -> vec2<f32> {
    var sums = v;
    for (var mask = 1u; mask < slot_SHARED; mask <<= 1u) {
        sums += subgroupShuffleXor(sums, mask);
    }
    if (slot_PARTS == 1u) { return sums; }
    if (lane % slot_SHARED == 0u) { slot_tile[lane / slot_SHARED] = sums; }
    workgroupBarrier();
    let first = lane / LANES * slot_PARTS;
    sums = slot_tile[first];
    for (var part = 1u; part < slot_PARTS; part++) { sums += slot_tile[first + part]; }
    workgroupBarrier(); // the tile is free again
    return sums;
}

// Every lane of a row gets the row's largest number.
fn slot_max(v: u32, lane: u32) -> u32 {
    var largest = v;
    for (var mask = 1u; mask < slot_SHARED; mask <<= 1u) {
        largest = max(largest, subgroupShuffleXor(largest, mask));
    }
    if (slot_PARTS == 1u) { return largest; }
    if (lane % slot_SHARED == 0u) { slot_tile_max[lane / slot_SHARED] = largest; }
    workgroupBarrier();
    let first = lane / LANES * slot_PARTS;
    largest = slot_tile_max[first];
    for (var part = 1u; part < slot_PARTS; part++) { largest = max(largest, slot_tile_max[first + part]); }
    workgroupBarrier();
    return largest;
}
