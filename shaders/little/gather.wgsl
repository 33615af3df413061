// little/gather: little operands of another kernel, side by side in one buffer, as words: floats as the bits of f32, whole numbers
// as they are. A device binds 8 storage buffers, and attention may have twenty operands of a few numbers each.
//
// Good for weights of a head, lengths, positions, block tables: some thousand numbers. Wrong for what is large, and for what is side
// by side already, which is bound as it is (src/ops/little.rs). One lane a word; bytes: each operand once, and 4 for each number.
struct gather_Part {
    to: u32,   // the word at which it begins in y
    n: u32,    // its numbers; 0 where it is absent
    start: u32, // its first number in its binding
    pad: u32,  // nothing
}

struct gather_Params {
    p0: gather_Part,
    p1: gather_Part,
    p2: gather_Part,
    p3: gather_Part,
    p4: gather_Part,
    p5: gather_Part,
    p6: gather_Part,
    fold: u32,  // the grid's x
    first: u32, // the first word of this dispatch
    end: u32,   // the one after the last
    pad: u32,   // nothing
}

@group(0) @binding(0) var<uniform> gather_params: gather_Params;
#slot p0 @binding(1) // [n]
#slot p1 @binding(2) // [n]
#slot p2 @binding(3) // [n]
#slot p3 @binding(4) // [n]
#slot p4 @binding(5) // [n]
#slot p5 @binding(6) // [n]
#slot p6 @binding(7) // [n]
@group(0) @binding(8) var<storage, read_write> y: array<u32>; // [words]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = gather_params.first + (group.x + group.y * gather_params.fold) * 64u + lane;
    if (i >= gather_params.end) { return; }
    // A number below 0 is a large one.
    var word = 0u;
    if (i - gather_params.p0.to < gather_params.p0.n) { word = p0_word(gather_params.p0.start + (i - gather_params.p0.to)); }
    if (i - gather_params.p1.to < gather_params.p1.n) { word = p1_word(gather_params.p1.start + (i - gather_params.p1.to)); }
    if (i - gather_params.p2.to < gather_params.p2.n) { word = p2_word(gather_params.p2.start + (i - gather_params.p2.to)); }
    if (i - gather_params.p3.to < gather_params.p3.n) { word = p3_word(gather_params.p3.start + (i - gather_params.p3.to)); }
    if (i - gather_params.p4.to < gather_params.p4.n) { word = p4_word(gather_params.p4.start + (i - gather_params.p4.to)); }
    if (i - gather_params.p5.to < gather_params.p5.n) { word = p5_word(gather_params.p5.start + (i - gather_params.p5.to)); }
    if (i - gather_params.p6.to < gather_params.p6.n) { word = p6_word(gather_params.p6.start + (i - gather_params.p6.to)); }
    y[i] = word;
}
