// Half and bfloat16 words, by integer arithmetic.
//
// unpack2x16float may flush subnormals, and how pack2x16float rounds is up to the device (some truncate),
// so both directions are spelled out: exact widening, and narrowing to nearest, ties to even.

// The f32 value of the f16 in the low half of `bits`.
fn half_f32_from_f16(bits: u32) -> f32 {
    let sign = (bits & 0x8000u) << 16u;
    let exponent = (bits >> 10u) & 0x1fu;
    let fraction = bits & 0x3ffu;
    // A subnormal is fraction · 2^-24: both factors and the product are normal f32.
    let small = bitcast<u32>(f32(fraction) * 5.9604644775390625e-8);
    let normal = ((exponent + 112u) << 23u) | (fraction << 13u);
    let special = 0x7f800000u | (fraction << 13u);
    let magnitude = select(select(normal, special, exponent == 31u), small, exponent == 0u);
    return bitcast<f32>(sign | magnitude);
}

// The f16 nearest to `v`, in the low half.
fn half_f16_from_f32(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    // Below 2^-14 the result is subnormal: the significand, with its hidden bit, moves down to units of 2^-24.
    let shift = min(126u - min(magnitude >> 23u, 112u), 25u);
    let significand = (magnitude & 0x7fffffu) | 0x800000u;
    let small = (significand + (1u << (shift - 1u)) - 1u + ((significand >> shift) & 1u)) >> shift;
    let normal = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u;
    var half = select(normal, small, magnitude < 0x38800000u);
    half = select(half, 0x7c00u, magnitude >= 0x477ff000u); // 65520 and above round to infinity
    half = select(half, 0x7e00u, magnitude > 0x7f800000u);
    return sign | half;
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
    return half_load4_f16(half_store4_f16(v));
}

fn half_round4_bf16(v: vec4<f32>) -> vec4<f32> {
    return half_load4_bf16(half_store4_bf16(v));
}
