// Eight numbers in bfloat16: a quad, by words, which every device reads alike.
#import half
const slot_QUADS = 1u;

fn slot_numbers(quads: array<vec4<u32>, 2>) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(half_load4_bf16(quads[0].xy), half_load4_bf16(quads[0].zw));
}

fn slot_quads(numbers: array<vec4<f32>, 2>) -> array<vec4<u32>, 2> {
    let quad = vec4<u32>(half_store4_bf16(numbers[0]), half_store4_bf16(numbers[1]));
    return array<vec4<u32>, 2>(quad, quad);
}
