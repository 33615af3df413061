// attention/merge: adds what attention/split, or a kernel of tiles, made of the parts of the keys. A workgroup makes a row of y.
//
//     top = max_s top_s,  y = Σ_s exp(top_s − top)·values_s / Σ_s exp(top_s − top)·sum_s, and the sink in the sum
//     where logits are bounded, y = Σ_s values_s / Σ_s sum_s
//
// Lanes take the parts' tops, one each, and what each part is multiplied by; then COLUMNS lanes share a part, a quad each, and the lanes left
// over take other parts, so that little waits for something else. The first AHEAD parts of each lane are asked for with the tops: of 32 quads and
// 64 parts all there are, so that memory is waited for once.
// Good after a kernel whose parts fill a device that the rows alone would not; wrong where one part holds all keys. Costs a
// second dispatch and reads (E + 4)·4 bytes a row and part. Barriers: 2, and those of a maximum and a sum; where logits are bounded, 1 and
// those of a sum. Workgroup memory: 1 KiB of factors, 16 bytes a lane, and what the reduction takes. Registers: 4·AHEAD of parts.
// Tried before: a lane for each quad of y, which walked all parts by itself: 128 parts took longer than what made them. Tops, then what they
// say is largest, then tops again and the parts one after the other: up to 2 + 8 waits for memory, of the 10 µs that an NVIDIA H100 took for all that
// decoding waits for beside its keys. Tried on paper: the last workgroup of attention/split adds the parts of its rows, without this
// dispatch. It would read by 128 lanes what here 1,024 share, 4 bytes at a time, and only Vulkan's storageBarrier, as naga writes it, orders what other
// workgroups have written.
#import attention
#const COLUMNS = 32u
#const LANE_COUNT = 256u
#const SUBGROUP = 4u
const LANES = LANE_COUNT;
const SHARES = LANE_COUNT / COLUMNS;
const PARTS = 256u;   // there are no more
const TURNS = (PARTS + LANE_COUNT - 1u) / LANE_COUNT;
const AHEAD = 8u;     // parts that a lane asks for together
#slot reduce
#slot y @binding(5)   // [B, H, L, E]
#slot lse @binding(6) // [B, H, L]
@group(0) @binding(8) var<storage, read> parts: array<vec4<f32>>; // [rows, splits, ⌈E / 4⌉ + 1]
var<workgroup> tile_factor: array<f32, PARTS>;
var<workgroup> tile_sum: array<vec4<f32>, LANE_COUNT>;

// Quad i of a part of the row whose parts begin at `first`. Past the last part it is the last one again, and added by nobody.
fn quad_of(first: u32, part: u32, i: u32) -> vec4<f32> {
    let each = (attention_params.values.width + 3u) / 4u + 1u;
    return parts[first + min(part, attention_params.splits - 1u) * each + i];
}

// Quad i of AHEAD parts from `part` on, SHARES apart.
fn fetched(first: u32, part: u32, i: u32) -> array<vec4<f32>, AHEAD> {
    var some = array<vec4<f32>, AHEAD>();
    #unroll
    for (var n = 0u; n < AHEAD; n++) { some[n] = quad_of(first, part + n * SHARES, i); }
    return some;
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * attention_params.fold;
    if (id >= attention_params.rows) { return; }
    let row = attention_row_of(id);
    let e = attention_params.values.width;
    let quads = (e + 3u) / 4u;
    let splits = attention_params.splits;
    let first = row.at * splits * (quads + 1u);
    let column = lane % COLUMNS;
    let share = lane / COLUMNS;
    let inside = min(column, quads - 1u);

    var stats = array<vec4<f32>, TURNS>();
    #unroll
    for (var turn = 0u; turn < TURNS; turn++) {
        let part = turn * LANE_COUNT + lane;
        stats[turn] = quad_of(first, part, quads);
        if (part >= splits) { stats[turn] = vec4<f32>(); } // has seen nothing
    }
    var some = fetched(first, share, inside);

    var top = attention_first_top();
    var sum = 0.0;
    var wrong = false;
    if (BOUNDED) {
        #unroll
        for (var turn = 0u; turn < TURNS; turn++) {
            sum += stats[turn].y;
            wrong = wrong || stats[turn].z != 0.0;
        }
        let all = reduce_sum2(vec2<f32>(sum, select(0.0, 1.0, wrong)), lane);
        sum = all.x;
        wrong = all.y > 0.0;
    } else {
        var largest = 0u;
        #unroll
        for (var turn = 0u; turn < TURNS; turn++) {
            if (stats[turn].y > 0.0) { largest = max(largest, attention_ordered(stats[turn].x)); }
            if (stats[turn].z != 0.0) { largest = 0xffffffffu; } // a logit was NaN or +∞
        }
        largest = reduce_max(largest, lane);
        wrong = largest == 0xffffffffu;
        if (largest != 0u && !wrong) { top = attention_from_ordered(largest); }
        #unroll
        for (var turn = 0u; turn < TURNS; turn++) {
            var factor = 0.0; // of a part that has seen nothing, and is 0
            if (stats[turn].y > 0.0) { factor = attention_exp(stats[turn].x - top); }
            sum += factor * stats[turn].y;
            if (turn * LANE_COUNT + lane < PARTS) { tile_factor[turn * LANE_COUNT + lane] = factor; }
        }
        sum = reduce_sum2(vec2<f32>(sum, 0.0), lane).x;
        workgroupBarrier();
    }

    var v = vec4<f32>();
    for (var part0 = share; part0 < splits; part0 += SHARES * AHEAD) {
        if (part0 != share) { some = fetched(first, part0, inside); }
        #unroll
        for (var n = 0u; n < AHEAD; n++) {
            let part = part0 + n * SHARES;
            if (part < splits) {
                var factor = 1.0;
                if (!BOUNDED) { factor = tile_factor[part]; }
                v += factor * some[n];
            }
        }
    }
    tile_sum[lane] = v;
    workgroupBarrier();
    if (lane >= COLUMNS || column >= quads) { return; }
    for (var other = 1u; other < SHARES; other++) { v += tile_sum[other * COLUMNS + lane]; }
    let finish = attention_finish(row, top, sum, wrong);
    y_store4(attention_params.y0 + row.at * e + column * 4u, v * finish.x, min(e - column * 4u, 4u));
    if (column == 0u) { lse_store4(attention_params.lse0 + row.stat, vec4<f32>(finish.y), 1u); }
}
