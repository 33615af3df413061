// A weight of codes whose neighbours along K share scales: RUN of them, 4 to 32, so that a block of 32 loads 32 / RUN scales.
// Codes of 4 bits are one load of 16 bytes to a block; four at a time are masked out of a word, widened and scaled.
@group(0) @binding(0) var<storage, read> slot_data: array<vec4<u32>>; // [words / 4]
#const slot_RUN = 32u
#const slot_ZERO = 0u // what is taken off whole codes, where no zero is stored
#slot slot_field      // codes
#slot slot_level      // what a code stands for
#slot slot_scale      // how scales are stored
#slot slot_place      // which scale a number has
#slot slot_rule       // how they make a number
#slot slot_side       // what is added

fn slot_word(i: u32) -> u32 {
    return slot_data[i >> 2u][i & 3u];
}

struct slot_Raw {
    codes: slot_field_Raw,
    scales: array<slot_scale_Raw, 32u / slot_RUN>,
}

struct slot_Open {
    codes: array<u32, 8>,
    scales: array<vec2<f32>, 32u / slot_RUN>,
}

// Numbers 32·block … 32·block + 31 of row n as they lie: for who does something else while they are on their way.
fn slot_fetch32(at: weight_At, n: u32, block: u32) -> slot_Raw {
    var raw: slot_Raw;
    raw.codes = slot_field_fetch32(at, n - at.row0, block);
    #unroll
    for (var run = 0u; run < 32u / slot_RUN; run++) {
        raw.scales[run] = slot_scale_fetch(at, slot_place_of(at, n, block * 32u + run * slot_RUN));
    }
    return raw;
}

// The same, ready for its quads to be made one by one.
fn slot_open32(at: weight_At, n: u32, block: u32, raw: slot_Raw) -> slot_Open {
    var all = raw;
    var opened: slot_Open;
    opened.codes = slot_field_codes(all.codes);
    #unroll
    for (var run = 0u; run < 32u / slot_RUN; run++) {
        opened.scales[run] = slot_scale_of(at, slot_place_of(at, n, block * 32u + run * slot_RUN), all.scales[run]);
    }
    return opened;
}

// Quad i of the block.
fn slot_number4(at: weight_At, n: u32, block: u32, opened: slot_Open, i: u32) -> vec4<f32> {
    var all = opened;
    let scale = all.scales[i * 4u / slot_RUN];
    return slot_rule_make(at, slot_level_UNIT * slot_level_of(at, n, all.codes[i]), vec4<f32>(scale.x), vec4<f32>(scale.y));
}

// All of a block that was opened.
fn slot_numbers32(at: weight_At, n: u32, block: u32, opened: slot_Open) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { w[i] = slot_number4(at, n, block, opened, i); }
    return w;
}

// Numbers 32·block … 32·block + 31 of row n.
fn slot_load32(at: weight_At, n: u32, block: u32) -> array<vec4<f32>, 8> {
    return slot_numbers32(at, n, block, slot_open32(at, n, block, slot_fetch32(at, n, block)));
}

// The product of a block that was opened with as many of x: each run is summed before its scale, which is an operation less for each
// number.
fn slot_dot32(at: weight_At, n: u32, block: u32, opened: slot_Open, x: array<vec4<f32>, 8>) -> f32 {
    if (!slot_rule_SUMS) { return weight_dot(slot_numbers32(at, n, block, opened), x); }
    var all = opened;
    var of_x = x;
    var sum = 0.0;
    #unroll
    for (var run = 0u; run < 32u / slot_RUN; run++) {
        let scale = all.scales[run];
        var of_run = vec4<f32>();
        var ones = vec4<f32>();
        #unroll
        for (var j = 0u; j < slot_RUN / 4u; j++) {
            let i = run * (slot_RUN / 4u) + j;
            of_run += of_x[i] * slot_rule_term(slot_level_of(at, n, all.codes[i]), scale.y / slot_level_UNIT);
            ones += of_x[i];
        }
        let whole = slot_level_UNIT * ((of_run.x + of_run.y) + (of_run.z + of_run.w));
        sum += slot_rule_end(whole, (ones.x + ones.y) + (ones.z + ones.w), scale.x, scale.y);
    }
    return sum;
}

// What all lanes do before a barrier, after which numbers may be asked for.
fn slot_begin(at: weight_At, lane: u32) { slot_level_begin(at, lane); }
