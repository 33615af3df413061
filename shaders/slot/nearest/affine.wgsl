// The affine rule of src/formats/round.rs: low = min(0, min v), high = max(0, max v), scale = (high − low) / MOST,
// zero = clamp(round(−low / scale), LEAST, MOST), q = clamp(round(v / scale + zero), 0, MOST), by the scale as f16 holds it, or in f32. Where the
// zero may not be 0, low is at most −high / (MOST − 1). BIASED, what is stored beside the scale is −zero·scale as f16 holds it, and the zero of codes
// is what that makes of it.
#import block
#const slot_MOST = 15u
#const slot_LEAST = 0u // of zeros: 0 or 1
#const slot_F16 = true // the scale is an f16
#const slot_BIASED = false // a bias beside it, in f16
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return block_range(v);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let high = block_above_zero(range.x);
    var below = block_above_zero(range.y);
    if (slot_LEAST > 0u) { below = max(below, exact_quotient(high, bitcast<u32>(f32(slot_MOST - slot_LEAST)))); }
    var scale = min(block_step(below, high, false, slot_MOST), 0x7f7fffffu);
    if (slot_F16) { scale = bitcast<u32>(half_f32_from_f16(block_f16(scale))); }
    var zero = 0.0;
    if (scale > 0u) { zero = bitcast<f32>(exact_quotient(below, scale)); }
    zero = round(clamp(zero, f32(slot_LEAST), f32(slot_MOST)));
    if (slot_BIASED) {
        let bias = half_f32_from_f16(block_f16(bitcast<u32>(zero * bitcast<f32>(scale)))) * -1.0;
        return block_Grid(scale, bitcast<u32>(bias), block_Factor(0, 0.0));
    }
    // A device may divide by numbers from 2^-126 to 2^126; an f16 is one.
    let by = select(block_by(scale), 0, slot_F16);
    return block_Grid(scale, bitcast<u32>(zero), block_Factor(by, exact_scaled(bitcast<f32>(scale), by)));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let most = f32(slot_MOST);
    var zero = bitcast<f32>(grid.beside);
    if (slot_BIASED) {
        // An f16 is a number by which a device may divide.
        if (grid.scale == 0u) { return vec4<u32>(); }
        zero = bitcast<f32>(exact_quotient(grid.beside & 0x7fffffffu, grid.scale));
        return block_divided4(v, bitcast<f32>(grid.scale), zero, most, most + zero);
    }
    if (grid.scale == 0u) { return vec4<u32>(u32(zero)); }
    return block_divided4(block_moved(v, grid.factor.by), grid.factor.times, zero, most, most);
}
