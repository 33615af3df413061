// Numbers of a weight in f16, widened by the device, which may flush subnormals; slot/dense/f16 does not, and takes ten operations for
// each number where this takes one.
fn slot_load4(word0: u32, quad: u32) -> vec4<f32> {
    let i = word0 + quad * 2u;
    return vec4<f32>(unpack2x16float(outer_word(i)), unpack2x16float(outer_word(i + 1u)));
}

alias slot_Raw = array<vec4<u32>, 4>;

// Eight quads as they lie. Where the first begins at a multiple of 16 bytes they are four loads.
fn slot_fetch32(word0: u32, quad: u32, whole: bool) -> slot_Raw {
    var words: slot_Raw;
    #unroll
    for (var j = 0u; j < 4u; j++) {
        let at = word0 + (quad + 2u * j) * 2u;
        if (whole) {
            words[j] = outer_data[at >> 2u];
        } else {
            words[j] = vec4<u32>(outer_word(at), outer_word(at + 1u), outer_word(at + 2u), outer_word(at + 3u));
        }
    }
    return words;
}

// Quad i of the eight.
fn slot_decode4(raw: slot_Raw, i: u32) -> vec4<f32> {
    var all = raw;
    let words = all[i / 2u];
    let pair = select(words.xy, words.zw, (i & 1u) == 1u);
    return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
