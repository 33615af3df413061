// A weight of which two numbers of every four are stored, and their places in 2 bits each (0 the lowest bits): half of the bytes of
// dense numbers, and 2 bits for each that is stored.
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]
#slot slot_dense // how the numbers are stored
#slot slot_side  // what is added

fn slot_word(i: u32) -> u32 {
    return slot_data[i >> 2u][i & 3u];
}

// Numbers 32·block … 32·block + 31 of row n.
fn slot_load32(at: weight_At, n: u32, block: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let of_row = (n - at.row0) * at.blocks + block;
    let places = slot_word(at.high + of_row);
    let lanes = vec4<u32>(0u, 1u, 2u, 3u);
    for (var i = 0u; i < 4u; i++) {
        let pairs = slot_dense_load4(at.codes, of_row * 4u + i);
        let p = (vec4<u32>(places >> (8u * i)) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
        // The second of two in one place is the one that counts.
        w[2u * i] = select(select(vec4<f32>(), vec4<f32>(pairs.x), lanes == vec4<u32>(p.x)), vec4<f32>(pairs.y), lanes == vec4<u32>(p.y));
        w[2u * i + 1u] = select(select(vec4<f32>(), vec4<f32>(pairs.z), lanes == vec4<u32>(p.z)), vec4<f32>(pairs.w), lanes == vec4<u32>(p.w));
    }
    return w;
}

// The product of numbers 32·block … 32·block + 31 of row n with as many of x.
fn slot_dot32(at: weight_At, n: u32, block: u32, x: array<vec4<f32>, 8>) -> f32 {
    return weight_dot(slot_load32(at, n, block), x);
}
