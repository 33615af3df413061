//! `bcq`: a sum of signed scales, one bit a scale.
//!
//! ```text
//! bWeight[k, c, b] i32 [K, N/32, bits]             bit n % 32 of word c = ⌊n/32⌋: 1 is +, 0 is −
//! alpha[⌊k/cols⌋, ⌊n/G⌋, b] f32 [K/cols, N/G, bits]
//! ```
//!
//! `w = Σ_b ±alpha[b]`, added from b = 0 on. N is a multiple of 32 and of G, K of `cols`. Scales that are sums of powers of two
//! (ShiftAddLLM) are stored as what they are.
//!
//! Source: You et al., "ShiftAddLLM" (arXiv 2406.05981) and the authors' packer.
//!
//! Encoding is greedy, one scale after the other: with the residual r of a group of `cols` by G numbers, at first the values, `alpha =
//! Σ|r|/count`; the sign is + where `r ≥ 0`; and `±alpha` is taken from r. All in whole steps of the group (`mean.rs`), of which alpha loses what is
//! behind the point. The scales are not fitted again together.
//!
//! Source of the encoding: Guo et al., "Network Sketching" (arXiv 1706.02021), the approximation without refinement.

use super::codec::{Check, Codec, Group, Numbers, WORDS, value_error};
use super::mean::{Unit, mean};
use super::packed::{Dtype, Packed, Part};
use super::round::words;
use crate::error::Result;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bcq {
    /// How many scales are added: 1 to 8.
    pub bits: u32,
    /// The outputs that share scales.
    pub group: Group,
    /// The inputs that share scales.
    pub cols: u32,
}

impl Default for Bcq {
    fn default() -> Self {
        Self { bits: 3, group: Group::All, cols: 8 }
    }
}

impl Codec for Bcq {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        let (bits, group) = (numbers.count("bits", None)?, numbers.group()?);
        Ok(Self { bits, group, cols: numbers.count("cols", Some(8))? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        if !(1..=8).contains(&self.bits) {
            return Err(value_error(format, "bits", self.bits, "it must be 1 to 8"));
        }
        if self.cols == 0 {
            return Err(value_error(format, "cols", self.cols, "it must be at least 1"));
        }
        self.group.valid(format)
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let (bits, cols, size) = (self.bits as usize, self.cols as usize, self.group.size(w.n));
        w.multiple("N", w.n, 32)?;
        w.multiple("N", w.n, size)?;
        w.multiple("K", w.k, cols)?;
        w.exact("bWeight", WORDS, &[w.k, w.n / 32, bits])?;
        w.exact("alpha", &[Dtype::F32], &[w.k / cols, w.n / size, bits])?;
        Ok(())
    }

    fn row(&self, w: &Packed<'_>, n: usize, out: &mut [f32]) {
        let (signs, alpha, rows, bits) = (w.get("bWeight"), w.get("alpha"), w.n(), self.bits as usize);
        let size = self.group.size(rows);
        for (k, out) in out.iter_mut().enumerate() {
            let word = (k * (rows / 32) + n / 32) * bits;
            let scale = (k / self.cols as usize * (rows / size) + n / size) * bits;
            let term = |b: usize| {
                let plus = (signs.word(word + b) >> (n % 32)) & 1 == 1;
                if plus { alpha.float(scale + b) } else { -alpha.float(scale + b) }
            };
            *out = (1..bits).fold(term(0), |sum, b| sum + term(b));
        }
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (bits, cols, size) = (self.bits as usize, self.cols as usize, self.group.size(n));
        if !n.is_multiple_of(32) || !n.is_multiple_of(size) || !k.is_multiple_of(cols) {
            return Vec::new(); // The check says which.
        }
        let (tiles, groups, count) = (k / cols, n / size, cols * size);
        let mut largest = vec![0.0f32; tiles * groups];
        for (at, row) in values.chunks_exact(k).enumerate() {
            for (tile, values) in row.chunks_exact(cols).enumerate() {
                let largest = &mut largest[tile * groups + at / size];
                *largest = values.iter().fold(*largest, |largest, v| v.abs().max(largest));
            }
        }
        let units: Vec<Unit> = largest.into_iter().map(Unit::of).collect();
        let mut left = vec![0i32; n * k];
        for (at, (row, left)) in values.chunks_exact(k).zip(left.chunks_exact_mut(k)).enumerate() {
            for (tile, (values, left)) in row.chunks_exact(cols).zip(left.chunks_exact_mut(cols)).enumerate() {
                let unit = units[tile * groups + at / size];
                left.iter_mut().zip(values).for_each(|(r, v)| *r = unit.whole(*v));
            }
        }
        let (mut signs, mut alpha) = (vec![0u32; k * (n / 32) * bits], vec![0.0; tiles * groups * bits]);
        for b in 0..bits {
            let mut sums = vec![0u64; tiles * groups];
            for (at, row) in left.chunks_exact(k).enumerate() {
                for (tile, left) in row.chunks_exact(cols).enumerate() {
                    sums[tile * groups + at / size] += left.iter().map(|r| u64::from(r.unsigned_abs())).sum::<u64>();
                }
            }
            let steps: Vec<i32> = sums.into_iter().map(|sum| mean(sum, count) as i32).collect();
            for ((alpha, steps), unit) in alpha[b..].iter_mut().step_by(bits).zip(&steps).zip(&units) {
                *alpha = unit.number(*steps as f32);
            }
            for (at, row) in left.chunks_exact_mut(k).enumerate() {
                for (tile, left) in row.chunks_exact_mut(cols).enumerate() {
                    let steps = steps[tile * groups + at / size];
                    for (i, r) in left.iter_mut().enumerate() {
                        let plus = *r >= 0;
                        *r -= if plus { steps } else { -steps };
                        let word = ((tile * cols + i) * (n / 32) + at / 32) * bits + b;
                        signs[word] |= u32::from(plus) << (at % 32);
                    }
                }
            }
        }
        vec![("bWeight", words(&[k, n / 32, bits], &signs)), ("alpha", Part::f32s(&[tiles, groups, bits], &alpha))]
    }
}
