// attention/prologue_naive: the QKV prologue, one lane a row, by the formula of lib/prologue: the first lesson, and the second reference.
//
// Good for reading, and for what no other kernel has. Wrong for speed: lanes read rows apart, a number is computed again wherever it is
// asked for, and each head takes the sums of a whole projection by itself. No barriers, no workgroup memory.
#import prologue
#const FULL = false // the norm is over a whole projection

// Number i of a row before the norm.
fn before(at: prologue_Row, i: u32) -> f32 {
    let v = prologue_x4(at, i, 1u).x;
    if (ROPE != 1u || !prologue_turns(at) || i >= 2u * prologue_params.half) { return v; }
    return prologue_turn1(v, prologue_x4(at, prologue_partner(i), 1u).x, i, prologue_table(at));
}

// Number i of a row after the norm.
fn normal(at: prologue_Row, i: u32, mean: f32, factor: f32) -> f32 {
    return prologue_normal4(at, vec4<f32>(before(at, i), 0.0, 0.0, 0.0), i, 1u, mean, factor).x;
}

// Number i of a row as it is stored.
fn after(at: prologue_Row, i: u32, mean: f32, factor: f32) -> f32 {
    let v = normal(at, i, mean, factor);
    if (ROPE != 2u || !prologue_turns(at) || i >= 2u * prologue_params.half) { return v; }
    return prologue_turn1(v, normal(at, prologue_partner(i), mean, factor), i, prologue_table(at));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * prologue_params.fold) * 64u + lane;
    if (id >= prologue_params.tokens * prologue_params.count) { return; }
    let at = prologue_row(id / prologue_params.count, prologue_params.first + id % prologue_params.count);

    var mean = 0.0;
    var factor = 1.0;
    if (prologue_norms(at)) {
        // The heads over which sums are taken.
        let all = FULL && at.kind != 2u;
        let begin = select(at.head, 0u, all);
        let to = select(at.head + 1u, select(prologue_params.groups, prologue_params.heads, at.kind == 0u), all);
        let count = f32((to - begin) * at.width);
        if (prologue_centers(at)) {
            var sum = 0.0;
            for (var head = begin; head < to; head++) {
                let other = prologue_Row(at.kind, head, at.token, at.b, at.l, at.width);
                for (var i = 0u; i < at.width; i++) { sum += before(other, i); }
            }
            mean = sum / count;
        }
        var squares = 0.0;
        for (var head = begin; head < to; head++) {
            let other = prologue_Row(at.kind, head, at.token, at.b, at.l, at.width);
            for (var i = 0u; i < at.width; i++) {
                let d = before(other, i) - mean;
                squares += d * d;
            }
        }
        factor = prologue_factor(at, squares, count);
    }
    var home = prologue_ABSENT;
    if (at.kind != 0u) { home = prologue_home(at); }
    for (var block = 0u; block * 32u < at.width; block++) {
        var v = array<vec4<f32>, 8>();
        #unroll
        for (var j = 0u; j < 8u; j++) {
            #unroll
            for (var i = 0u; i < 4u; i++) {
                let k = block * 32u + j * 4u + i;
                if (k < at.width) { v[j][i] = after(at, k, mean, factor); }
            }
        }
        if (prologue_codes(at)) { prologue_store32(at, home, block, v); }
        #unroll
        for (var j = 0u; j < 8u; j++) {
            let i = block * 32u + j * 4u;
            prologue_store4(at, home, i, v[j], prologue_within(at, i));
        }
    }
}
