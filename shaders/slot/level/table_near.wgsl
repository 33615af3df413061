// A code is an entry of a table of 16 that stands in workgroup memory: 16 words in 16 banks, so that lanes that ask one bank ask for one word.
// For kernels whose lanes call begin. Of one row of x, linear/gemv compiles for RDNA3 to 800 vector operations a turn with NF4 and 14 loads,
// where the table in memory (slot/level/table) took 1,171 and 141 loads. An NVIDIA SM looks up 32 words a clock, and 3 TB/s bring it 27 codes.
// Dropped on paper: choosing among 16 constants by the bits of a code, 15 operations for each; a table of 256 for two codes at once, since
// 32 lanes that ask 32 banks at random ask one of them three or four times.
const slot_UNIT = 1.0;
var<workgroup> slot_levels: array<f32, 16>;

// Before a barrier, after which levels may be asked for.
fn slot_begin(at: weight_At, lane: u32) {
    if (lane < 16u) { slot_levels[lane] = bitcast<f32>(outer_word(at.table + lane)); }
}

fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    let q = (vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    return vec4<f32>(slot_levels[q.x], slot_levels[q.y], slot_levels[q.z], slot_levels[q.w]);
}
