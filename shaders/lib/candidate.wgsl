// The tokens among which is chosen: targets that are valid.
#import select
#const RULE = 0u          // how many: 0 k, 1 a ratio of the candidates, 2 all above a threshold
#slot key @binding(1)     // [samples, tokens]
#slot target @binding(2)  // [samples, tokens]
#slot valid @binding(3)   // [samples, tokens]

// As good as the worst that is chosen: whether it is one of them, its index says.
const candidate_TIE = 4u;

// What has been chosen: all whose keys are greater than the threshold, and of those that have it the first `ties`.
struct candidate_Choice {
    threshold: u32,
    ties: u32,
}

// Token `at`, counted over all samples, is one.
fn candidate_is(at: u32) -> bool {
    return valid_on(select_params.valid0 + at) && target_on(select_params.target0 + at);
}

fn candidate_key(at: u32) -> u32 {
    return key_at(select_params.score0 + at);
}

// What becomes of a token.
fn candidate_kind(at: u32, threshold: u32) -> u32 {
    if (!valid_on(select_params.valid0 + at)) { return token_PADDING; }
    if (!target_on(select_params.target0 + at)) { return token_OTHER; }
    let key = candidate_key(at);
    let below = select(token_SKIPPED, candidate_TIE, key == threshold);
    return select(below, token_CHOSEN, key > threshold);
}

// How many of n candidates are wanted. One product, rounded to f32: n is below 2^24.
fn candidate_wanted(n: u32) -> u32 {
    if (RULE == 1u) { return min(u32(f32(n) * select_params.ratio), n); }
    return min(select_params.k, n);
}
