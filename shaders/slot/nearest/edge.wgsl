// Codes of a range that has its edge of the larger magnitude on a code: step = max((high − low) / MOST, 1e-7), negative where the edge is high;
// c = round(edge / step), scale = edge / c and bias = edge, or where c is 0 scale = step and bias = 0;
// q = clamp(round((v − bias) / scale), 0, MOST).
#import block
#const slot_MOST = 15u
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return block_range(v);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let high = block_from_key(range.x);
    let low = block_from_key(~range.y);
    let sizes = bitcast<vec2<u32>>(vec2<f32>(high, low)) & vec2<u32>(0x7fffffffu);
    let span = block_span(high, low, max(sizes.x, sizes.y));
    // 1e-7, and a span that f32 cannot hold.
    var scale = max(exact_quotient(min(span, 0x7f7fffffu), bitcast<u32>(f32(slot_MOST))), 0x33d6bf95u);
    if (span >= 0x7f800000u) { return block_Grid(0x7f800000u | select(0x80000000u, 0u, sizes.y > sizes.x), 0u, block_Factor(0, 0.0)); }
    let edge = select(high, low, sizes.y > sizes.x);
    let sign = select(0x80000000u, 0u, sizes.y > sizes.x);
    let steps = exact_quotient(max(sizes.x, sizes.y), scale);
    // Beyond all numbers, nothing is left of a scale.
    if (steps >= 0x7f800000u) { return block_Grid(sign, bitcast<u32>(edge), block_Factor(0, 0.0)); }
    let code = round(bitcast<f32>(steps));
    var bias = 0u;
    if (code > 0.0) {
        scale = exact_quotient(max(sizes.x, sizes.y), bitcast<u32>(code));
        bias = bitcast<u32>(edge);
    }
    let by = block_by(scale);
    return block_Grid(scale | sign, bias, block_Factor(by, exact_scaled(bitcast<f32>(scale | sign), by)));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    if (grid.factor.times == 0.0) { return vec4<u32>(); }
    let above = block_moved(v - vec4<f32>(bitcast<f32>(grid.beside)), grid.factor.by);
    return block_divided4(above, grid.factor.times, 0.0, f32(slot_MOST), f32(slot_MOST));
}
