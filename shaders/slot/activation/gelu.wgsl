// v/2·erfc(−v/√2): erfc by a Chebyshev fit with a relative error of 1.2e-7 everywhere (Press et al., Numerical Recipes, 6.2), so that
// the tail of negative v is right too.
fn slot_of(v: vec4<f32>) -> vec4<f32> {
    let z = abs(v) * 0.7071067811865476;
    let t = 1.0 / (1.0 + 0.5 * z);
    var p = vec4<f32>(0.17087277);
    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    p = p * t - 1.26551223;
    let tail = t * exp(p - z * z);
    return 0.5 * v * select(2.0 - tail, tail, v < vec4<f32>());
}
