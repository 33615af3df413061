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
