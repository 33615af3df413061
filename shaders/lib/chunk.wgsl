// The places of kept tokens in the order of the tokens, by a scan over 1024 of them at a time: 256 lanes with four each.
#import kept
#import pick
const chunk_TOKENS = 1024u;

// What becomes of the four tokens from i on.
fn chunk_kinds(sample: u32, i: u32, threshold: u32) -> vec4<u32> {
    var kinds = vec4<u32>();
    #unroll
    for (var j = 0u; j < 4u; j++) {
        if (i + j < select_params.tokens) { kinds[j] = candidate_kind(sample * select_params.tokens + i + j, threshold); }
    }
    return kinds;
}

// How many of four tokens are kept whatever comes, and in the upper half how many are ties.
fn chunk_counts(kinds: vec4<u32>) -> u32 {
    let kept = (kinds == vec4<u32>(token_OTHER)) | (kinds == vec4<u32>(token_CHOSEN));
    let counts = select(vec4<u32>(), vec4<u32>(1u), kept) + select(vec4<u32>(), vec4<u32>(0x10000u), kinds == vec4<u32>(candidate_TIE));
    return counts.x + counts.y + counts.z + counts.w;
}

// Tokens that are kept, of so many that are kept whatever comes and so many ties.
fn chunk_kept(counts: vec2<u32>, choice: candidate_Choice) -> u32 {
    return counts.x + min(counts.y, choice.ties);
}

// Stores what becomes of a chunk of tokens, of which `before` counts those before it; gives the counts with its own.
fn chunk_store(sample: u32, start: u32, choice: candidate_Choice, before: vec2<u32>, lane: u32) -> vec2<u32> {
    let i = start + lane * 4u;
    let at = sample * select_params.tokens + i;
    let kinds = chunk_kinds(sample, i, choice.threshold);
    let scan = pick_before(chunk_counts(kinds), lane);
    var counts = before + vec2<u32>(scan.x & 0xffffu, scan.x >> 16u);
    var keeps = vec4<f32>();
    #unroll
    for (var j = 0u; j < 4u; j++) {
        if (i + j < select_params.tokens) {
            let place = chunk_kept(counts, choice);
            var kind = kinds[j];
            if (kind == candidate_TIE) {
                kind = select(token_SKIPPED, token_CHOSEN, counts.y < choice.ties);
                counts.y += 1u;
            } else if (kind >= token_OTHER) {
                counts.x += 1u;
            }
            // Of more tokens than the caller has said, those past the last place are not kept.
            if (place >= select_params.places) { kind = min(kind, token_SKIPPED); }
            kept_put(sample, i + j, place, kind);
            keeps[j] = select(0.0, 1.0, kind >= token_OTHER);
        }
    }
    if (i < select_params.tokens) {
        keep_store4(select_params.keep0 + at, keeps, min(select_params.tokens - i, 4u));
    }
    return before + vec2<u32>(scan.y & 0xffffu, scan.y >> 16u);
}

// Places of a sample that no token has, from `start` to before `end`: 2^32 - 1 stands there, which is no row.
fn chunk_fill(sample: u32, count: u32, start: u32, end: u32, lane: u32) {
    for (var p = max(start, count) + lane; p < min(end, select_params.places); p += pick_LANES) {
        index_put(select_params.index0 + sample * select_params.places + p, 0xffffffffu);
    }
}
