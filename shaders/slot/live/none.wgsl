// No adapter is applied.
const slot_ON = false;
const slot_ROWS = false;
const slot_COLS = false;

fn slot_sum4(at: pool_At, m: u32, n: u32, first: u32, step: u32) -> vec4<f32> {
    return vec4<f32>();
}

fn slot_rows4(at: pool_At, m: u32, n: u32) -> vec4<f32> {
    return vec4<f32>(1.0);
}

fn slot_cols4(at: pool_At, m: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(1.0);
}

fn slot_find(at: pool_At, place: u32, places: u32) {
}

fn slot_head() {
}

fn slot_unit4(at: pool_At, unit: u32, first: u32, step: u32) -> vec4<f32> {
    return vec4<f32>();
}

fn slot_fetch(at: pool_At, n: u32, pair: u32) {
}

fn slot_add4(terms: vec2<f32>, pair: u32) -> vec4<f32> {
    return vec4<f32>();
}
