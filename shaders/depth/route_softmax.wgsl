// depth/route_softmax: gates g = alpha·softmax(r) + bias over the candidates of each sample, a workgroup a sample.
//
// Good for any number of tokens: three walks over what one walk brings into the cache. Wrong for gates that follow from their own
// score, which depth/route stores. A token that is no candidate has the gate bias.
// Reads 6 bytes a token, writes 4. Two reductions of 2 barriers or more.
#const SUBGROUP = 4u
const LANES = 256u;
const LANE_COUNT = 256u;
#slot reduce
#import order
#import guarded
#slot target @binding(2) // [samples, tokens]
#slot valid @binding(3)  // [samples, tokens]
@group(0) @binding(1) var<storage, read> score: array<u32>;       // [samples, tokens]
@group(0) @binding(5) var<storage, read_write> gates: array<f32>; // [samples, tokens]

struct softmax_Params {
    fold: u32,
    samples: u32,
    tokens: u32,
    score0: u32, // where each operand begins in its binding, in elements
    target0: u32,
    valid0: u32,
    gates0: u32,
    alpha: f32,
    add: f32, // the gate's bias
}
@group(0) @binding(0) var<uniform> params: softmax_Params;

fn is_candidate(at: u32) -> bool {
    return valid_on(params.valid0 + at) && target_on(params.target0 + at);
}

@compute @workgroup_size(LANE_COUNT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let sample = group.x + group.y * params.fold;
    if (sample >= params.samples) { return; }
    let first = sample * params.tokens;
    var best = 0u;
    for (var i = lane; i < params.tokens; i += LANES) {
        if (is_candidate(first + i)) { best = max(best, order_of(score[params.score0 + first + i])); }
    }
    best = reduce_max(best, lane);
    // Back from its place in the order; where there is no number, none is needed.
    let largest = bitcast<f32>(select(~best, best & 0x7fffffffu, best >= 0x80000000u));
    var sum = 0.0;
    for (var i = lane; i < params.tokens; i += LANES) {
        if (is_candidate(first + i)) { sum += guarded_share(bitcast<f32>(score[params.score0 + first + i]), largest); }
    }
    sum = reduce_sum2(vec2<f32>(sum, 0.0), lane).x;
    for (var i = lane; i < params.tokens; i += LANES) {
        var gate = params.add;
        if (is_candidate(first + i)) { gate += params.alpha * (guarded_share(bitcast<f32>(score[params.score0 + first + i]), largest) / sum); }
        gates[params.gates0 + first + i] = gate;
    }
}
