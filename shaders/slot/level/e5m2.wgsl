// A code is the upper byte of an f16.
#import half
const slot_UNIT = 1.0;
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    return vec4<f32>(
        half_f32_from_f16((quad << 8u) & 0xff00u), half_f32_from_f16(quad & 0xff00u),
        half_f32_from_f16((quad >> 8u) & 0xff00u), half_f32_from_f16((quad >> 16u) & 0xff00u));
}

// What all lanes do first: nothing.
fn slot_begin(at: weight_At, lane: u32) {}
