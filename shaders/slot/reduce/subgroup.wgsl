// Sums over LANES adjacent lanes: shuffles inside a subgroup, then one round through workgroup memory and shuffles again.
// The kernel defines LANES and SUBGROUP, powers of two, and LANE_COUNT, the lanes of the workgroup.
// SUBGROUP is the smallest size that the device may choose; that lanes lie in a subgroup in their order is what every
// device does with a one-dimensional workgroup, and what the dispatcher proves where the device has not promised it.
// Costs 2 barriers and 8, 4 or 16 bytes of workgroup memory for SUBGROUP lanes, by what is summed; where LANES <= SUBGROUP no barrier, and no
// memory but for four sums: WGSL has no array of nothing, and matrices that lie behind must stay at a multiple of 16 bytes.
enable subgroups;
const slot_SHARED = min(LANES, SUBGROUP);        // lanes that sum by shuffles
const slot_PARTS = LANES / slot_SHARED;          // sums that are left of a row
const slot_AGAIN = min(slot_PARTS, slot_SHARED); // of which so many at a time sum by shuffles again
const slot_PLACES = max(LANE_COUNT / slot_SHARED * min(slot_PARTS - 1u, 1u), 4u); // for what is left of all rows
var<workgroup> slot_tile: array<vec2<f32>, slot_PLACES>;
var<workgroup> slot_tile_max: array<u32, slot_PLACES>;
var<workgroup> slot_tile4: array<vec4<f32>, slot_PLACES>;

// Sums over `size` adjacent lanes. Spelled out: drivers do not unroll a loop whose counter doubles, and a shuffle by a
// variable takes RADV some thirty instructions where one by a constant takes one.
fn slot_among2(v: vec2<f32>, size: u32) -> vec2<f32> {
    var sums = v;
    if (size > 1u) { sums += subgroupShuffleXor(sums, 1u); }
    if (size > 2u) { sums += subgroupShuffleXor(sums, 2u); }
    if (size > 4u) { sums += subgroupShuffleXor(sums, 4u); }
    if (size > 8u) { sums += subgroupShuffleXor(sums, 8u); }
    if (size > 16u) { sums += subgroupShuffleXor(sums, 16u); }
    if (size > 32u) { sums += subgroupShuffleXor(sums, 32u); }
    if (size > 64u) { sums += subgroupShuffleXor(sums, 64u); }
    return sums;
}

fn slot_max_among(v: u32, size: u32) -> u32 {
    var largest = v;
    if (size > 1u) { largest = max(largest, subgroupShuffleXor(largest, 1u)); }
    if (size > 2u) { largest = max(largest, subgroupShuffleXor(largest, 2u)); }
    if (size > 4u) { largest = max(largest, subgroupShuffleXor(largest, 4u)); }
    if (size > 8u) { largest = max(largest, subgroupShuffleXor(largest, 8u)); }
    if (size > 16u) { largest = max(largest, subgroupShuffleXor(largest, 16u)); }
    if (size > 32u) { largest = max(largest, subgroupShuffleXor(largest, 32u)); }
    if (size > 64u) { largest = max(largest, subgroupShuffleXor(largest, 64u)); }
    return largest;
}

// Every lane of a row gets the row's sums.
fn slot_sum2(v: vec2<f32>, lane: u32) -> vec2<f32> {
    var sums = slot_among2(v, slot_SHARED);
    if (slot_PARTS == 1u) { return sums; }
    if (lane % slot_SHARED == 0u) { slot_tile[lane / slot_SHARED] = sums; }
    workgroupBarrier();
    let first = lane / LANES * slot_PARTS + lane % slot_AGAIN;
    sums = slot_tile[first];
    for (var part = slot_AGAIN; part < slot_PARTS; part += slot_AGAIN) { sums += slot_tile[first + part]; }
    sums = slot_among2(sums, slot_AGAIN);
    workgroupBarrier(); // the tile is free again
    return sums;
}

// Every lane of a row gets the row's largest number.
fn slot_max(v: u32, lane: u32) -> u32 {
    var largest = slot_max_among(v, slot_SHARED);
    if (slot_PARTS == 1u) { return largest; }
    if (lane % slot_SHARED == 0u) { slot_tile_max[lane / slot_SHARED] = largest; }
    workgroupBarrier();
    let first = lane / LANES * slot_PARTS + lane % slot_AGAIN;
    largest = slot_tile_max[first];
    for (var part = slot_AGAIN; part < slot_PARTS; part += slot_AGAIN) { largest = max(largest, slot_tile_max[first + part]); }
    largest = slot_max_among(largest, slot_AGAIN);
    workgroupBarrier();
    return largest;
}

fn slot_among4(v: vec4<f32>, size: u32) -> vec4<f32> {
    var sums = v;
    if (size > 1u) { sums += subgroupShuffleXor(sums, 1u); }
    if (size > 2u) { sums += subgroupShuffleXor(sums, 2u); }
    if (size > 4u) { sums += subgroupShuffleXor(sums, 4u); }
    if (size > 8u) { sums += subgroupShuffleXor(sums, 8u); }
    if (size > 16u) { sums += subgroupShuffleXor(sums, 16u); }
    if (size > 32u) { sums += subgroupShuffleXor(sums, 32u); }
    if (size > 64u) { sums += subgroupShuffleXor(sums, 64u); }
    return sums;
}

// Every lane of a row gets the row's sums, of four numbers.
fn slot_sum4(v: vec4<f32>, lane: u32) -> vec4<f32> {
    var sums = slot_among4(v, slot_SHARED);
    if (slot_PARTS == 1u) { return sums; }
    if (lane % slot_SHARED == 0u) { slot_tile4[lane / slot_SHARED] = sums; }
    workgroupBarrier();
    let first = lane / LANES * slot_PARTS + lane % slot_AGAIN;
    sums = slot_tile4[first];
    for (var part = slot_AGAIN; part < slot_PARTS; part += slot_AGAIN) { sums += slot_tile4[first + part]; }
    sums = slot_among4(sums, slot_AGAIN);
    workgroupBarrier();
    return sums;
}
