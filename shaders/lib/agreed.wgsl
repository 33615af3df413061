// The choice in a divided sample: every workgroup finds it anew from the histograms, which is a read of 8 KiB a digit, instead of a
// dispatch of one workgroup a sample.
#import pick
#import divided

// The choice by the first digits, whose histograms are whole. All lanes call it.
fn agreed_choice(sample: u32, digits: u32, lane: u32) -> candidate_Choice {
    if (RULE == 2u) { return candidate_Choice(select_params.threshold, 0u); }
    var choice = candidate_Choice(0u, 0u);
    for (var digit = 0u; digit < digits; digit++) {
        let bins = divided_at(sample) + digit * select_BINS;
        for (var i = lane; i < select_BINS; i += pick_LANES) {
            atomicStore(&pick_bins[i], atomicLoad(&divided_state[bins + i]));
        }
        workgroupBarrier();
        choice = pick_digit(digit, choice, lane);
    }
    return choice;
}
