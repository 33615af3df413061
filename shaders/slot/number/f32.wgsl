// Computes in f32.
alias slot_vec4 = vec4<f32>;

fn slot_from(v: vec4<f32>) -> slot_vec4 {
    return v;
}
