// Terms of live adapters that are made in the dispatch that takes them, for one row of x.
//
//     terms[slice, r] = scale·Σ_k x[k]·col_factor[k]·a[r,k]    over the slice's k
//
// The first workgroups, the makers, make them as adapter/down does, four ranks of a slice by each team, and put them on a tray in memory; the
// others make their sums of the weight, and find the terms there by then. They ask for them with each turn of the loop over K, and look
// at the last answer only: where the terms were there when the last turn began, nothing is waited for in the end. Their b and factors of
// rows were asked for in the beginning, or, where an index says whose, with the first turn.
//
// WGSL orders nothing between workgroups but what happens to one word, and does not promise that all of them run. Neither is asked for:
// - A word of the tray is a term or nothing (0: see make_coded). What is read is the term, or it is not there yet.
// - Who does not find a term in POLLS reads makes them all, by the same code in the same order, so that they are the same to the last bit.
//   Nobody waits for anybody. Whoever reads a third time does so as if to change the word: what only reads may ask a cache that nobody
//   refreshes (naga's HLSL loads and stores without coherence).
// - The tray has two halves. A dispatch fills one, and its makers empty the other, at which nobody looks, for the next dispatch;
//   between dispatches memory is whole. Which half it is, the highest bit of a counter tells. Each workgroup reads the counter and then adds
//   to it: 1, but the first workgroup so much that all of them together add 2^31. As long as one has not added, the others have added
//   less: so what it has read is this dispatch's half, and the next dispatch finds the bit turned.
// The tray is a set's of adapters, and nothing but these kernels writes there. It begins as zeros: both halves empty, nothing counted. Dispatches
// that write one buffer are never under way at the same time; those of other sets may be.
//
// Good for one row of a weight so large that its bytes hide those of a. Wrong for more rows, whose terms are many to look up by every
// workgroup, and for ranks above 64: who makes terms would be last.
// Bytes: a and x once, and TERMS words to each workgroup and turn, from cache: for rank 16, 512 bytes beside 9 KB of 4-bit codes.
// Barriers: 2 in the end, 3 in a browser (see slot/agree). Workgroup memory: 4·TERMS + 32 bytes, 48 there. Registers: 4 for b and 4 for
// factors of rows, as long as the sums are made; for RDNA3 the kernel compiles to the 120 that it has without adapters, and nothing is spilled.
// Tried on paper: emptying the tray by the last workgroup to leave. Nothing orders its stores after a maker's but the counter, which
// is another word. A ticket from the counter for each workgroup, so that the last one turns it: every workgroup would wait for its ticket.
// Compiled for RDNA3 by RADV: what is loaded under a condition inside the loop over K was waited for right there, and so was an atomic that
// one lane does whose result is kept; so what can be is asked for before the loop, and of the counter nobody wants a result.
// An NVIDIA H100 takes 0.9 and 1.2 µs for the terms of rank 16 beside 4,096 by 4,096 weights in f16 and Q4_0 alone (8.5 and 7.4), 2 µs beside 14,336 inputs
// of 4,096 outputs in Q4_0 (17), and 3.7 beside 4,096 of 14,336 (19). All of it goes where this kernel asks for terms and adds none. Tried there, of which none
// took a tenth of a microsecond off: taking whatever the last answer is, without a look; asking when a turn begins, or taking the answer before the last;
// eight copies of the tray, so that fewer workgroups read the same lines; makers that ask for a before they have its header; no counting.
// Not looked at: whether the code for a missing term takes so many registers that fewer workgroups fit.
#const TERMS = 4u // of all slices, of w and of up
#const INDEXED = false // the row's adapter is told by an index
#const POLLS = 64u // reads of a word, each of half a microsecond or so on a GPU, before its term is made anew
#slot tray @binding(13)   // [HEAD + two halves]: the counter first
#slot index @binding(14)  // [1]
#slot agree // 1 where a term was not there
const make_HEAD = 64u; // words: the counter, and no term beside it in any cache's line
const make_TEAMS = LANE_COUNT / LANES;
const make_TAKES = (TERMS + LANE_COUNT - 1u) / LANE_COUNT; // words that a lane reads
var<workgroup> make_tile: array<f32, TERMS>;
// All are of multiples of 16 bytes, so that x beside them can be loaded by as many.
var<workgroup> make_counted: array<u32, 4>;         // the first is the counter, before this workgroup has added to it
var<private> make_count: u32; // the counter
var<private> make_row: u32;   // the number of the row's adapter
var<private> make_words: array<u32, make_TAKES>; // the last answer of the tray

