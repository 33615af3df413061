// Blocks are stored as numbers.
#slot slot_y @binding(0) // [N, K]

fn slot_block32(n: u32, block: u32, v: array<vec4<f32>, 8>) {
    var numbers = v;
    let row = adapter_params.y0 + (n - adapter_params.first) * adapter_params.k;
    for (var i = 0u; i < 8u; i++) {
        let k = block * 32u + i * 4u;
        if (k < adapter_params.k) { slot_y_store4(row + k, numbers[i], min(adapter_params.k - k, 4u)); }
    }
}
