// A code is the upper byte of an f16, for numbers that go into sums: −0 is 0. As slot/level/e4m3_sums: a code without exponent gets the exponent 1,
// and what that adds is taken off again, so that nothing subnormal is widened. Some 12 operations for four codes and two for each.
const slot_UNIT = 1.0;
fn slot_of(at: weight_At, n: u32, quad: u32) -> vec4<f32> {
    let none = ((((quad & 0x7f7f7f7fu) + 0x7c7c7c7cu) & 0x80808080u) ^ 0x80808080u) >> 5u; // 4 where there is no exponent
    let all = quad | none;
    let more = (quad & 0x80808080u) | none;
    let a = unpack2x16float((all << 8u) & 0xff00ff00u) - unpack2x16float((more << 8u) & 0x84008400u);
    let b = unpack2x16float(all & 0xff00ff00u) - unpack2x16float(more & 0x84008400u);
    return vec4<f32>(a.x, b.x, a.y, b.y);
}

// What all lanes do first: nothing.
fn slot_begin(at: weight_At, lane: u32) {}
