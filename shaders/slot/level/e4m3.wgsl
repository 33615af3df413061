// A code is a float of 8 bits: sign, 4 of exponent, 3 of mantissa; 0x7f and 0xff are NaN, and there is no infinity.
#import small
const slot_UNIT = 1.0;
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    return small_e4m3((vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
}

// What all lanes do first: nothing.
fn slot_begin(at: weight_At, lane: u32) {}
