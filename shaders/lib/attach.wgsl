// What the kernel that attaches an adapter is told.
#import pool
#import sums
struct attach_Params {
    pool: pool_At,
    fold: u32,   // the grid's x
    first: u32,  // the adapter's first quad in the binding of the pool
    n: u32,      // rows of the weight
    k: u32,      // numbers in a row
    rank: u32,   // R of the adapter's tensors
    ranks: u32,  // ranks that are stored
    flags: u32,  // which factors it has
    every: u32,  // R of a block that is repeated along K, else 0
    wide: u32,   // numbers in a row of that block
    scale: f32,  // of the delta
    a0: u32,     // first elements of the adapter's tensors
    b0: u32,
    c0: u32,
    d0: u32,
    pad0: u32,   // nothing
    pad1: u32,   // nothing
    sums: sums_At, // of the factors that are made here; else of none
}
@group(0) @binding(0) var<uniform> attach_params: attach_Params;
