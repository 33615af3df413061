// Numbers of a weight in f16, widened by the device, which may flush subnormals; slot/dense/f16 does not, and takes ten operations for
// each number where this takes one.
fn slot_load4(word0: u32, quad: u32) -> vec4<f32> {
    let i = word0 + quad * 2u;
    return vec4<f32>(unpack2x16float(outer_word(i)), unpack2x16float(outer_word(i + 1u)));
}
