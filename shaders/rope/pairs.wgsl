// rope/pairs: rotary position embedding; one lane turns four pairs, or copies eight numbers of a row's rest. The formula is in lib/rope.
//
// Good everywhere: x is read once and y written once, four numbers at a time where rows allow it, and neighbouring lanes reach neighbouring
// numbers. Wrong before attention: attention/prologue turns what it is writing anyway.
// Bytes: x, y, and cos and sin once for each token, if its heads are near enough in time that caches have them; heads of a token first are.
#import rope

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * rope_params.fold) * 64u + lane;
    let half = rope_params.half;
    let turning = (half + 3u) / 4u;
    let units = turning + (rope_params.d - 2u * half + 7u) / 8u;
    let row = id / units;
    if (row >= rope_params.rows) { return; }
    let unit = id % units;
    let x = rope_params.x0 + row * rope_params.d;
    let y = rope_params.y0 + row * rope_params.d;
    if (unit >= turning) {
        let i = 2u * half + (unit - turning) * 8u;
        y_store4(y + i, x_load4(x + i, min(rope_params.d - i, 4u)), min(rope_params.d - i, 4u));
        let j = i + 4u;
        if (j < rope_params.d) { y_store4(y + j, x_load4(x + j, min(rope_params.d - j, 4u)), min(rope_params.d - j, 4u)); }
        return;
    }
    let i = unit * 4u;
    let n = min(half - i, 4u);
    let table = rope_table(rope_params.row0 + row) + i;
    let c = cosines_load4(rope_params.cos0 + table, n);
    let s = sines_load4(rope_params.sin0 + table, n);
    if (INTERLEAVED) {
        let more = n > 2u;
        let n0 = min(2u * n, 4u);
        let n1 = 2u * n - n0;
        let p = x_load4(x + 2u * i, n0);
        var q = vec4<f32>();
        if (more) { q = x_load4(x + 2u * i + 4u, n1); }
        let a = vec4<f32>(p.xz, q.xz);
        let b = vec4<f32>(p.yw, q.yw);
        let u = a * c - b * s;
        let v = b * c + a * s;
        y_store4(y + 2u * i, vec4<f32>(u.x, v.x, u.y, v.y), n0);
        if (more) { y_store4(y + 2u * i + 4u, vec4<f32>(u.z, v.z, u.w, v.w), n1); }
        return;
    }
    let a = x_load4(x + i, n);
    let b = x_load4(x + half + i, n);
    y_store4(y + i, a * c - b * s, n);
    y_store4(y + half + i, b * c + a * s, n);
}
