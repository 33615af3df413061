//! Round to nearest: what the encoders share.
//!
//! **The affine rule**, of `awq`, `gptq`, `group_ic`, `onnx.nbits` and `owq`, with the values v of a group and `most = 2^bits − 1`:
//!
//! ```text
//! low = min(0, min v)      high = max(0, max v)      scale = (high − low)/most, rounded to how it is stored
//! zero = clamp(round(−low/scale), 0, most)           q = clamp(round(v/scale + zero), 0, most)
//! ```
//!
//! Rounds to even. 0 is among the values that a group can have, and so is what is far from it: a group of one value c gets
//! `scale = |c|/most` and comes back as what that rounds to. Codes are judged against the scale as stored, not as computed. Where the
//! stored scale is 0 every value becomes 0. Where a zero of 0 cannot be stored, `low` is at most `−high/(most − 1)`, which makes it 1.
//!
//! Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (arXiv
//! 1712.05877), and the first step of GPTQ (arXiv 2210.17323) before it corrects errors: this is not GPTQ, AWQ or OWQ as a method, but
//! the round-to-nearest that their papers compare with.

use super::bits::f16_from;
use super::packed::{Dtype, Part};

/// The nearest whole number, ties to even, of a magnitude below 2^22. At 1.5·2^23 the numbers of f32 are 1 apart.
pub(crate) fn whole(v: f32) -> f32 {
    (v + 12_582_912.0) - 12_582_912.0
}

/// What to divide by: a step of 0 holds nothing, so that all becomes 0.
pub(crate) fn divisor(step: f32) -> f32 {
    if step == 0.0 { f32::INFINITY } else { step }
}

/// As f16 stores it.
pub(crate) fn as_f16(v: f32) -> f32 {
    f16_from(v).to_f32()
}

/// The least and the greatest.
pub(crate) fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}

/// How a group is coded: `w = (q − zero)·scale`.
#[derive(Clone, Copy)]
pub(crate) struct Affine {
    /// As stored.
    pub scale: f32,
    /// As stored.
    pub zero: f32,
    most: f32,
}

/// What the zero and the scale of a rule must be.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// The bits of a code.
    pub bits: u32,
    /// The least zero that can be stored.
    pub least_zero: u8,
    /// How a scale is stored.
    pub stored: fn(f32) -> f32,
}

impl Affine {
    /// By the affine rule, of what is between these.
    pub fn of(low: f32, high: f32, rule: Rule) -> Self {
        let (most, least) = (((1u32 << rule.bits) - 1) as f32, f32::from(rule.least_zero));
        let high = high.max(0.0);
        let low = low.min(0.0).min(-high * least / (most - least));
        let scale = (rule.stored)(step(low, high, most));
        let zero = whole((-low / divisor(scale)).clamp(least, most));
        Self { scale, zero, most }
    }

    /// With a zero that need be no whole number: then 0 need not be among the values. Of a group of almost one value the step is not
    /// below 2^−16 of it, so that f32 holds the zero to 2^−8 of a step.
    pub fn floating(low: f32, high: f32, bits: u32) -> Self {
        let most = ((1u32 << bits) - 1) as f32;
        let scale = step(low, high, most).max(low.abs().max(high.abs()) / 65536.0);
        if scale == 0.0 {
            return Self { scale: 1.0, zero: 0.0, most };
        }
        Self { scale, zero: -low / scale, most }
    }

    /// The nearest code.
    pub fn code(&self, v: f32) -> u32 {
        whole((v / divisor(self.scale) + self.zero).clamp(0.0, self.most)) as u32
    }
}

/// `(high − low)/most`, which is finite.
fn step(low: f32, high: f32, most: f32) -> f32 {
    (((f64::from(high) - f64::from(low)) / f64::from(most)) as f32).min(f32::MAX)
}

/// Rows of K values in groups along K: `group(n, g, affine)` for each group, which may still change it, then `code(n, k, q)` for each value
/// of it.
pub(crate) fn rows(
    values: &[f32],
    k: usize,
    size: usize,
    rule: Rule,
    mut group: impl FnMut(usize, usize, &mut Affine),
    mut code: impl FnMut(usize, usize, u32),
) {
    for (n, row) in values.chunks_exact(k).enumerate() {
        for (g, values) in row.chunks(size).enumerate() {
            let (low, high) = range(values);
            let mut affine = Affine::of(low, high, rule);
            group(n, g, &mut affine);
            for (i, v) in values.iter().enumerate() {
                code(n, g * size + i, affine.code(*v));
            }
        }
    }
}

/// Puts field i into a stream whose words are `stride` apart, where it was 0.
pub(crate) fn put_apart(words: &mut [u32], first: usize, stride: usize, i: usize, bits: u32, value: u32) {
    let at = i * bits as usize;
    let (index, shift) = (first + at / 32 * stride, (at % 32) as u32);
    words[index] |= value << shift;
    if shift + bits > 32 {
        words[index + stride] |= value >> (32 - shift);
    }
}

