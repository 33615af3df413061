// The numbers that a rule makes factors of: up to four vectors, read one number at a time. What a rule does not have is 0 or 1.
#import prepare
#slot a @binding(1) // [count]
#slot b @binding(2) // [count]
#slot c @binding(3) // [count]
#slot d @binding(4) // [count]

fn factors_a(i: u32) -> f32 {
    return a_load1(prepare_params.at1 + i);
}

fn factors_b(i: u32) -> f32 {
    return b_load1(prepare_params.at2 + i);
}

fn factors_c(i: u32) -> f32 {
    return c_load1(prepare_params.at3 + i);
}

fn factors_d(i: u32) -> f32 {
    return d_load1(prepare_params.at4 + i);
}

// Number p of the rule.
fn factors_number(p: u32) -> f32 {
    let all = array<f32, 5>(prepare_params.p0, prepare_params.p1, prepare_params.p2, prepare_params.p3, prepare_params.p4);
    return all[p];
}

// v / by, and 0 where there is nothing to divide by.
fn factors_over(v: f32, by: f32) -> f32 {
    return select(0.0, v / select(1.0, by, by != 0.0), by != 0.0);
}
