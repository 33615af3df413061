// There are no scales.
alias slot_Raw = u32;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return 0u;
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    return vec2<f32>(1.0, 0.0);
}
