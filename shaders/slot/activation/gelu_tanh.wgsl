// v/2·(1 + tanh(u)), u = sqrt(2/π)·(v + 0.044715·v³), as v / (1 + exp(−2u)): exact where tanh is all but ±1, and nothing cancels.
fn slot_of(v: vec4<f32>) -> vec4<f32> {
    return v / (1.0 + exp(-1.5957691216057308 * (v + 0.044715 * v * v * v)));
}
