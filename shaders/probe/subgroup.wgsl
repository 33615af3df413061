// probe/subgroup: what slot/reduce takes for granted, shown by doing it.
//
//   sums[lane] = (Σ low, Σ high, max x) over the LANES lanes of its row, x a number that differs from lane to lane,
//   low and high its halves.
//
// Good for the dispatcher, before it believes in the subgroups of a device that has not promised them: a lane that is not where
// the filling looks for it makes a sum wrong, and every lane of many workgroups stores what it got. Sums of 256 halves are
// exact in f32. Wrong for anything else. Costs two reductions, and 16 bytes a lane.
#const LANES = 256u
#const ROWS = 1u
#const SUBGROUP = 4u
const LANE_COUNT = LANES * ROWS;
#slot reduce

struct probe_Params {
    seed: u32,
}
@group(0) @binding(0) var<uniform> probe_params: probe_Params;
@group(0) @binding(1) var<storage, read_write> probe_sums: array<vec4<u32>>; // [workgroups, LANE_COUNT]

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * LANE_COUNT + lane;
    let x = ((at + 1u) * 0x9e3779b1u) ^ probe_params.seed;
    let sums = reduce_sum2(vec2<f32>(f32(x & 0xffffu), f32(x >> 16u)), lane);
    let largest = reduce_max(x, lane);
    probe_sums[at] = vec4<u32>(u32(sums.x), u32(sums.y), largest, 0u);
}