/// An i32 tensor of these words.
pub(crate) fn words(shape: &[usize], words: &[u32]) -> Part<'static> {
    let mut bytes = vec![0; 4 * words.len()];
    bytes.chunks_exact_mut(4).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
    Part::new(Dtype::I32, shape, bytes)
}

/// An f16 tensor of the nearest of these values.
pub(crate) fn f16s(shape: &[usize], values: &[f32]) -> Part<'static> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| f16_from(*v).to_le_bytes()).collect();
    Part::new(Dtype::F16, shape, bytes)
}

/// What is half way between the entries of a table that rises.
pub(crate) const fn middles(table: &[f32; 16]) -> [f32; 15] {
    let mut middles = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        middles[i] = f32::midpoint(table[i], table[i + 1]);
        i += 1;
    }
    middles
}

/// The index of the nearest entry of the table with these middles; of two, the first.
pub(crate) fn between(middles: &[f32; 15], v: f32) -> u8 {
    middles.iter().map(|middle| u8::from(v > *middle)).sum()
}

/// The nearest E2M1, of two the even code; magnitudes beyond 6 become 6.
pub(crate) fn e2m1_even(v: f32) -> u8 {
    let m = v.abs();
    let below = u8::from(m > 0.25) + u8::from(m >= 0.75) + u8::from(m > 1.25) + u8::from(m >= 1.75);
    let code = below + u8::from(m > 2.5) + u8::from(m >= 3.5) + u8::from(m > 5.0);
    code | u8::from(v < 0.0) << 3
}

/// The nearest E2M1, of two the lower code; a negative number that becomes 0 has code 0.
pub(crate) fn e2m1_low(v: f32) -> u8 {
    let m = v.abs();
    let below = u8::from(m > 0.25) + u8::from(m > 0.75) + u8::from(m > 1.25) + u8::from(m > 1.75);
    let code = below + u8::from(m > 2.5) + u8::from(m > 3.5) + u8::from(m > 5.0);
    code | u8::from(v < -0.25) << 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_fall_as_said() {
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999998].map(whole), [0.0, 2.0, 2.0, 0.0, -2.0, 2.0]);
        let middles = [0.25f32, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0];
        assert_eq!(middles.map(e2m1_even), [0, 2, 2, 4, 4, 6, 6]);
        assert_eq!(middles.map(e2m1_low), [0, 1, 2, 3, 4, 5, 6]);
        for (code, middle) in (0..).zip(middles) {
            let [below, above] = [middle.next_down(), middle.next_up()];
            assert_eq!(
                [e2m1_even(below), e2m1_even(above), e2m1_low(below), e2m1_low(above)],
                [code, code + 1, code, code + 1]
            );
            assert_eq!([e2m1_even(-above), e2m1_low(-above)], [9 + code; 2]);
        }
        assert_eq!([e2m1_even(1e30), e2m1_low(-1e30), e2m1_low(-0.25)], [7, 15, 0]);
        let steps: [f32; 16] = std::array::from_fn(|i| i as f32);
        assert_eq!([-9.0, 0.5, 0.75, 14.5, 99.0].map(|v| between(&super::middles(&steps), v)), [0, 0, 1, 14, 15]);
    }

    #[test]
    fn the_affine_rule_by_hand() {
        let rule = |bits, least_zero| Rule { bits, least_zero, stored: as_f16 };
        let numbers = |affine: Affine| (affine.scale, affine.zero);
        assert_eq!(numbers(Affine::of(-4.0, 11.0, rule(4, 0))), (1.0, 4.0));
        // What is far from 0 is coded from 0 on.
        assert_eq!(numbers(Affine::of(10.0, 30.0, rule(4, 0))), (2.0, 0.0));
        assert_eq!(numbers(Affine::of(-30.0, -10.0, rule(4, 0))), (2.0, 15.0));
        // A zero of 0 that cannot be stored: one step below 0 is given away.
        assert_eq!(numbers(Affine::of(10.0, 28.0, rule(4, 1))), (2.0, 1.0));
        assert_eq!(numbers(Affine::of(0.0, 0.0, rule(2, 1))), (0.0, 1.0));
        // The stored step is 1.0, not 1.0001: codes are by it.
        let affine = Affine::of(0.0, 15.0015, rule(4, 0));
        assert_eq!((affine.scale, affine.code(7.4999), affine.code(7.5001), affine.code(99.0)), (1.0, 7, 8, 15));
        assert_eq!(numbers(Affine::floating(5.0, 8.0, 2)), (1.0, -5.0));
        assert_eq!(numbers(Affine::floating(0.0, 0.0, 2)), (1.0, 0.0));
        assert_eq!(Affine::floating(-7.0, -7.0, 4).code(-7.0), 0);
    }
}
