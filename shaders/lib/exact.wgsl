// Arithmetic that is the same on every device: quotients rounded to nearest, and products with powers of two, by integers.
//
// WGSL lets a quotient be off by 2.5 ulp and a device flush subnormals. Where a code is to be the host's bit for bit, neither is
// good enough. Sums and products are: every device rounds those to nearest. But one that is an operand of a sum may be fused into it.
// Magnitudes are passed as the bits of an f32 without its sign.

// Mantissa with its leading one, from 2^23 to 2^24, and biased exponent of a magnitude that is not 0. Subnormals have exponents below 1.
fn exact_parts(magnitude: u32) -> vec2<u32> {
    if (magnitude >= 0x800000u) { return vec2<u32>((magnitude & 0x7fffffu) | 0x800000u, magnitude >> 23u); }
    let up = countLeadingZeros(magnitude) - 8u;
    return vec2<u32>(magnitude << up, 1u - up);
}

// The f32 nearest to a / b, ties to even; b is not 0. A device's quotient is at most 3 off in its last place, and what remains of it
// tells by how much: since that is small, the low 32 bits of the remainder are all of it.
fn exact_quotient(a: u32, b: u32) -> u32 {
    if (a == 0u) { return 0u; }
    let over = exact_parts(a);
    let under = exact_parts(b);
    let less = over.x < under.x;
    let m = select(over.x, over.x << 1u, less); // so that the quotient of mantissas is from 1 to 2
    let exponent = bitcast<i32>(over.y) - bitcast<i32>(under.y) + select(127, 126, less);
    var q = u32(f32(m) / f32(under.x) * 8388608.0);
    var rest = bitcast<i32>((m << 23u) - q * under.x);
    let step = bitcast<i32>(under.x);
    for (var i = 0u; i < 4u && rest < 0; i++) {
        q -= 1u;
        rest += step;
    }
    for (var i = 0u; i < 4u && rest >= step; i++) {
        q += 1u;
        rest -= step;
    }
    // One bit more, and whether anything is left; then all bits are dropped that the result has no place for.
    let half = rest * 2 >= step;
    let longer = (q << 1u) | u32(half);
    let left = rest * 2 - select(0, step, half) != 0;
    let drop = u32(clamp(1 - exponent, 0, 25)) + 1u;
    let kept = longer >> drop;
    let dropped = longer & ((1u << drop) - 1u);
    let middle = 1u << (drop - 1u);
    let up = dropped > middle || (dropped == middle && (left || (kept & 1u) == 1u));
    let bits = kept + u32(up) + (u32(max(exponent, 1) - 1) << 23u);
    return select(bits, 0x7f800000u, exponent > 254);
}

// The f32 nearest to 1 / b; 0 where that is no number to multiply with.
fn exact_inverse(b: u32) -> u32 {
    if (b == 0u) { return 0u; }
    let q = exact_quotient(0x3f800000u, b);
    return select(q, 0u, q >= 0x7f800000u);
}

// v · 2^by, with |by| below 128; 0 where that is subnormal. Only what stays below 2^128 may be asked for.
fn exact_scaled4(v: vec4<f32>, by: i32) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(v);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    // A subnormal is a whole number of steps of 2^-149.
    let small = magnitude < vec4<u32>(0x800000u);
    let wide = select(magnitude, bitcast<vec4<u32>>(vec4<f32>(magnitude)), small);
    let exponent = vec4<i32>(wide >> vec4<u32>(23u)) + vec4<i32>(by) - select(vec4<i32>(), vec4<i32>(149), small);
    let moved = (wide & vec4<u32>(0x7fffffu)) | (vec4<u32>(exponent) << vec4<u32>(23u)) | (bits & vec4<u32>(0x80000000u));
    return bitcast<vec4<f32>>(select(moved, vec4<u32>(), exponent < vec4<i32>(1)));
}

fn exact_scaled(v: f32, by: i32) -> f32 {
    return exact_scaled4(vec4<f32>(v), by).x;
}
