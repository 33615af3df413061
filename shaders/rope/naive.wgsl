// rope/naive: rotary position embedding; one lane a number, by the formula of lib/rope: the first lesson, and the second reference.
// Good for reading. Wrong for speed: every number is read twice, and one at a time. Bytes: twice x, y, and four numbers of the tables
// for each pair.
#import rope

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * rope_params.fold) * 64u + lane;
    let row = id / rope_params.d;
    if (row >= rope_params.rows) { return; }
    let i = id % rope_params.d;
    let x = rope_params.x0 + row * rope_params.d;
    let half = rope_params.half;
    var v = x_load1(x + i);
    if (i < 2u * half) {
        let pair = select(i % half, i / 2u, INTERLEAVED);
        let first = select(i < half, i % 2u == 0u, INTERLEAVED);
        let distance = select(half, 1u, INTERLEAVED);
        let other = x_load1(x + select(i - distance, i + distance, first));
        let table = rope_table(rope_params.row0 + row) + pair;
        let turned = other * sines_load1(rope_params.sin0 + table);
        v = v * cosines_load1(rope_params.cos0 + table) + select(turned, -turned, first);
    }
    y_store4(rope_params.y0 + row * rope_params.d + i, vec4<f32>(v, 0.0, 0.0, 0.0), 1u);
}
