// Floats in the order in which tokens are chosen, as whole numbers: greater is better.

// From the bits of an f32. NaN comes last, below −infinity, and both zeros are the same. No float is touched, so that no device
// flushes or changes one.
fn order_of(bits: u32) -> u32 {
    // −0 is not among the negative ones.
    let key = select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
    return select(key, 0u, (bits & 0x7fffffffu) > 0x7f800000u);
}
