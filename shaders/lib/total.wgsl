// Sums of 64 bits over a workgroup, through workgroup memory, by halving.
// Costs log2(LANE_COUNT) + 2 barriers and 8 bytes of workgroup memory a lane.
#import encode
#import mean
var<workgroup> total_tile: array<vec2<u32>, LANE_COUNT>;

// Every lane gets the sum. All lanes call it.
fn total_of(v: vec2<u32>, lane: u32) -> vec2<u32> {
    total_tile[lane] = v;
    for (var half = LANE_COUNT / 2u; half > 0u; half >>= 1u) {
        workgroupBarrier();
        if (lane < half) { total_tile[lane] = mean_plus(total_tile[lane], total_tile[lane + half]); }
    }
    workgroupBarrier();
    let sum = total_tile[0];
    workgroupBarrier(); // the tile is free again
    return sum;
}
