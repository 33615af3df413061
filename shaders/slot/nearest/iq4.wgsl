// Levels of the IQ4 formats with the scale d = p / −127 in f16, p the number of the largest magnitude, of two opposite ones the positive: the
// level nearest to v / d by d as stored, of two the first.
#import block
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    let keys = block_extremes(v);
    return vec2<u32>(max(keys.x, keys.y), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    // The number's sign is not that of the scale, but that of a zero is: −0 by −127 is 0, and 0 is −0.
    let scale = exact_quotient(range.x >> 1u, 0x42fe0000u) | (block_extreme_sign(range.x) ^ 0x80000000u);
    return block_Grid(scale, 0u, block_Factor(0, half_f32_from_f16(block_f16(scale))));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    return block_iq4(v, grid.factor.times);
}
