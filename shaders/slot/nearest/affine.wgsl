// The affine rule of src/formats/round.rs with an f16 scale: low = min(0, min v), high = max(0, max v), scale = (high − low) / MOST,
// zero = clamp(round(−low / scale), LEAST, MOST), q = clamp(round(v / scale + zero), 0, MOST), by the scale as f16 holds it. Where the zero may
// not be 0, low is at most −high / (MOST − 1).
// A device's quotient is off by 2.5 ulp, which moves a code only next to a tie: what is within ten times as much of one is divided
// again, by integers.
#import block
#const slot_MOST = 15u
#const slot_LEAST = 0u // of zeros: 0 or 1
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return block_range(v);
}

// The f32 nearest to (a + b) / MOST for two magnitudes, with the sum not rounded before.
fn slot_step(a: u32, b: u32) -> u32 {
    if (max(a, b) == 0u) { return 0u; }
    let more = exact_parts(max(a, b));
    let less = exact_parts(max(min(a, b), 1u));
    let apart = min(more.y - less.y, 31u);
    let added = select(less.x << 7u, 0u, min(a, b) == 0u);
    let sum = (more.x << 7u) + (added >> apart);
    // 8 bits fewer are 6 too few.
    let longer = select(0u, 6u, slot_MOST > 15u);
    let rest = (sum % slot_MOST) << longer;
    let q = ((sum / slot_MOST) << longer) + rest / slot_MOST;
    let left = rest % slot_MOST != 0u || ((added >> apart) << apart) != added;
    return exact_rounded(q, left, bitcast<i32>(more.y) - 157 - i32(longer));
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let high = bitcast<u32>(max(block_from_key(range.x), 0.0)) & 0x7fffffffu;
    var below = bitcast<u32>(max(block_from_key(range.y), 0.0)) & 0x7fffffffu;
    if (slot_LEAST > 0u) { below = max(below, exact_quotient(high, bitcast<u32>(f32(slot_MOST - slot_LEAST)))); }
    let scale = half_f32_from_f16(block_f16(min(slot_step(below, high), 0x7f7fffffu)));
    var zero = 0.0;
    if (scale > 0.0) { zero = bitcast<f32>(exact_quotient(below, bitcast<u32>(scale))); }
    zero = round(clamp(zero, f32(slot_LEAST), f32(slot_MOST)));
    return block_Grid(bitcast<u32>(scale), bitcast<u32>(zero), block_Factor(0, scale));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let most = vec4<f32>(f32(slot_MOST));
    let zero = vec4<f32>(bitcast<f32>(grid.beside));
    if (grid.scale == 0u) { return vec4<u32>(zero); }
    var q = clamp(v / grid.factor.times + zero, vec4<f32>(), most);
    if (block_near_tie(q, f32(slot_MOST) * 1.9073486328125e-6)) {
        q = clamp(block_quotient4(v, grid.factor.times) + zero, vec4<f32>(), most);
    }
    return vec4<u32>(round(q));
}
