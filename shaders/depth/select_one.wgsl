// depth/select_one: which tokens of a sample are kept, and where they go, by one workgroup a sample.
//
// keep = valid and (not target or chosen); chosen are the k candidates of the greatest scores, of equal ones the first. The k-th
// greatest by radix select (lib/pick), the places by scans in the order of the tokens (lib/chunk): the same every time.
// Good for up to some ten thousand tokens, and for many samples: one dispatch. Wrong for one sample of more: one workgroup leaves
// the device idle, and depth/select_count and its neighbours divide the sample.
// Reads the scores and flags four times (from the cache but once; once only where a threshold is given), writes 9 bytes a token and 4
// a kept one. Barriers: 6 a digit, 3 for each 1024 tokens.
#import chunk

@compute @workgroup_size(pick_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let sample = group.x + group.y * select_params.fold;
    if (sample >= select_params.samples) { return; }
    var choice = candidate_Choice(select_params.threshold, 0u);
    if (RULE != 2u) {
        choice.threshold = 0u;
        for (var digit = 0u; digit < select_DIGITS; digit++) {
            pick_clear(lane);
            workgroupBarrier();
            for (var i = lane; i < select_params.tokens; i += pick_LANES) {
                pick_count(sample * select_params.tokens + i, digit, choice.threshold);
            }
            workgroupBarrier();
            choice = pick_digit(digit, choice, lane);
        }
    }
    var counts = vec2<u32>();
    for (var start = 0u; start < select_params.tokens; start += chunk_TOKENS) {
        counts = chunk_store(sample, start, choice, counts, lane);
    }
    let count = min(chunk_kept(counts, choice), select_params.places);
    if (lane == 0u) { count_put(select_params.count0 + sample, count); }
    chunk_fill(sample, count, 0u, select_params.places, lane);
}
