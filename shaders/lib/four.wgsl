// Numbers of a lane by an index that no compiler knows. Registers have no addresses: what is indexed so would go to memory, and all of its
// array with it. A choice of four is three instructions.

// Number i of four.
fn four_at(v: vec4<f32>, i: u32) -> f32 {
    return select(select(v.x, v.y, i == 1u), select(v.z, v.w, i == 3u), i > 1u);
}

// Which of the four numbers from number k on is number i.
fn four_is(k: u32, i: u32) -> vec4<bool> {
    return vec4<u32>(k, k + 1u, k + 2u, k + 3u) == vec4<u32>(i);
}

// A block of 32 numbers, to number i of which a term is added.
fn four_add32(v: array<vec4<f32>, 8>, i: u32, term: f32) -> array<vec4<f32>, 8> {
    var sums = v;
    #unroll
    for (var quad = 0u; quad < 8u; quad++) {
        sums[quad] = select(sums[quad], sums[quad] + term, four_is(quad * 4u, i));
    }
    return sums;
}
