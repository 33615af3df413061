// Scales in f32.
alias slot_Raw = u32;

fn slot_fetch(at: weight_At, i: u32) -> slot_Raw {
    return outer_word(at.scales + i);
}

fn slot_of(at: weight_At, i: u32, raw: slot_Raw) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(raw), 0.0);
}
