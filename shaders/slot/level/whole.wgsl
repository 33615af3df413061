// A code is a whole number of up to 7 bits, less the zero where none is stored.
#import whole
const slot_UNIT = 1.0;
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    return whole_codes(quad, f32(outer_ZERO));
}

// What all lanes do first: nothing.
fn slot_begin(at: weight_At, lane: u32) {}
