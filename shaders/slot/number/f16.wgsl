// Computes in f16: to measure its rate, which no kernel's sums use.
enable f16;
alias slot_vec4 = vec4<f16>;

fn slot_from(v: vec4<f32>) -> slot_vec4 {
    return slot_vec4(v);
}
