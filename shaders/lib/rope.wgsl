// What the kernels of rope share: params, operands, and which row of the tables is whose.
//
//   (a, b) → (a·cos − b·sin, b·cos + a·sin)
//
// of the pairs (i, i + half) or, INTERLEAVED, (2i, 2i + 1) of a row of x, i below half; what comes after 2·half is copied.
#const INTERLEAVED = false
#const TOKENS_FIRST = false // x is [B, L, H, D], else [B, H, L, D]
#const POSITIONS = false    // positions say which row of the tables a token has

struct rope_Params {
    fold: u32,      // the grid's x
    row0: u32,      // the first row of this dispatch
    rows: u32,      // how many there are
    heads: u32,     // H
    tokens: u32,    // L
    d: u32,         // numbers in a row
    half: u32,      // pairs of a row that turn
    period: u32,    // tokens that have rows of their own in the tables, if there are no positions; else rows of the tables
    x0: u32,        // where each operand begins in its binding, in elements
    y0: u32,
    cos0: u32,
    sin0: u32,
    position0: u32,
    pad0: u32,      // nothing
    pad1: u32,      // nothing
    pad2: u32,      // nothing
}

@group(0) @binding(0) var<uniform> rope_params: rope_Params;
#slot x @binding(1)         // [rows, D]
#slot cosines @binding(2)       // [period, half]
#slot sines @binding(3)       // [period, half]
#slot positions @binding(4) // [B, L]
#slot y @binding(5)         // [rows, D]

// The first pair's place in the tables, of a row of x.
fn rope_table(row: u32) -> u32 {
    var token = row / rope_params.heads;
    if (!TOKENS_FIRST) { token = row / (rope_params.heads * rope_params.tokens) * rope_params.tokens + row % rope_params.tokens; }
    var at = token % rope_params.period;
    if (POSITIONS) {
        let position = bitcast<i32>(positions_word(rope_params.position0 + token));
        at = min(u32(max(position, 0)), rope_params.period - 1u);
    }
    return at * rope_params.half;
}
