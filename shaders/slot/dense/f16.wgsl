// Numbers of a weight in f16, through words: exact on every device.
#import half
fn slot_load4(word0: u32, quad: u32) -> vec4<f32> {
    let i = word0 + quad * 2u;
    return half_load4_f16(vec2<u32>(outer_word(i), outer_word(i + 1u)));
}
