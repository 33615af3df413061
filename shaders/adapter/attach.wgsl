// adapter/attach: puts an adapter into its place in a pool, in the order that adapter/down and slot/live/pool read.
//
//     a[r, k] and b[n, r], rounded to the storage of the pool; the factors of the norms that were summed last; and what says that they are there
//
// One lane for eight numbers: 16 or 32 bytes a store, neighbours next to each other. a stands by rows of inputs, b by quads of outputs
// with pairs of ranks side by side. Ranks come in pairs: an odd one gets another of zeros. One lane for four factors: of rows for DoRA, and for
// BoRA of what comes second, whose sums need the first's, which adapter/factors puts into the same place. A dispatch of their own for these
// would be a third of the dispatches of DoRA, each a few microseconds of waiting for the one before, and there are seven weights a layer.
// Good as often as requests change adapters: nothing is allocated, no pipeline depends on the rank, and the order of the queue is all that
// has to be waited for. Wrong as a copy of large matrices: loads are of single numbers, from cache.
// Bytes: the adapter once in and once out; 4 for each sum.
#import attach
#slot source @binding(1) // [the adapter's tensors]
#slot eight
@group(0) @binding(5) var<storage, read_write> pool: array<vec4<u32>>; // [adapters, quads of one]
#slot normed @binding(6) // [count] and [slices, count]

fn put(i: u32, v: array<vec4<f32>, 2>) {
    let quads = eight_quads(v);
    pool[i] = quads[0];
    if (eight_QUADS == 2u) { pool[i + 1u] = quads[1]; }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * attach_params.fold) * 64u + lane;
    let at = attach_params.pool;
    let first = attach_params.first;
    let pairs = (attach_params.ranks + 1u) / 2u;
    if (id == 0u) {
        pool[first] = vec4<u32>(pairs, attach_params.flags, bitcast<u32>(attach_params.scale), attach_params.every);
    }
    let across = (attach_params.k + 7u) / 8u;
    let of_a = select(2u * pairs * across, 0u, attach_params.every > 0u);
    let of_b = (attach_params.n + 3u) / 4u * pairs;
    var v: array<vec4<f32>, 2>;
    if (id < of_a) {
        let r = id / across;
        let k = id % across * 8u;
        #unroll
        for (var j = 0u; j < 8u; j++) {
            if (r < attach_params.ranks && k + j < attach_params.k) { v[j / 4u][j % 4u] = source_down(r, k + j); }
        }
        put(first + at.a + id * eight_QUADS, v);
    } else if (id < of_a + of_b) {
        let quad = (id - of_a) / pairs;
        let pair = (id - of_a) % pairs;
        #unroll
        for (var j = 0u; j < 8u; j++) {
            let n = quad * 4u + j % 4u;
            let r = pair * 2u + j / 4u;
            if (n < attach_params.n && r < attach_params.ranks) { v[j / 4u][j % 4u] = source_up(n, r); }
        }
        put(first + at.b + (quad * at.pairs + pair) * eight_QUADS, v);
    } else if (id < of_a + of_b + (attach_params.sums.count + 3u) / 4u) {
        let quad = id - of_a - of_b;
        var factors: vec4<f32>;
        #unroll
        for (var j = 0u; j < 4u; j++) {
            if (quad * 4u + j < attach_params.sums.count) { factors[j] = normed_factor(attach_params.sums, quad * 4u + j); }
        }
        pool[first + attach_params.sums.to + quad] = bitcast<vec4<u32>>(factors);
    }
}
