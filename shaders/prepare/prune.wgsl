// prepare/prune: of every OF numbers side by side in a row, the DROP with the lowest |w[n,k]| · norm[k] become 0.
//
// One lane has OF numbers and ranks each against all others; of equals the first is lower. Scores are compared as bits, which order like
// magnitudes: a NaN ranks above all and stays.
// Good for n:m patterns that hardware multiplies with (2:4). Wrong for a share of a whole row, which wants a selection.
// Moves w once and y once; OF² comparisons a lane, 2·OF registers, no barriers.
#const OF = 4u
#const DROP = 2u
#import prepare
#slot w @binding(1)    // [N, K]
#slot norm @binding(2) // [K]
#slot y @binding(3)    // [N, K]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * prepare_params.fold) * 64u + lane;
    let k = prepare_params.k;
    let row = id / (k / OF);
    if (row >= prepare_params.n) { return; }
    let first = id % (k / OF) * OF;
    var numbers: array<vec4<f32>, OF / 4u>;
    var scores: array<u32, OF>;
    #unroll
    for (var q = 0u; q < OF / 4u; q++) {
        let i = first + q * 4u;
        numbers[q] = w_load4(prepare_params.at1 + row * k + i, 4u);
        let bits = bitcast<vec4<u32>>(abs(numbers[q]) * norm_load4(prepare_params.at2 + i, 4u)) & vec4<u32>(0x7fffffffu);
        scores[q * 4u] = bits.x;
        scores[q * 4u + 1u] = bits.y;
        scores[q * 4u + 2u] = bits.z;
        scores[q * 4u + 3u] = bits.w;
    }
    #unroll
    for (var q = 0u; q < OF / 4u; q++) {
        var ranks = vec4<u32>();
        let places = vec4<u32>(0u, 1u, 2u, 3u) + vec4<u32>(q * 4u);
        let own = vec4<u32>(scores[q * 4u], scores[q * 4u + 1u], scores[q * 4u + 2u], scores[q * 4u + 3u]);
        #unroll
        for (var i = 0u; i < OF; i++) {
            let score = vec4<u32>(scores[i]);
            let lower = (score < own) | ((score == own) & (vec4<u32>(i) < places));
            ranks += select(vec4<u32>(), vec4<u32>(1u), lower);
        }
        let kept = select(vec4<f32>(), numbers[q], ranks >= vec4<u32>(DROP));
        y_store4(prepare_params.at3 + row * k + first + q * 4u, kept, 4u);
    }
}
