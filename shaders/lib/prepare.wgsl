// What the kernels that prepare weights share: their params.
struct prepare_Params {
    fold: u32,  // the grid's x, to which long grids are folded
    n: u32,     // rows of this dispatch
    k: u32,     // numbers in a row of w
    width: u32, // numbers in a row of y; of statistics, how far apart the four of them lie
    at1: u32,   // where the operand of each binding begins there, in elements
    at2: u32,
    at3: u32,
    at4: u32,
    at5: u32,
    at6: u32,
    at7: u32,
    at8: u32,
    each: u32,  // 1: a factor for each row; 0: one for all
    p0: f32,    // numbers of the op
    p1: f32,
    p2: f32,
    p3: f32,
    p4: f32,
}

@group(0) @binding(0) var<uniform> prepare_params: prepare_Params;

// Which of four numbers from i on are among the first `end`.
fn prepare_inside(i: u32, end: u32) -> vec4<bool> {
    return vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(end);
}
