// A code is a float of 4 bits: sign, 2 of exponent, 1 of mantissa, without a load. As two f16 to a word, which is sixteen operations for four codes
// and two for each that widen it and move it up: the exponent and mantissa of 0, 0.5, 1, 1.5, 2, 3, 4, 6 times 2^-13 are 0, 2, 4, 5, 6, 7, 8, 9, which is
// the code and one more if it is not 0 and one more if it is 2 or above. None of these is subnormal.
const slot_UNIT = 8192.0;
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    let m = quad & 0x07070707u;
    let more = ((m + 0x07070707u) & 0x08080808u) + ((m + 0x06060606u) & 0x08080808u);
    let t = m + (more >> 3u);
    let even = ((t << 9u) & 0x1e001e00u) | ((quad << 12u) & 0x80008000u);
    let odd = ((t << 1u) & 0x1e001e00u) | ((quad << 4u) & 0x80008000u);
    let a = unpack2x16float(even);
    let b = unpack2x16float(odd);
    return vec4<f32>(a.x, b.x, a.y, b.y);
}

// What all lanes do first: nothing.
fn slot_begin(at: weight_At, lane: u32) {}
