// Slices of K, where outputs are too few to fill a device: workgroups share the inputs of an output, and linear/merge adds their sums.
#import linear
#slot parts @binding(8) // [slices, matrices, M, ⌈outputs / 4⌉]

// The slice of a workgroup.
fn slices_slice(id: u32) -> u32 {
    return id % linear_params.slices;
}

// The blocks of 32 inputs of a slice: the first, and the one after the last. They are so many at a time.
fn slices_blocks(slice: u32, together: u32) -> vec2<u32> {
    let blocks = (linear_params.k + 31u) / 32u;
    let each = (blocks + linear_params.slices * together - 1u) / (linear_params.slices * together) * together;
    let first = min(slice * each, blocks);
    return vec2<u32>(first, min(first + each, blocks));
}

// What the adapter of row m adds to whole sums of outputs n … n + 3. To those of slices linear/merge adds it.
fn slices_live4(m: u32, n: u32) -> vec4<f32> {
    if (parts_ON) { return vec4<f32>(); }
    return linear_live4(m, n);
}

fn slices_up_live4(m: u32, n: u32) -> vec4<f32> {
    if (parts_ON) { return vec4<f32>(); }
    return linear_up_live4(m, n);
}

// Stores outputs n … n + 3 of row m: whole sums finished, those of a slice by themselves.
fn slices_store4(slice: u32, m: u32, n: u32, sums: vec4<f32>, up_sums: vec4<f32>) {
    if (!parts_ON) {
        linear_store4(m, n, sums, up_sums);
        return;
    }
    if (m >= linear_params.m || n >= linear_params.n1) { return; }
    let quads = (linear_params.n1 - linear_params.n0 + 3u) / 4u;
    let matrices = select(1u, 2u, GATED);
    let i = (slice * matrices * linear_params.m + m) * quads + (n - linear_params.n0) / 4u;
    parts_store4(i, sums);
    if (GATED) { parts_store4(i + linear_params.m * quads, up_sums); }
}
