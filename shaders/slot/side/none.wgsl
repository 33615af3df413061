// Nothing is added.
fn slot_range(at: weight_At, n: u32) -> vec2<u32> {
    return vec2<u32>();
}

fn slot_entry(at: weight_At, i: u32) -> vec2<u32> {
    return vec2<u32>();
}
