// Eight numbers in f32: two quads.
const slot_QUADS = 2u;

fn slot_numbers(quads: array<vec4<u32>, 2>) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(bitcast<vec4<f32>>(quads[0]), bitcast<vec4<f32>>(quads[1]));
}

fn slot_quads(numbers: array<vec4<f32>, 2>) -> array<vec4<u32>, 2> {
    return array<vec4<u32>, 2>(bitcast<vec4<u32>>(numbers[0]), bitcast<vec4<u32>>(numbers[1]));
}
