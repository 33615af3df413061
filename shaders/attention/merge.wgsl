// attention/merge: adds what attention/split made of the parts of the keys. A workgroup makes a row of y.
//
//     top = max_s top_s,  y = Σ_s exp(top_s − top)·values_s / Σ_s exp(top_s − top)·sum_s, and the sink in the sum
//     where logits are bounded, y = Σ_s values_s / Σ_s sum_s
//
// Lanes take the parts' tops, one each, and what each part is multiplied by; then COLUMNS lanes share a part, a quad each, and the lanes left
// over take other parts, so that little waits for something else.
// Good after attention/split, whose parts fill a device that the rows alone would not; wrong where one part holds all keys. Costs a
// second dispatch and reads (E + 4)·4 bytes a row and part. Barriers: 2, and those of a maximum and a sum; where logits are bounded, 1 and
// those of a sum. Workgroup memory: 1 KiB of factors, 16 bytes a lane, and what the reduction takes.
// Tried before: a lane for each quad of y, which walked all parts by itself: 128 parts took longer than what made them.
#import attention
#const COLUMNS = 32u
#const LANE_COUNT = 256u
#const SUBGROUP = 4u
const LANES = LANE_COUNT;
const SHARES = LANE_COUNT / COLUMNS;
const PARTS = 256u;   // there are no more
#slot reduce
#slot y @binding(5)   // [B, H, L, E]
#slot lse @binding(6) // [B, H, L]
@group(0) @binding(8) var<storage, read> parts: array<vec4<f32>>; // [rows, splits, ⌈E / 4⌉ + 1]
var<workgroup> tile_factor: array<f32, PARTS>;
var<workgroup> tile_sum: array<vec4<f32>, LANE_COUNT>;

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * attention_params.fold;
    if (id >= attention_params.rows) { return; }
    let row = attention_row_of(id);
    let e = attention_params.values.width;
    let quads = (e + 3u) / 4u;
    let splits = attention_params.splits;
    let first = row.at * splits * (quads + 1u);

    var top = attention_first_top();
    var sum = 0.0;
    var wrong = false;
    if (BOUNDED) {
        for (var part = lane; part < splits; part += LANE_COUNT) {
            let stat = parts[first + part * (quads + 1u) + quads];
            sum += stat.y;
            wrong = wrong || stat.z != 0.0;
        }
        let all = reduce_sum2(vec2<f32>(sum, select(0.0, 1.0, wrong)), lane);
        sum = all.x;
        wrong = all.y > 0.0;
    } else {
        var largest = 0u;
        for (var part = lane; part < splits; part += LANE_COUNT) {
            let stat = parts[first + part * (quads + 1u) + quads];
            if (stat.y > 0.0) { largest = max(largest, attention_ordered(stat.x)); }
            if (stat.z != 0.0) { largest = 0xffffffffu; } // a logit was NaN
        }
        largest = reduce_max(largest, lane);
        wrong = largest == 0xffffffffu;
        if (largest != 0u && !wrong) { top = attention_from_ordered(largest); }
        for (var part = lane; part < splits; part += LANE_COUNT) {
            let stat = parts[first + part * (quads + 1u) + quads];
            var factor = 0.0; // of a part that has seen nothing, and is 0
            if (stat.y > 0.0) { factor = attention_exp(stat.x - top); }
            sum += factor * stat.y;
            tile_factor[part] = factor;
        }
        sum = reduce_sum2(vec2<f32>(sum, 0.0), lane).x;
        workgroupBarrier();
    }

    let column = lane % COLUMNS;
    var v = vec4<f32>();
    if (column < quads) {
        for (var part = lane / COLUMNS; part < splits; part += SHARES) {
            var factor = 1.0;
            if (!BOUNDED) { factor = tile_factor[part]; }
            v += factor * parts[first + part * (quads + 1u) + column];
        }
    }
    tile_sum[lane] = v;
    workgroupBarrier();
    if (lane >= COLUMNS || column >= quads) { return; }
    for (var share = 1u; share < SHARES; share++) { v += tile_sum[share * COLUMNS + lane]; }
    let finish = attention_finish(row, top, sum, wrong);
    y_store4(attention_params.y0 + row.at * e + column * 4u, v * finish.x, min(e - column * 4u, 4u));
    if (column == 0u) { lse_store4(attention_params.lse0 + row.stat, vec4<f32>(finish.y), 1u); }
}
