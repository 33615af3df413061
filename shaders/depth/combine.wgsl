// depth/combine: the rows of the kept tokens back to their places, gated, and those of the others passed on.
//
//   padding            y = x
//   skipped            y = g·x, or x where not SCALED
//   kept, no target    y = h + m
//   chosen             y = h + g·m, or where LAYER y = x + g·(h + m − x)
//
// Four numbers an invocation. A token finds its row by `place`, so that reads run along both x and the kept rows and every store
// is in the order of the tokens; a scatter from the kept rows would leave the skipped ones to a second dispatch.
// Good for any number of tokens, kept or not. Wrong where h and m may be added by the linear layer before it (residual and row_scale):
// then give the sum as h, and m is not read.
// Moves the least bytes possible: 8 a token, y, and of x, h and m only what the token needs.
#import token
#const LAYER = false   // the gate is on the whole layer
#const SCALED = true   // skipped tokens are multiplied by their gates
#const MLP = true      // m is there
#slot x @binding(1)    // [tokens, len]
#slot h @binding(2)    // [rows, len]
#slot m @binding(3)    // [rows, len]
#slot gate @binding(4) // [tokens]
@group(0) @binding(5) var<storage, read> place: array<u32>; // [tokens]
#slot y @binding(6)    // [tokens, len]

struct combine_Params {
    fold: u32,
    rows: u32,  // tokens of this dispatch
    len: u32,
    first: u32, // the kept rows that it has
    end: u32,
    rest: u32,  // it also stores the tokens that are not kept
    x0: u32,    // where each operand begins in its binding, in elements
    h0: u32,
    m0: u32,
    gate0: u32,
    place0: u32,
    y0: u32,
}
@group(0) @binding(0) var<uniform> params: combine_Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let quads = (params.len + 3u) / 4u;
    let id = (group.x + group.y * params.fold) * 256u + lane;
    let row = id / quads;
    if (row >= params.rows) { return; }
    let i = id % quads * 4u;
    let n = min(params.len - i, 4u);
    let word = place[params.place0 + row];
    let kind = word & 3u;
    let at = word >> 2u;
    let kept = kind >= token_OTHER;
    if (select(params.rest == 0u, at < params.first || at >= params.end, kept)) { return; }
    var y: vec4<f32>;
    // Kept tokens need x only where it is part of what the gate is on.
    if (!kept || (LAYER && kind == token_CHOSEN)) { y = x_load4(params.x0 + row * params.len + i, n); }
    if (kept) {
        let j = (at - params.first) * params.len + i;
        var h = h_load4(params.h0 + j, n);
        if (MLP) {
            let m = m_load4(params.m0 + j, n);
            if (!LAYER && kind == token_CHOSEN) { h += gate_load1(params.gate0 + row) * m; } else { h += m; }
        }
        if (LAYER && kind == token_CHOSEN) { y += gate_load1(params.gate0 + row) * (h - y); } else { y = h; }
    } else if (SCALED && kind == token_SKIPPED) {
        y *= gate_load1(params.gate0 + row);
    }
    y_store4(params.y0 + row * params.len + i, y, n);
}
