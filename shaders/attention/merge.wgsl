// attention/merge: adds what attention/split made of the parts of the keys. One lane makes four numbers of a row of y.
//
//     top = max_s top_s,  y = Σ_s exp(top_s − top)·values_s / Σ_s exp(top_s − top)·sum_s, and the sink in the sum
//
// Good after attention/split, whose parts fill a device that the rows alone would not; wrong where one part holds all keys. Costs a second dispatch and reads
// (E + 4)·4 bytes a row and part; every lane reads the tops of its row again, which its neighbours have just read.
#import attention
#slot y @binding(5)   // [B, H, L, E]
#slot lse @binding(6) // [B, H, L]
@group(0) @binding(8) var<storage, read> parts: array<vec4<f32>>; // [rows, splits, ⌈E / 4⌉ + 1]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * attention_params.fold) * 64u + lane;
    let e = attention_params.values.width;
    let quads = (e + 3u) / 4u;
    if (id >= attention_params.rows * quads) { return; }
    let row = attention_row_of(id / quads);
    let column = id % quads;
    let from_part = row.at * attention_params.splits;
    let to_part = from_part + attention_params.splits;
    var top = attention_LOWEST;
    var wrong = false;
    for (var part = from_part; part < to_part; part++) {
        let stat = parts[part * (quads + 1u) + quads];
        if (stat.y > 0.0) { top = max(top, stat.x); }
        wrong = wrong || stat.z != 0.0;
    }
    var sum = 0.0;
    var v = vec4<f32>();
    for (var part = from_part; part < to_part; part++) {
        let stat = parts[part * (quads + 1u) + quads];
        if (stat.y > 0.0) {
            let factor = attention_exp(stat.x - top);
            sum += factor * stat.y;
            v += factor * parts[part * (quads + 1u) + column];
        }
    }
    let finish = attention_finish(row, top, sum, wrong);
    y_store4(attention_params.y0 + row.at * e + column * 4u, v * finish.x, min(e - column * 4u, 4u));
    if (column == 0u) { lse_store4(attention_params.lse0 + row.stat, vec4<f32>(finish.y), 1u); }
}
