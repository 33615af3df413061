// Codes of a range from its least number m on: scale = (max v − m) / MOST, q = min(⌊(v − m)·(1/scale) + 0.5⌋, MOST).
#import block
#const slot_MOST = 15u
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return block_range(v);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let high = block_from_key(range.x);
    let low = block_from_key(~range.y);
    let magnitude = max(bitcast<u32>(high) & 0x7fffffffu, bitcast<u32>(low) & 0x7fffffffu);
    let span = block_span(high, low, magnitude);
    // A range that f32 cannot hold leaves nothing but its least number.
    let wide = span >= 0x7f800000u;
    let scale = select(exact_quotient(min(span, 0x7f7fffffu), bitcast<u32>(f32(slot_MOST))), 0x7f7fffffu, wide);
    let factor = block_factor(magnitude, select(exact_inverse(scale), 0u, wide));
    return block_Grid(scale, bitcast<u32>(low), factor);
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let by = grid.factor.by;
    let above = block_moved(v, by) - block_moved(vec4<f32>(bitcast<f32>(grid.beside)), by);
    let twice = above * grid.factor.times * 2.0;
    // The host adds 0.5 in f32, which makes a whole 1 of what is next below 0.5.
    let up = select(vec4<u32>(), vec4<u32>(1u), bitcast<vec4<u32>>(twice) == vec4<u32>(0x3f7fffffu));
    return min((vec4<u32>(twice) + up + vec4<u32>(1u)) >> vec4<u32>(1u), vec4<u32>(slot_MOST));
}
