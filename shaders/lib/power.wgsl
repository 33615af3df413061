// Powers of two, for numbers that are moved into the range of another storage and back.

// 2^n, as far as a normal f32 can be that.
fn power_of_two(n: i32) -> f32 {
    return bitcast<f32>(u32(clamp(n, -126, 127) + 127) << 23u);
}
