// Exponents in bytes: a byte e means 2^(e - 127), here as two powers of two whose product it is, and which f32 has.
alias slot_Raw = u32;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return outer_word(at.scales + (i >> 2u));
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    let n = i32((raw >> ((i & 3u) * 8u)) & 255u) - 127;
    let half = n >> 1u;
    return bitcast<vec2<f32>>(vec2<u32>(vec2<i32>(half, n - half) + vec2<i32>(127)) << vec2<u32>(23u));
}
