// v / (1 + exp(−v)). Where exp overflows the quotient is 0, as it should be.
fn slot_of(v: vec4<f32>) -> vec4<f32> {
    return v / (1.0 + exp(-v));
}
