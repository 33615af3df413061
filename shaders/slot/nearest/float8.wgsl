// E4M3 with the scale max|v| / 448, or E5M2 with max|v| / 57344: the float nearest to the f32 that is nearest to v / scale.
// A device's quotient is off by 2.5 ulp, which moves a code only next to a tie: where 4 ulp to either side do not have the same code,
// numbers are divided again, by integers.
#import block
#const slot_MANTISSA = 3u
const slot_MOST = select(0x47600000u, 0x43e00000u, slot_MANTISSA == 3u);

fn slot_of(v: vec4<f32>) -> vec4<u32> {
    if (slot_MANTISSA == 3u) { return block_e4m3_of(v); }
    return block_e5m2_of(v);
}

fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>(block_magnitude(v), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let scale = exact_quotient(range.x, slot_MOST);
    let by = block_by(range.x);
    return block_Grid(scale, 0u, block_Factor(by, exact_scaled(bitcast<f32>(scale), by)));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    if (grid.scale == 0u) { return vec4<u32>(); }
    let moved = block_moved(v, grid.factor.by);
    let x = bitcast<vec4<u32>>(abs(moved / grid.factor.times));
    let four = vec4<u32>(4u);
    var code = slot_of(bitcast<vec4<f32>>(max(x, four) - four));
    if (any(code != slot_of(bitcast<vec4<f32>>(min(x, vec4<u32>(slot_MOST)) + four)))) {
        code = slot_of(abs(block_quotient4(moved, grid.factor.times)));
    }
    return code | ((bitcast<vec4<u32>>(v) >> vec4<u32>(24u)) & vec4<u32>(0x80u));
}
