// level·a·b, where a·b is a power of two, which f32 need not have. For numbers that go into sums: where a product is below the smallest normal
// number a device may flush it, and slot/rule/power does not. By runs, only the sum is scaled, and is rounded no more than its numbers would be:
// numbers of which f32 has no such large ones count as what they are.
fn slot_make(at: weight_At, level: vec4<f32>, a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return level * a * b;
}

// Sums of such numbers times others may be made of terms, and scaled at the end.
const slot_SUMS = true;
fn slot_term(level: vec4<f32>, b: f32) -> vec4<f32> {
    return level;
}

fn slot_end(sum: f32, ones: f32, a: f32, b: f32) -> f32 {
    return sum * a * b;
}
