// kv/state: lengths and block tables of a cache, changed on the device in the order in which work is recorded, so that nobody waits for
// anybody. For elements b of the batch in a run of layers:
//
//   length' = min(max(length of `source` + add + counts[b], 0), limit)      start = length of `source`, or NOWHERE where there are no more than before
//
// up to 32 entries of a table, and a run of entries that become no page. Start is where the tokens that come now are appended, length how many
// there are then; to whom none come nothing is written, whatever a prologue makes for the others.
// Good before a prologue, for one layer or for all at once. Wrong for many entries, which the host writes at once when nothing is recorded.
// One lane an entry. Bytes: a few.
#const COUNTS = false // how many tokens come is on the device
#const SOURCE = false // lengths are taken of another element: a fork
struct state_Params {
    fold: u32,    // the grid's x
    layer0: u32,  // the first layer
    layers: u32,  // how many
    b0: u32,      // the first element
    count: u32,   // how many
    batch: u32,   // elements of the batch
    add: u32,     // tokens that come, or those that go as a number below 0
    limit: u32,   // the most that there may be: below 2^30
    source: u32,  // the element whose lengths are taken
    counts0: u32, // the first count
    entry0: u32,  // the word of the first entry
    entries: u32, // how many
    gone0: u32,   // the word of the first entry that becomes no page
    gone: u32,    // how many
    pad0: u32,    // nothing
    pad1: u32,    // nothing
    e0: vec4<u32>,
    e1: vec4<u32>,
    e2: vec4<u32>,
    e3: vec4<u32>,
    e4: vec4<u32>,
    e5: vec4<u32>,
    e6: vec4<u32>,
    e7: vec4<u32>,
}
@group(0) @binding(0) var<uniform> state_params: state_Params;
#slot counts @binding(1) // [batch]
@group(0) @binding(2) var<storage, read_write> state: array<u32>; // [layers, (start, length), batch], then tables

// Past the room of any cache, and a query that stands there is no number that overflows.
const NOWHERE = 1u << 30u;
const NO_PAGE = 0xffffffffu;

fn entry(i: u32) -> u32 {
    var all = array<vec4<u32>, 8>(
        state_params.e0, state_params.e1, state_params.e2, state_params.e3, state_params.e4, state_params.e5, state_params.e6, state_params.e7);
    var four = all[0];
    #unroll
    for (var j = 1u; j < 8u; j++) { four = select(four, all[j], i >> 2u == j); }
    return select(select(four.x, four.y, (i & 3u) == 1u), select(four.z, four.w, (i & 3u) == 3u), (i & 3u) > 1u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * state_params.fold) * 64u + lane;
    if (id < state_params.entries) { state[state_params.entry0 + id] = entry(id); }
    if (id < state_params.gone) { state[state_params.gone0 + id] = NO_PAGE; }
    if (id >= state_params.layers * state_params.count) { return; }
    let b = state_params.b0 + id % state_params.count;
    let start = (state_params.layer0 + id / state_params.count) * 2u * state_params.batch;
    let lengths = start + state_params.batch;
    var source = b;
    if (SOURCE) { source = state_params.source; }
    var add = state_params.add;
    if (COUNTS) { add += min(u32(max(bitcast<i32>(counts_word(state_params.counts0 + b)), 0)), state_params.limit); }
    let before = state[lengths + source];
    let after = u32(clamp(bitcast<i32>(before + add), 0, bitcast<i32>(state_params.limit)));
    state[start + b] = select(NOWHERE, before, after > before);
    state[lengths + b] = after;
}
