// A code is a float of 8 bits, as in slot/level/e4m3, for numbers that go into sums: −0 is 0. As two f16 to a word, none of them subnormal: a code
// without exponent gets the exponent 1 instead, and what that adds is taken off again. Some 19 operations for four codes and two for each,
// where slot/level/e4m3 takes eleven for each. 0x7f and 0xff become NaNs of f16.
const slot_UNIT = 256.0;
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    let low = quad & 0x7f7f7f7fu;
    let none = (((low + 0x78787878u) & 0x80808080u) ^ 0x80808080u) >> 4u; // 8 where there is no exponent
    let all = low | none | ((low + 0x01010101u) & 0x80808080u);
    let sign_even = (quad << 8u) & 0x80008000u;
    let sign_odd = quad & 0x80008000u;
    let a = unpack2x16float(((all << 7u) & 0x7f807f80u) | sign_even) - unpack2x16float(((none << 7u) & 0x04000400u) | sign_even);
    let b = unpack2x16float(((all >> 1u) & 0x7f807f80u) | sign_odd) - unpack2x16float(((none >> 1u) & 0x04000400u) | sign_odd);
    return vec4<f32>(a.x, b.x, a.y, b.y);
}

// What all lanes do first: nothing.
fn slot_begin(at: weight_At, lane: u32) {}
