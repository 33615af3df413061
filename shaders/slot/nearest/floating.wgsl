// The affine rule with a zero that need be no whole number, so that 0 need not lie between the numbers:
//
//     scale = max((high − low) / MOST, max|v| / 2^16), zero = −low / scale, q = clamp(round(v / scale + zero), 0, MOST)
//
// Where all are 0, scale is 1 and zero 0. Of a narrow range far from 0 many numbers are next to a tie, since quotients are large there.
#import block
#const slot_MOST = 15u
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return block_range(v);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let high = bitcast<u32>(block_from_key(range.x));
    let low = bitcast<u32>(block_from_key(~range.y));
    let sizes = vec2<u32>(high, low) & vec2<u32>(0x7fffffffu);
    let step = block_step(sizes.x, sizes.y, ((high ^ low) >> 31u) == 0u, slot_MOST);
    let scale = max(min(step, 0x7f7fffffu), exact_quotient(max(sizes.x, sizes.y), 0x47800000u));
    if (scale == 0u) { return block_Grid(0x3f800000u, 0u, block_Factor(0, 1.0)); }
    let zero = exact_quotient(sizes.y, scale) | (~low & 0x80000000u);
    let by = block_by(scale);
    return block_Grid(scale, zero, block_Factor(by, exact_scaled(bitcast<f32>(scale), by)));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let most = f32(slot_MOST);
    let zero = bitcast<f32>(grid.beside);
    return block_divided4(block_moved(v, grid.factor.by), grid.factor.times, zero, most, most + abs(zero));
}
