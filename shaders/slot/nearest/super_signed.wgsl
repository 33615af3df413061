// Codes about HALF, or levels of the IQ4 formats, by signed steps of few bits:
//
//     step = p / −HALF               p the number of the largest magnitude of 32 numbers, or of 16; of two opposite ones the positive
//     d = P / −HALF / −LIMIT         P that of 256, in f16
//     s = clamp(round(step / d), −LIMIT, LIMIT − 1)
//     q = clamp(round(v / (d·s)), −HALF, HALF − 1) + HALF, or the level nearest to v / (d·s), by what is stored
//
// d·s is exact.
#import block
#const slot_HALF = 32u
#const slot_LIMIT = 128u
#const slot_IQ4 = false // levels

fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    let keys = block_extremes(v);
    return vec2<u32>(max(keys.x, keys.y), 0u);
}

// The magnitude of the step of the number with this key.
fn slot_step(key: u32) -> u32 {
    return exact_quotient(key >> 1u, bitcast<u32>(f32(slot_HALF)));
}

fn slot_super(range: vec2<u32>) -> u32 {
    let d = exact_quotient(slot_step(range.x), bitcast<u32>(f32(slot_LIMIT)));
    return block_f16(d | block_extreme_sign(range.x));
}

fn slot_grids(over: u32, v: array<vec4<f32>, 8>) -> outer_Grid {
    let two = block_extremes(v);
    var keys = two;
    if (outer_PARTS == 1u) { keys.x = max(two.x, two.y); }
    let d = half_f32_from_f16(over);
    var grids: outer_Grid;
    #unroll
    for (var i = 0u; i < outer_PARTS; i++) {
        var s = 0.0;
        if (d != 0.0) {
            let size = bitcast<f32>(exact_quotient(slot_step(keys[i]), bitcast<u32>(abs(d))));
            // A step has not the sign of its number, and d has that of its own.
            let negative = block_extreme_sign(keys[i]) == (bitcast<u32>(d) & 0x80000000u);
            s = round(select(min(size, f32(slot_LIMIT) - 1.0), -min(size, f32(slot_LIMIT)), negative));
        }
        let bits = bitcast<u32>(i32(s)) & 255u;
        grids[i] = block_Grid(bits, 0u, block_Factor(0, d * s));
    }
    return grids;
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let step = grid.factor.times;
    if (slot_IQ4) { return block_iq4(v, step); }
    if (step == 0.0) { return vec4<u32>(slot_HALF); }
    let both = f32(2u * slot_HALF);
    return block_divided4(v, step, f32(slot_HALF), both - 1.0, both);
}
