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

// The f32 nearest to q·2^exponent, or, where something is left, to what is beyond it by less than one such step; q is from 2^24 to 2^31.
fn exact_rounded(q: u32, left: bool, exponent: i32) -> u32 {
    let bits = 32 - bitcast<i32>(countLeadingZeros(q));
    let e = exponent + bits + 126; // biased, of the highest bit
    if (e > 254) { return 0x7f800000u; }
    if (e < -23) { return 0u; }
    let drop = u32(bits - 24 + max(1 - e, 0));
    let kept = q >> drop;
    let dropped = q & ((1u << drop) - 1u);
    let middle = 1u << (drop - 1u);
    let up = dropped > middle || (dropped == middle && (left || (kept & 1u) == 1u));
    return kept + u32(up) + (u32(max(e, 1) - 1) << 23u);
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
    let half = rest * 2 >= step;
    let left = rest * 2 - select(0, step, half) != 0;
    return exact_rounded((q << 1u) | u32(half), left, exponent - 151);
}

// The f32 nearest to 1 / b; 0 where that is no number to multiply with.
fn exact_inverse(b: u32) -> u32 {
    if (b == 0u) { return 0u; }
    let q = exact_quotient(0x3f800000u, b);
    return select(q, 0u, q >= 0x7f800000u);
}

// v · 2^by, with |by| below 128; a zero where that is subnormal. Only what stays below 2^128 may be asked for.
fn exact_scaled4(v: vec4<f32>, by: i32) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(v);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    // A subnormal is a whole number of steps of 2^-149.
    let small = magnitude < vec4<u32>(0x800000u);
    let wide = select(magnitude, bitcast<vec4<u32>>(vec4<f32>(magnitude)), small);
    let exponent = vec4<i32>(wide >> vec4<u32>(23u)) + vec4<i32>(by) - select(vec4<i32>(), vec4<i32>(149), small);
    let moved = (wide & vec4<u32>(0x7fffffu)) | (vec4<u32>(exponent) << vec4<u32>(23u));
    return bitcast<vec4<f32>>(select(moved, vec4<u32>(), exponent < vec4<i32>(1)) | (bits & vec4<u32>(0x80000000u)));
}

fn exact_scaled(v: f32, by: i32) -> f32 {
    return exact_scaled4(vec4<f32>(v), by).x;
}

// A magnitude times 2^by, as bits, where that is a number that f32 has, be it subnormal; infinite from 2^128 on.
fn exact_moved(magnitude: u32, by: i32) -> u32 {
    if (magnitude == 0u) { return 0u; }
    let parts = exact_parts(magnitude);
    let exponent = bitcast<i32>(parts.y) + by;
    let normal = (parts.x & 0x7fffffu) | (u32(clamp(exponent, 1, 255)) << 23u);
    let small = parts.x >> u32(clamp(1 - exponent, 0, 31));
    return select(select(normal, small, exponent < 1), 0x7f800000u, exponent > 254);
}
