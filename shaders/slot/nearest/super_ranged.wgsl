// Codes of a range from its least number on, by steps and least numbers of few bits:
//
//     low = min(0, min v), step = (max v − low) / MOST           of 32 numbers, or of 16
//     d = max step / LIMIT, m = max(−low) / LIMIT                of 256, in f16
//     scale = min(round(step / d), LIMIT), least = min(round(−low / m), LIMIT)
//     q = clamp(round((v + m·least) / (d·scale)), 0, MOST)       by what is stored; 0 where the scale is
//
// Products of an f16 and a scale are exact.
#import block
#const slot_MOST = 15u
#const slot_LIMIT = 63u

// max v − low and −low, as bits, of a range.
fn slot_span(range: vec2<u32>) -> vec2<u32> {
    let high = block_from_key(range.x);
    let below = block_above_zero(range.y);
    let magnitude = max(bitcast<u32>(high) & 0x7fffffffu, below);
    return vec2<u32>(block_span(high, -bitcast<f32>(below), magnitude), below);
}

// The spans of the halves of 32 numbers; of the whole where those have one scale.
fn slot_spans(v: array<vec4<f32>, 8>) -> array<vec2<u32>, 2> {
    let ranges = block_ranges(v);
    var spans = array<vec2<u32>, 2>();
    if (outer_PARTS == 1u) {
        spans[0] = slot_span(max(ranges[0], ranges[1]));
        return spans;
    }
    spans[0] = slot_span(ranges[0]);
    spans[1] = slot_span(ranges[1]);
    return spans;
}

fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    let spans = slot_spans(v);
    return max(spans[0], spans[1]);
}

fn slot_step(span: u32) -> u32 {
    return exact_quotient(span, bitcast<u32>(f32(slot_MOST)));
}

fn slot_super(range: vec2<u32>) -> u32 {
    let limit = bitcast<u32>(f32(slot_LIMIT));
    return block_f16(exact_quotient(slot_step(range.x), limit)) | (block_f16(exact_quotient(range.y, limit)) << 16u);
}

// The code of a step, or of a least number.
fn slot_code(step: u32, unit: f32) -> u32 {
    if (unit == 0.0) { return 0u; }
    return u32(round(min(bitcast<f32>(exact_quotient(step, bitcast<u32>(unit))), f32(slot_LIMIT))));
}

fn slot_grids(over: u32, v: array<vec4<f32>, 8>) -> outer_Grid {
    var spans = slot_spans(v);
    let d = half_f32_from_f16(over);
    let m = half_f32_from_f16(over >> 16u);
    var grids: outer_Grid;
    #unroll
    for (var i = 0u; i < outer_PARTS; i++) {
        let scale = slot_code(slot_step(spans[i].x), d);
        let least = slot_code(spans[i].y, m);
        let bits = scale | (least << (outer_EACH / 2u));
        grids[i] = block_Grid(bits, bitcast<u32>(m * f32(least)), block_Factor(0, d * f32(scale)));
    }
    return grids;
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    if (grid.factor.times == 0.0) { return vec4<u32>(); }
    return block_divided4(v + vec4<f32>(bitcast<f32>(grid.beside)), grid.factor.times, 0.0, f32(slot_MOST), f32(slot_MOST));
}
