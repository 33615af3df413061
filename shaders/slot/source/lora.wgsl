// a and b as they are.
#slot slot_a @binding(0) // [R, K]
#slot slot_b @binding(1) // [N, R]

fn slot_down(r: u32, k: u32) -> f32 {
    return slot_a_load1(attach_params.a0 + r * attach_params.k + k);
}

fn slot_up(n: u32, r: u32) -> f32 {
    return slot_b_load1(attach_params.b0 + n * attach_params.rank + r);
}
