// The k-th greatest key of a sample by radix select: digits of 11, 11 and 10 bits, the highest first. A pass counts the keys that
// share the digits found so far by their next digit; where the counts from the greatest digit on reach k, there is the next digit.
// A workgroup has 256 lanes, each with 8 of 2048 bins. 9,236 bytes of workgroup memory; 3 barriers a scan, 5 a digit.
#import candidate
const pick_LANES = 256u;
const pick_OWN = select_BINS / pick_LANES;
var<workgroup> pick_bins: array<atomic<u32>, select_BINS>;
var<workgroup> pick_tile: array<u32, pick_LANES>;
var<workgroup> pick_found: candidate_Choice;

// Where the digit of a pass begins.
fn pick_shift(digit: u32) -> u32 {
    return select(select(0u, 10u, digit == 1u), 21u, digit == 0u);
}

// The bits above the digit of a pass.
fn pick_mask(digit: u32) -> u32 {
    return select(select(0xfffffc00u, 0xffe00000u, digit == 1u), 0u, digit == 0u);
}

// What the lanes before this one have together, and what all have. All lanes call it.
fn pick_before(own: u32, lane: u32) -> vec2<u32> {
    pick_tile[lane] = own;
    workgroupBarrier();
    // 16 lanes add up 16 numbers each, then every lane those of the runs before its own.
    if (lane < 16u) {
        var sum = 0u;
        for (var i = lane * 16u; i < lane * 16u + 16u; i++) {
            sum += pick_tile[i];
            pick_tile[i] = sum;
        }
    }
    workgroupBarrier();
    var before = pick_tile[lane] - own;
    var all = 0u;
    for (var run = 0u; run < 16u; run++) {
        let sum = pick_tile[run * 16u + 15u];
        before += select(0u, sum, run < lane / 16u);
        all += sum;
    }
    workgroupBarrier(); // the tile is free again
    return vec2<u32>(before, all);
}

// Empties the bins. A barrier is needed behind it.
fn pick_clear(lane: u32) {
    for (var i = 0u; i < pick_OWN; i++) { atomicStore(&pick_bins[i * pick_LANES + lane], 0u); }
}

// Counts a token by a digit, if it is a candidate that shares the digits above.
fn pick_count(at: u32, digit: u32, found: u32) {
    if (candidate_is(at)) {
        let key = candidate_key(at);
        if ((key & pick_mask(digit)) == found) {
            // The last digit takes one bit more than it has, which these keys share.
            atomicAdd(&pick_bins[(key >> pick_shift(digit)) & (select_BINS - 1u)], 1u);
        }
    }
}

// One digit more, from full bins: the threshold grows by it, and `ties` are the keys that are wanted of those that share it.
// Where none are wanted the threshold is above all keys. All lanes call it, behind a barrier.
fn pick_digit(digit: u32, before: candidate_Choice, lane: u32) -> candidate_Choice {
    // The first lane has the greatest digits.
    let low = select_BINS - (lane + 1u) * pick_OWN;
    var own = 0u;
    for (var i = 0u; i < pick_OWN; i++) { own += atomicLoad(&pick_bins[low + i]); }
    let counts = pick_before(own, lane);
    var wanted = before.ties;
    if (digit == 0u) { wanted = candidate_wanted(counts.y); }
    if (lane == 0u && wanted == 0u) { pick_found = candidate_Choice(0xffffffffu, 0u); }
    if (counts.x < wanted && wanted <= counts.x + own) {
        var above = counts.x;
        var bin = low + pick_OWN - 1u;
        var in_bin = atomicLoad(&pick_bins[bin]);
        while (above + in_bin < wanted) {
            above += in_bin;
            bin -= 1u;
            in_bin = atomicLoad(&pick_bins[bin]);
        }
        pick_found = candidate_Choice(before.threshold | (bin << pick_shift(digit)), wanted - above);
    }
    workgroupBarrier();
    let found = pick_found;
    workgroupBarrier(); // the bins are free again
    return found;
}
