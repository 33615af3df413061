// Heads that are mixed: before the softmax, after it, or both.
//
//     y[h] = Σ_i matrix[h, i]·x[i] + bias[h]
//
// The matrices are little operands: they come from a cache, and lanes that make the same head ask for the same number.
#import attention
#const MIX_BEFORE = false      // logits, before the mask
#const MIX_BEFORE_BIAS = false
#const MIX_AFTER = false       // what the softmax makes of them; a key that no head sees stays unseen
#const MIX_AFTER_BIAS = false
const mixing_HIDDEN = 0xff800000u; // the logit of a key that a head does not see, or the weight of one that none sees

fn mixing_before(h: u32, i: u32) -> f32 {
    return attention_float(attention_params.mix_before + h * attention_params.heads + i);
}

fn mixing_before_bias(h: u32) -> f32 {
    if (!MIX_BEFORE_BIAS) { return 0.0; }
    return attention_float(attention_params.mix_before_bias + h);
}

fn mixing_after(h: u32, i: u32) -> f32 {
    return attention_float(attention_params.mix_after + h * attention_params.heads + i);
}

fn mixing_after_bias(h: u32) -> f32 {
    if (!MIX_AFTER_BIAS) { return 0.0; }
    return attention_float(attention_params.mix_after_bias + h);
}

fn mixing_hidden() -> f32 {
    return bitcast<f32>(mixing_HIDDEN | attention_params.nothing);
}

fn mixing_is_hidden(v: f32) -> bool {
    return bitcast<u32>(v) == mixing_HIDDEN;
}

fn mixing_nan() -> f32 {
    return bitcast<f32>(0x7fc00000u | attention_params.nothing);
}
