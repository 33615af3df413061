// Weights: where the sections of one lie in its buffer (src/formats/laid.rs has the layout and the Rust twin of this struct).
struct weight_At {
    row0: u32,       // the first row of this part of the weight; rows are told by their number in the whole weight
    k: u32,          // numbers in a row
    blocks: u32,     // blocks of 32 codes in a row; of dense numbers, quads
    codes: u32,      // words from here on: codes, or dense numbers
    high: u32,       // their higher bits, or the places of 2:4 sparsity
    scales: u32,     // scales
    scales_row: u32, // of which a row of scales has so many
    supers: u32,     // what scales are multiplied with
    table: u32,      // levels
    order: u32,      // the group of each column
    side: u32,       // what is added
    nothing: u32,    // 0, which no compiler knows
}

// The product of 32 numbers with 32 of x.
fn weight_dot(w: array<vec4<f32>, 8>, x: array<vec4<f32>, 8>) -> f32 {
    var of_w = w;
    var of_x = x;
    var sum = vec4<f32>();
    #unroll
    for (var i = 0u; i < 8u; i++) { sum += of_w[i] * of_x[i]; }
    return (sum.x + sum.y) + (sum.z + sum.w);
}
