// Numbers of a weight in f16, to nearest, ties to even.
#import half
fn slot_store4(word0: u32, quad: u32, v: vec4<f32>) {
    let words = half_store4_f16(v);
    outer_put(word0 + quad * 2u, words.x);
    outer_put(word0 + quad * 2u + 1u, words.y);
}
