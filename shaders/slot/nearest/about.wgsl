// Codes about HALF with the scale p / −HALF, p the number of the largest magnitude: q = min(⌊v·(1/scale) + HALF + 0.5⌋, 2·HALF − 1). One lane
// has all numbers of a scale, for of p and −p it is the first that counts.
#import block
#const slot_HALF = 8u
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>(block_peak(v), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let scale = block_about_scale(range.x, slot_HALF);
    return block_Grid(scale, 0u, block_about_factor(range.x, scale));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    return block_about(v, grid.factor, slot_HALF);
}
