// Half and bfloat16 words, by integer arithmetic.
//
// unpack2x16float may flush subnormals, and how pack2x16float rounds is up to the device (some truncate),
// so both directions are spelled out: exact widening, and narrowing to nearest, ties to even.
// Few operations matter here: a norm of f16 rounds up to three times a number, and with twice as many the loops of norm/row
// are too large for RADV to unroll, which leaves its registers an array that is searched.

// The f32 value of the f16 in the low half of `bits`.
fn half_f32_from_f16(bits: u32) -> f32 {
    let magnitude = bits & 0x7fffu;
    let normal = (magnitude << 13u) + 0x38000000u;
    // A subnormal is a multiple of 2^-24, which is the last place of 2^-1.
    let small = bitcast<u32>(bitcast<f32>(magnitude | 0x3f000000u) - 0.5);
    var wide = select(normal, small, magnitude < 0x400u);
    wide = select(wide, normal + 0x38000000u, magnitude >= 0x7c00u); // infinity or NaN
    return bitcast<f32>(wide | ((bits & 0x8000u) << 16u));
}

// The f16 nearest to `v`, in the low half.
fn half_f16_from_f32(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let magnitude = bits & 0x7fffffffu;
    // Below 2^-14 the result is subnormal: a multiple of 2^-24, which the scale makes a whole number, and 2^23 more shows its bits.
    let small = bitcast<u32>(round(abs(v) * 16777216.0) + 8388608.0) & 0x7ffu;
    let normal = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u;
    var half = select(min(normal, 0x7c00u), small, magnitude < 0x38800000u); // 65520 and above round to infinity
    half = select(half, 0x7e00u, magnitude > 0x7f800000u);
    return half | ((bits >> 16u) & 0x8000u);
}

// The f32 value of the f16 nearest to `v`: the same as there and back, in a third of the operations.
fn half_round_f16(v: f32) -> f32 {
    let bits = bitcast<u32>(v);
    let magnitude = bits & 0x7fffffffu;
    let small = bitcast<u32>(round(v * 16777216.0) * 5.9604644775390625e-8);
    let normal = (bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u;
    var wide = select(normal, small, magnitude < 0x38800000u);
    wide = select(wide, (bits & 0x80000000u) | 0x7f800000u, magnitude >= 0x477ff000u);
    return bitcast<f32>(select(wide, bits, magnitude > 0x7f800000u));
}

// The bfloat16 nearest to `v`, in the low half.
fn half_bf16_from_f32(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let nearest = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    let nan = (bits >> 16u) | 0x40u;
    return select(nearest, nan, (bits & 0x7fffffffu) > 0x7f800000u);
}

fn half_load4_f16(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(
        half_f32_from_f16(words.x), half_f32_from_f16(words.x >> 16u),
        half_f32_from_f16(words.y), half_f32_from_f16(words.y >> 16u));
}

fn half_store4_f16(v: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(
        half_f16_from_f32(v.x) | (half_f16_from_f32(v.y) << 16u),
        half_f16_from_f32(v.z) | (half_f16_from_f32(v.w) << 16u));
}

fn half_load4_bf16(words: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}

fn half_store4_bf16(v: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(
        half_bf16_from_f32(v.x) | (half_bf16_from_f32(v.y) << 16u),
        half_bf16_from_f32(v.z) | (half_bf16_from_f32(v.w) << 16u));
}

// The values that f16 and bfloat16 storage would keep.
fn half_round4_f16(v: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(half_round_f16(v.x), half_round_f16(v.y), half_round_f16(v.z), half_round_f16(v.w));
}

fn half_round4_bf16(v: vec4<f32>) -> vec4<f32> {
    return half_load4_bf16(half_store4_bf16(v));
}
