// A code is an entry of a table of 16, which is 64 bytes that stay in the nearest cache.
const slot_UNIT = 1.0;
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    let q = vec4<u32>(at.table) + ((vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u));
    return bitcast<vec4<f32>>(vec4<u32>(outer_word(q.x), outer_word(q.y), outer_word(q.z), outer_word(q.w)));
}

// What all lanes do first: nothing.
fn slot_begin(at: weight_At, lane: u32) {}
