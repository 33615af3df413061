// There is no such weight.
fn slot_load32(at: weight_At, n: u32, block: u32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>();
}

fn slot_side_range(at: weight_At, n: u32) -> vec2<u32> {
    return vec2<u32>();
}

fn slot_side_entry(at: weight_At, i: u32) -> vec2<u32> {
    return vec2<u32>();
}
