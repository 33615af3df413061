// FP4 of bitsandbytes with the scale max|v|: the entry of the table nearest to v·(1/scale), of two the first. In the order of their codes the
// magnitudes are 0, 1/192, 2/3, 1, 1/3, 1/2, 1/6, 1/4.
#import block
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>(block_magnitude(v), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    return block_inverse_grid(range.x);
}

// The greatest f32 whose nearest magnitude is not the next larger one.
const slot_MIDDLES = array<f32, 7>(
    0.0026041667442768812, 0.0859375, 0.2083333283662796, 0.2916666567325592, 0.4166666567325592, 0.5833333134651184, 0.8333333134651184);
const slot_CODES = 0x32547610u; // of magnitudes as they rise, the least in the lowest bits

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let x = abs(block_moved(v, grid.factor.by) * grid.factor.times);
    var level = vec4<u32>();
    #unroll
    for (var i = 0u; i < 7u; i++) { level += vec4<u32>(x > vec4<f32>(slot_MIDDLES[i])); }
    let code = (vec4<u32>(slot_CODES) >> (level * 4u)) & vec4<u32>(7u);
    return code | select(vec4<u32>(), vec4<u32>(8u), (bitcast<vec4<i32>>(v) < vec4<i32>()) & (level > vec4<u32>()));
}
