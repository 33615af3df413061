// Codes about 128 with the scale max|v| / 127: q = round(v·(1/scale)) + 128, halves away from 0 or to even.
#import block
#const slot_EVEN = false
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>(block_magnitude(v), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let scale = exact_quotient(range.x, 0x42fe0000u);
    return block_Grid(scale, 0u, block_factor(range.x, exact_inverse(scale)));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    if (slot_EVEN) { return block_signed_even(v, grid.factor) ^ vec4<u32>(128u); }
    return block_signed(v, grid.factor) ^ vec4<u32>(128u);
}
