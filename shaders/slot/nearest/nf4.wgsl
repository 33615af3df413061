// NF4 with the scale max|v|: the entry of the table nearest to v·(1/scale), of two the first.
#import block
fn slot_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    return vec2<u32>(block_magnitude(v), 0u);
}

fn slot_grid(range: vec2<u32>) -> block_Grid {
    return block_inverse_grid(range.x);
}

// The greatest f32 that is not above what is half way between two entries.
const slot_MIDDLES = array<f32, 15>(
    -0.8480964303016663, -0.6106329560279846, -0.4599952697753906, -0.33967944979667664, -0.23460741341114044,
    -0.13791173696517944, -0.045525018125772476, 0.03979014977812767, 0.120255246758461, 0.2035212516784668,
    0.2920137643814087, 0.3893125355243683, 0.5016633868217468, 0.6427869200706482, 0.8614783883094788);

fn slot_codes4(v: vec4<f32>, grid: block_Grid) -> vec4<u32> {
    let x = block_moved(v, grid.factor.by) * grid.factor.times;
    var code = vec4<u32>();
    #unroll
    for (var i = 0u; i < 15u; i++) { code += vec4<u32>(x > vec4<f32>(slot_MIDDLES[i])); }
    return code;
}
