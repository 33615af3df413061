// (a1·b1) ∘ (a2·b2) as one product of rank R²: rank (r1, r2) is b1[r1]·b2[r2] of inputs, and a1[r1]·a2[r2] of outputs.
#slot slot_a1 @binding(0) // [N, R]
#slot slot_b1 @binding(1) // [R, K]
#slot slot_a2 @binding(2) // [N, R]
#slot slot_b2 @binding(3) // [R, K]

fn slot_down(r: u32, k: u32) -> f32 {
    let first = r / attach_params.rank * attach_params.k + k;
    let second = r % attach_params.rank * attach_params.k + k;
    return slot_b1_load1(attach_params.b0 + first) * slot_b2_load1(attach_params.d0 + second);
}

fn slot_up(n: u32, r: u32) -> f32 {
    let row = n * attach_params.rank;
    let first = slot_a1_load1(attach_params.a0 + row + r / attach_params.rank);
    return first * slot_a2_load1(attach_params.c0 + row + r % attach_params.rank);
}
