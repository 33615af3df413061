// attention/naive: a workgroup makes 256 numbers of one row of y, by the formula: the second reference, and what runs everywhere.
//
//     y = Σ_j exp(logit_j − top)·v_j / Σ_j exp(logit_j − top), top the largest logit so far: where it grows, the sums shrink;
//                                                              0 where logits are bounded.
//
// 64 lanes take the logits of 64 keys, one each; then each lane adds what four columns of the values weigh. Every feature of
// lib/attention. Good for reading, for rows of any width, and where nothing else fits. Wrong for speed: a lane reads a whole key by
// itself, so that neighbours read bytes that lie a row apart, and queries that share keys read them again.
// Bytes: for each row, its keys ⌈E / 256⌉ times and its values once. Barriers: 2 for each 64 keys. Workgroup memory: 512 bytes.
#import attention
#slot q @binding(1)      // [B, H, L, D]
#slot keys @binding(2)   // [rows, D]
#slot values @binding(3) // [rows, E]
#slot y @binding(5)      // [B, H, L, E]
#slot lse @binding(6)    // [B, H, L]
var<workgroup> tile_logit: array<f32, 64>;
var<workgroup> tile_row: array<u32, 64>; // of the values; none where a key is not seen

fn product(row: u32, key: u32) -> f32 {
    let d = attention_params.keys.width;
    var sum = 0.0;
    for (var i = 0u; i < d; i += 4u) {
        sum += dot(q_load4(attention_params.q0 + row * d + i, min(d - i, 4u)), keys_load4(attention_params.keys, key, i));
    }
    return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * attention_params.fold;
    let e = attention_params.values.width;
    let slices = (e + 255u) / 256u;
    if (id >= attention_params.rows * slices) { return; }
    let row = attention_row_of(id / slices);
    let column = id % slices * 256u + lane * 4u;

    var top = attention_first_top();
    var sum = 0.0;
    var values = vec4<f32>();
    var wrong = false;
    let range = attention_range(row.b, row.keys, row.position, row.position);
    for (var first = range.x; first < range.y; first += 64u) {
        let j = first + lane;
        tile_row[lane] = attention_NONE;
        if (j < range.y) {
            let token = attention_token(row.b, j);
            if (attention_sees(row, j, token)) {
                let key = attention_key(row.b, row.g, token);
                tile_row[lane] = key;
                tile_logit[lane] = attention_logit(row, j, token, product(row.at, key));
            }
        }
        workgroupBarrier();
        if (!BOUNDED) {
            var next = top;
            for (var i = 0u; i < 64u; i++) {
                if (tile_row[i] != attention_NONE) {
                    let logit = tile_logit[i];
                    next = select(next, logit, logit > next);
                    wrong = wrong || attention_ordered(logit) >= attention_ENDLESS;
                }
            }
            let shrink = attention_exp(top - next);
            sum *= shrink;
            values *= shrink;
            top = next;
        }
        for (var i = 0u; i < 64u; i++) {
            if (tile_row[i] != attention_NONE) {
                var weight = 0.0;
                if (BOUNDED) {
                    weight = attention_weight(tile_logit[i]);
                    wrong = wrong || weight < 0.0;
                } else {
                    weight = attention_exp(tile_logit[i] - top);
                }
                sum += weight;
                if (column < e) { values += weight * values_load4(attention_params.values, tile_row[i], column); }
            }
        }
        workgroupBarrier(); // the tiles are free again
    }
    let finish = attention_finish(row, top, sum, wrong);
    if (column < e) { y_store4(attention_params.y0 + row.at * e + column, values * finish.x, min(e - column, 4u)); }
    if (id % slices == 0u && lane == 0u) { lse_store4(attention_params.lse0 + row.stat, vec4<f32>(finish.y), 1u); }
}
