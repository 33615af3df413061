// What the kernels under roof/ share: their params, and the place of a lane in a folded grid.
struct roof_Params {
    fold: u32,   // the grid's x, to which long grids are folded
    count: u32,  // vec4s that are moved, or written by lanes that compute
    rounds: u32, // rounds of the loop, for the kernels that compute
    word: u32,   // what integers are multiplied by: four int8 numbers
    scale: f32,  // what floats are multiplied by
    shift: f32,  // what is added to them
}

@group(0) @binding(0) var<uniform> roof_params: roof_Params;

// The number of a workgroup in the grid.
fn roof_group(id: vec3<u32>) -> u32 {
    return id.x + id.y * roof_params.fold;
}