// A term as a word that is never 0: its bits turned over. Of what is no number there is one, so that none is 0 then.
fn make_coded(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    return ~select(bits, 0x7fc00000u, (bits & 0x7fffffffu) > 0x7f800000u);
}

// Whether a workgroup is a maker. They have no sums.
fn make_is_maker(id: u32) -> bool {
    return tray_ON && id < linear_params.makers;
}

// The number of a workgroup among those with sums.
fn make_number(id: u32) -> u32 {
    if (!tray_ON) { return id; }
    return id - min(id, linear_params.makers);
}

// All workgroups. A grid that is folded may have more.
fn make_groups() -> u32 {
    let each = make_TEAMS * 4u;
    return linear_params.makers + (linear_params.n1 - linear_params.n0 + each - 1u) / each;
}

// Units of four terms, of w and of both.
fn make_units() -> vec2<u32> {
    let of_w = select(0u, pool_SLICES * linear_params.live.pairs / 2u, live_w_ON);
    return vec2<u32>(of_w, of_w + select(0u, pool_SLICES * linear_params.up_live.pairs / 2u, live_up_ON));
}

fn make_find() {
    if (live_w_ON) { live_w_find(linear_params.live, make_row, linear_params.entries); }
    if (live_up_ON) { live_up_find(linear_params.up_live, make_row, linear_params.up_entries); }
}

fn make_head() {
    if (live_w_ON) { live_w_head(); }
    if (live_up_ON) { live_up_head(); }
}

// The pair of ranks that a lane adds in the end. Lanes with the same one share the slices.
fn make_pair(pairs: u32, t: u32) -> u32 {
    return t & (make_across(pairs) - 1u);
}

// The power of two that holds so many pairs, of which there are two or more.
fn make_across(pairs: u32) -> u32 {
    return 1u << (32u - countLeadingZeros(max(pairs, 2u) - 1u));
}

// Before all else, by all lanes with outputs from n on.
fn make_begin(id: u32, lane: u32, n: u32) {
    make_count = tray_word(0u);
    make_row = index_word(linear_params.index0);
    let is_maker = make_is_maker(id);
    if (is_maker || !INDEXED || live_w_COLS) { make_find(); }
    if (!is_maker && !INDEXED) { make_fetch(n, lane % LANES); }
    // Factors of columns stand before x.
    if (is_maker || live_w_COLS) { make_head(); }
}

// With each turn of the loop over K, after its first barrier: asks for the terms and the adapter's header, and with the first turn, when the
// index, asked for in the beginning, is there, for what else a lane wants in the end.
fn make_ask(lane: u32, n: u32, is_first: bool) {
    if (INDEXED && is_first) {
        if (!live_w_COLS) { make_find(); }
        make_fetch(n, lane % LANES);
    }
    if (!live_w_COLS) { make_head(); }
    if (POLLS == 0u) { return; }
    #unroll
    for (var i = 0u; i < make_TAKES; i++) { make_words[i] = tray_word(make_first(make_counted[0] >> 31u) + make_taken(i, lane)); }
}

// Where a half of the tray begins.
fn make_first(half: u32) -> u32 {
    return make_HEAD + half * linear_params.room;
}

// The word that a lane takes, and past the last one the last again.
fn make_taken(i: u32, lane: u32) -> u32 {
    return min(i * LANE_COUNT + lane, TERMS - 1u);
}

// Asks for what a lane wants in the end.
fn make_fetch(n: u32, t: u32) {
    let inside = min(n, linear_params.n1 - 1u);
    if (live_w_ON) { live_w_fetch(linear_params.live, inside, make_pair(linear_params.live.pairs, t)); }
    if (live_up_ON) { live_up_fetch(linear_params.up_live, inside, make_pair(linear_params.up_live.pairs, t)); }
}

