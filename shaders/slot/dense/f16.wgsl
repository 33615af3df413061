// Numbers of a weight in f16, through words: exact on every device.
#import half
fn slot_load4(word0: u32, quad: u32) -> vec4<f32> {
    let i = word0 + quad * 2u;
    return half_load4_f16(vec2<u32>(outer_word(i), outer_word(i + 1u)));
}

// Eight quads, of which the first begins at a multiple of 16 bytes: four loads.
fn slot_load32(word0: u32, quad: u32) -> array<vec4<f32>, 8> {
    let i = (word0 >> 2u) + quad / 2u;
    let words = array<vec4<u32>, 4>(outer_data[i], outer_data[i + 1u], outer_data[i + 2u], outer_data[i + 3u]);
    var v = array<vec4<f32>, 8>();
    for (var j = 0u; j < 4u; j++) {
        v[2u * j] = half_load4_f16(words[j].xy);
        v[2u * j + 1u] = half_load4_f16(words[j].zw);
    }
    return v;
}
