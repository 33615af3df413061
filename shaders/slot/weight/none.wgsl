// There is no such weight.
alias slot_Raw = u32;
alias slot_Open = u32;

fn slot_fetch32(at: weight_At, n: u32, block: u32) -> slot_Raw {
    return 0u;
}

fn slot_open32(at: weight_At, n: u32, block: u32, raw: slot_Raw) -> slot_Open {
    return 0u;
}

fn slot_number4(at: weight_At, n: u32, block: u32, opened: slot_Open, i: u32) -> vec4<f32> {
    return vec4<f32>();
}

fn slot_load32(at: weight_At, n: u32, block: u32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>();
}

fn slot_dot32(at: weight_At, n: u32, block: u32, opened: slot_Open, x: array<vec4<f32>, 8>) -> f32 {
    return 0.0;
}

fn slot_side_range(at: weight_At, n: u32) -> vec2<u32> {
    return vec2<u32>();
}

fn slot_side_entry(at: weight_At, i: u32) -> vec2<u32> {
    return vec2<u32>();
}

const slot_RUN = 32u;

fn slot_codes32(at: weight_At, n: u32, block: u32) -> array<u32, 8> {
    return array<u32, 8>();
}

fn slot_run_scale(at: weight_At, n: u32, block: u32, run: u32) -> vec2<f32> {
    return vec2<f32>();
}

fn slot_run_sum(dot: i32, ones: i32, scale: vec2<f32>) -> f32 {
    return 0.0;
}

fn slot_whole(dot: i32, ones: i32) -> i32 {
    return 0;
}

fn slot_row_scale(at: weight_At, n: u32) -> f32 {
    return 0.0;
}

// What all lanes do before a barrier, after which numbers may be asked for.
fn slot_begin(at: weight_At, lane: u32) {}