// Before the first barrier of a turn, by all lanes.
fn make_publish(lane: u32) {
    if (lane == 0u) {
        make_counted[0] = make_count;
        agree_clear();
    }
}

// Makers put their terms on the tray, the others find or make all. All lanes call it.
fn make_terms(id: u32, lane: u32) {
    let t = lane % LANES;
    let team = lane / LANES;
    let is_maker = make_is_maker(id);
    let units = make_units();
    if (is_maker) {
        make_publish(lane);
        workgroupBarrier();
    }
    let half = make_counted[0] >> 31u;
    let first = make_first(half);
    let other = make_first(1u - half);
    if (lane == 0u && id < make_groups()) { tray_count(select(1u, 0x80000000u - (make_groups() - 1u), id == 0u)); }

    if (is_maker) {
        for (var i = id * LANE_COUNT + lane; i < linear_params.room; i += linear_params.makers * LANE_COUNT) { tray_put(other + i, 0u); }
    } else {
        var words = make_words;
        var is_there = true;
        #unroll
        for (var i = 0u; i < make_TAKES; i++) { is_there = is_there && words[i] != 0u; }
        // Who misses one asks for all again, and at first only reads: of changes there is one at a time, and there are many who ask.
        if (POLLS > 1u && !is_there) {
            #unroll
            for (var i = 0u; i < make_TAKES; i++) { words[i] = tray_word(first + make_taken(i, lane)); }
        }
        #unroll
        for (var i = 0u; i < make_TAKES; i++) {
            let at = make_taken(i, lane);
            for (var poll = 2u; poll < POLLS && words[i] == 0u; poll++) { words[i] = tray_fresh(first + at); }
            if (words[i] == 0u) { agree_raise(1u); }
            if (i * LANE_COUNT + lane < TERMS) { make_tile[at] = bitcast<f32>(~words[i]); }
        }
    }
    // With it comes a barrier: the tile is whole.
    let is_missing = agree_raised(lane) != 0u;

    var mine = vec2<u32>();
    if (is_maker) {
        mine = vec2<u32>(id * make_TEAMS, min((id + 1u) * make_TEAMS, units.y));
    } else if (is_missing) {
        mine = vec2<u32>(0u, units.y);
    }
    for (var unit0 = mine.x; unit0 < mine.y; unit0 += make_TEAMS) {
        let unit = min(unit0 + team, units.y - 1u);
        var four = vec4<f32>();
        if (live_w_ON && unit < units.x) { four = live_w_unit4(linear_params.live, unit, t, LANES); }
        if (live_up_ON && unit >= units.x) { four = live_up_unit4(linear_params.up_live, unit - units.x, t, LANES); }
        four = reduce_sum4(four, lane);
        if (t < 4u && unit0 + team < units.y) {
            if (is_maker) {
                tray_put(first + unit * 4u + t, make_coded(four_at(four, t)));
            } else {
                make_tile[unit * 4u + t] = four_at(four, t);
            }
        }
    }
    if (is_missing) { workgroupBarrier(); }
}

// A lane's part of two terms, of its slices; they begin here.
fn make_two(pairs: u32, first: u32, t: u32) -> vec2<f32> {
    let across = make_across(pairs);
    let pair = min(make_pair(pairs, t), pairs - 1u);
    var two = vec2<f32>();
    for (var slice = t / across; slice < pool_SLICES; slice += LANES / across) {
        let i = first + (slice * pairs + pair) * 2u;
        two += vec2<f32>(make_tile[i], make_tile[i + 1u]);
    }
    return two;
}

// What a lane adds to its sums of w. Lanes of a team bring it together.
fn make_w4(t: u32) -> vec4<f32> {
    if (!live_w_ON) { return vec4<f32>(); }
    let pairs = linear_params.live.pairs;
    return live_w_add4(make_two(pairs, 0u, t), make_pair(pairs, t));
}

fn make_up4(t: u32) -> vec4<f32> {
    if (!live_up_ON) { return vec4<f32>(); }
    let pairs = linear_params.up_live.pairs;
    return live_up_add4(make_two(pairs, make_units().x * 4u, t), make_pair(pairs, t));
}
