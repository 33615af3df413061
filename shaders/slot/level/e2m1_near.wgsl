// A code is a float of 4 bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, which stand in workgroup memory, as in slot/level/table_near. By
// operations instead (slot/level/e2m1) a code takes six and no look-up: linear/gemv for one row compiles for RDNA3 to 850 vector operations
// a turn so, and 1,029 by operations, where codes of 4 bits that are whole numbers take 650.
const slot_UNIT = 1.0;
var<workgroup> slot_levels: array<f32, 16>;

// Before a barrier, after which levels may be asked for.
fn slot_begin(at: weight_At, lane: u32) {
    // 0, 1, 2, 3, 4, 6, 8, 12 by four bits each.
    if (lane < 16u) { slot_levels[lane] = f32((0xc8643210u >> (4u * (lane & 7u))) & 15u) * select(0.5, -0.5, lane >= 8u); }
}

fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    let q = (vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    return vec4<f32>(slot_levels[q.x], slot_levels[q.y], slot_levels[q.z], slot_levels[q.w]);
}
