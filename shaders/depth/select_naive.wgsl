// depth/select_naive: what becomes of each token, by its rank: the first lesson, and the second reference.
//
// An invocation a token, which counts the candidates that are better than its own and those that are equal and stand before it. A
// token is chosen where fewer than k are. Leaves the kinds of the tokens for depth/select_naive_place.
// Good for reading. Wrong for more than some hundred tokens: it reads all of a sample's for each. 6 bytes a token for each token.
#import candidate
@group(0) @binding(8) var<storage, read_write> kinds: array<u32>; // [samples, tokens]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + group.y * select_params.fold) * 64u + lane;
    if (at >= select_params.samples * select_params.tokens) { return; }
    let first = at - at % select_params.tokens;
    let key = candidate_key(at);
    var n = 0u;
    var rank = 0u;
    for (var other = first; other < first + select_params.tokens; other++) {
        if (candidate_is(other)) {
            n += 1u;
            let other_key = candidate_key(other);
            if (other_key > key || (other_key == key && other < at)) { rank += 1u; }
        }
    }
    var chosen = rank < candidate_wanted(n);
    if (RULE == 2u) { chosen = key > select_params.threshold; }
    // A threshold below all keys: only what is no candidate stays as it is.
    var kind = candidate_kind(at, 0u);
    if (kind == candidate_TIE || kind == token_CHOSEN) { kind = select(token_SKIPPED, token_CHOSEN, chosen); }
    kinds[at] = kind;
}
