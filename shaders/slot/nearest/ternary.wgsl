// −1, 0 and 1, as codes about 1, with the scale max|v|: round(v·(1/scale)) + 1, halves away from 0.
#import block
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>(block_magnitude(v), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    return block_inverse_grid(range.x);
}

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let far = vec4<u32>(abs(block_moved(v, grid.factor.by) * grid.factor.times) >= vec4<f32>(0.5));
    return vec4<u32>(1u) + select(far, vec4<u32>() - far, bitcast<vec4<i32>>(v) < vec4<i32>());
}
