// The adapters of a weight in their pool, where each has the same room (src/adapters/mod.rs has the layout, and the Rust twin of this struct).
// An adapter begins with a quad of words: pairs of its ranks, flags, the scale's bits, and the R of a block that is repeated along K.
struct pool_At {
    base: u32,   // the pool's first quad (16 bytes) in its binding
    stride: u32, // quads of an adapter
    rows: u32,   // from its first quad on to its factors of rows
    cols: u32,   // to those of columns
    a: u32,      // to a
    b: u32,      // to b
    pairs: u32,  // pairs of ranks for which there is room
    terms: u32,  // the word at which the terms of the first row of x begin
}
const pool_HAS_ROWS = 1u; // flags: it has factors of rows
const pool_HAS_COLS = 2u; // and of columns

// Words of the terms of a row of x: where its adapter begins, pairs of ranks, flags, nothing, and then a term for each rank.
fn pool_terms(at: pool_At) -> u32 {
    return 4u + 2u * at.pairs;
}

// Eight inputs of rank r from k on of a block that is repeated along K, every so many inputs.
fn pool_repeated8(every: u32, r: u32, k: u32) -> array<vec4<f32>, 2> {
    var both = array<vec4<f32>, 2>();
    var rank = k % every;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        both[i / 4u][i % 4u] = select(0.0, 1.0, rank == r);
        rank = select(rank + 1u, 0u, rank + 1u == every);
    }
    return both;
}

// Slices of K of a term that is made in the dispatch that takes it (lib/make). For rank 16 the lanes of a team then have a slice and a pair of
// ranks each, and a workgroup that makes terms has as many bytes of a as one that makes sums has of the weight's 4 bits, or fewer.
const pool_SLICES = 8u;
