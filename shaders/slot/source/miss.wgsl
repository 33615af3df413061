// A block that is repeated along K, and in its mini form along N: it is b the other way round. Of a nothing is stored: rank r takes every
// input k with k % R = r, which adapter/down knows.
#slot slot_a @binding(0) // [R, wide]

fn slot_down(r: u32, k: u32) -> f32 {
    return 0.0;
}

fn slot_up(n: u32, r: u32) -> f32 {
    return slot_a_load1(attach_params.a0 + r * attach_params.wide + n % attach_params.wide);
}
