// level·scale + bias, where the product is rounded first: no device may fuse the two.
fn slot_make(at: weight_At, level: vec4<f32>, scale: vec4<f32>, bias: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(level * scale) ^ vec4<u32>(at.nothing)) + bias;
}

// The sum of such numbers times codes: `sums` are those of the levels times the codes, and of the codes.
fn slot_dot(sums: vec2<f32>, scale: f32, bias: f32) -> f32 {
    return sums.x * scale + sums.y * bias;
}

// Sums of such numbers times others may be made of terms, and scaled at the end.
const slot_SUMS = true;
fn slot_term(level: vec4<f32>, bias: f32) -> vec4<f32> {
    return level;
}

fn slot_end(sum: f32, ones: f32, scale: f32, bias: f32) -> f32 {
    return sum * scale + ones * bias;
}
