// depth/select_compact: the kept tokens of all samples one after the other, where a selection leaves places between those of one sample and
// those of the next.
//
//   starts[b] = sum of the counts before b      row of a kept token: b·places + p becomes starts[b] + p, in its place and in the index
//
// Past the last kept token the index has no row.
// Good behind a selection among several samples that keep unequal numbers: what comes after works on kept rows alone. Wrong for one sample,
// or for equal numbers that fill their places, whose rows are so already. One lane a token, or a place. Bytes: places once read and once
// written, the index once written; the counts, which stay in a cache, for each lane.
#import select
@group(0) @binding(4) var<storage, read> count: array<u32>;        // [samples]
@group(0) @binding(5) var<storage, read_write> index: array<u32>;  // [samples, places]
@group(0) @binding(6) var<storage, read_write> place: array<u32>;  // [samples, tokens]
@group(0) @binding(7) var<storage, read_write> starts: array<u32>; // [samples + 1]

fn before(sample: u32) -> u32 {
    var sum = 0u;
    for (var i = 0u; i < sample; i++) { sum += count[select_params.count0 + i]; }
    return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * select_params.fold) * 64u + lane;
    if (id <= select_params.samples) { starts[select_params.starts0 + id] = before(id); }
    if (id < select_params.samples * select_params.places && id >= before(select_params.samples)) {
        index[select_params.index0 + id] = 0xffffffffu;
    }
    if (id >= select_params.samples * select_params.tokens) { return; }
    let word = place[select_params.place0 + id];
    let kind = word & 3u;
    if (kind < token_OTHER) { return; }
    let sample = id / select_params.tokens;
    let row = (word >> 2u) - sample * select_params.places + before(sample);
    place[select_params.place0 + id] = (row << 2u) | kind;
    index[select_params.index0 + row] = id;
}
