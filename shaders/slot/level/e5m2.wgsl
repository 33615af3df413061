// A code is the upper byte of an f16.
#import half
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    return vec4<f32>(
        half_f32_from_f16((quad << 8u) & 0xff00u), half_f32_from_f16(quad & 0xff00u),
        half_f32_from_f16((quad >> 8u) & 0xff00u), half_f32_from_f16((quad >> 16u) & 0xff00u));
}
