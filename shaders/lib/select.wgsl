// What the kernels that choose tokens are told.
#import token

struct select_Params {
    fold: u32,      // the grid's x
    samples: u32,
    tokens: u32,    // of a sample
    places: u32,    // of a sample, for the tokens that it keeps
    tiles: u32,     // of a sample, for the kernels that divide it
    score0: u32,    // where each operand begins in its binding, in elements
    target0: u32,
    valid0: u32,
    keep0: u32,
    count0: u32,
    index0: u32,
    place0: u32,
    grids0: u32,
    k: u32,         // as many candidates are chosen
    ratio: f32,     // or this part of them
    threshold: u32, // or those whose key is greater
    starts0: u32,
    pad0: u32,      // nothing
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> select_params: select_Params;

// A key is found digit by digit, from the highest: 11, 11 and 10 bits.
const select_DIGITS = 3u;
const select_BINS = 2048u;
