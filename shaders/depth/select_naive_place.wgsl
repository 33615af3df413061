// depth/select_naive_place: where kept tokens go, by counting those before them.
//
// An invocation a token; what becomes of the tokens is known from depth/select_naive.
// Good for reading. Wrong for more than some hundred tokens: it reads all of a sample for each. 4 bytes a token for each token.
#import kept
@group(0) @binding(8) var<storage, read> kinds: array<u32>; // [samples, tokens]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + group.y * select_params.fold) * 64u + lane;
    if (at >= select_params.samples * select_params.tokens) { return; }
    let sample = at / select_params.tokens;
    let i = at % select_params.tokens;
    var before = 0u;
    var count = 0u;
    for (var other = 0u; other < select_params.tokens; other++) {
        let kept = kinds[sample * select_params.tokens + other] >= token_OTHER;
        before += select(0u, 1u, kept && other < i);
        count += select(0u, 1u, kept);
    }
    count = min(count, select_params.places);
    var kind = kinds[at];
    if (before >= select_params.places) { kind = min(kind, token_SKIPPED); }
    kept_put(sample, i, before, kind);
    keep_store4(select_params.keep0 + at, vec4<f32>(select(0.0, 1.0, kind >= token_OTHER)), 1u);
    if (i == 0u) { count_put(select_params.count0 + sample, count); }
    // There may be more places than tokens.
    for (var p = i; p < select_params.places; p += select_params.tokens) {
        if (p >= count) { index_put(select_params.index0 + sample * select_params.places + p, 0xffffffffu); }
    }
}
