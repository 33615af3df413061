// int8 codes of x as the kernels that multiply codes read them. The kernel imports `linear`.

// Codes k … k + 3 of row m, zeros past the end.
fn codes_quad(m: u32, k: u32) -> u32 {
    let i = linear_params.x0 + m * linear_params.k + k;
    if (!TAIL) { return x_quad(i, 4u); }
    if (k >= linear_params.k) { return 0u; }
    return x_quad(i, min(linear_params.k - k, 4u));
}

// Codes k … k + 15 of row m.
fn codes_load16(m: u32, k: u32) -> vec4<u32> {
    return vec4<u32>(codes_quad(m, k), codes_quad(m, k + 4u), codes_quad(m, k + 8u), codes_quad(m, k + 12u));
}

// Of `count` words from `first` on: the products of codes, and the sum of those of x.
fn codes_products(codes: array<u32, 8>, x: array<u32, 8>, first: u32, count: u32) -> vec2<i32> {
    var w = codes;
    var v = x;
    var sums = vec2<i32>();
    #unroll
    for (var i = 0u; i < 8u; i++) {
        if (i >= first && i < first + count) {
            sums += vec2<i32>(dot4I8Packed(w[i], v[i]), dot4I8Packed(0x01010101u, v[i]));
        }
    }
    return sums;
}

// Two vectors as they lie side by side.
fn codes_words(a: vec4<u32>, b: vec4<u32>) -> array<u32, 8> {
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
