// −1, 0 and 1, as codes about 1, by the mean of all magnitudes: sign(v) where |v| is above half of it. A file's scale is the mean, or 1 / mean
// (INVERSE), from the least normal number to the largest; the scale here is the mean that a file's gives. Of zeros the mean is 1.
// A mean does not follow from the ranges of parts: what is given for a range where a grid is asked for is the mean itself, from encode/mean.
#import block
#const slot_INVERSE = true // a file's scale divides
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>(block_magnitude(v), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    let one = 0x3f800000u;
    var scale = select(range.x, one, range.x == 0u);
    if (slot_INVERSE) { scale = exact_quotient(one, scale); }
    scale = clamp(scale, 0x800000u, 0x7f7fffffu);
    var mean = scale;
    if (slot_INVERSE) { mean = exact_quotient(one, scale); }
    return block_Grid(mean, exact_moved(mean, -1), block_Factor(0, 0.0));
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let far = vec4<u32>((bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu)) > vec4<u32>(grid.beside));
    return vec4<u32>(1u) + select(far, vec4<u32>() - far, bitcast<vec4<i32>>(v) < vec4<i32>());
}
