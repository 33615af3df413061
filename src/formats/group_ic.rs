//! `group_ic`: 2, 3, 4 or 8 bits with groups along the outputs, for each input feature.
//!
//! ```text
//! qweight[r, k] i32 [⌈N·bits/32⌉, K]          column k is a stream along N
//! qzeros[g, c] i32 [⌈N/G⌉, ⌈K·bits/32⌉]       row g is a stream along K
//! scales[g, k] f16 or f32 [⌈N/G⌉, K]
//! ```
//!
//! `w = (q − z[⌊n/G⌋,k])·s[⌊n/G⌋,k]`: the tensors that version 2 of `gptq` has for wᵀ.
//!
//! Source: Heo et al., "Rethinking Channel Dimensions to Isolate Outliers" (AdaDim, arXiv 2309.15531). The authors publish no
//! layout; this one is ours.
//!
//! Encoding is the affine rule of `round.rs` with an f16 scale: round to nearest.

use super::bits::{field, put_field};
use super::codec::{Check, Codec, F32_F16, Group, Numbers, WORDS, among};
use super::form::{Form, Place, Scale};
use super::nearest::Nearest;
use super::packed::{Packed, Part};
use super::round::{Affine, Rule, as_f16, f16s, put_apart, words};
use crate::error::Result;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupIc {
    /// 2, 3, 4 or 8.
    pub bits: u32,
    /// Along N.
    pub group: Group,
}

impl Default for GroupIc {
    fn default() -> Self {
        Self { bits: 4, group: Group::Of(128) }
    }
}

impl Codec for GroupIc {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        Ok(Self { bits: numbers.count("bits", None)?, group: numbers.group()? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        among(format, "bits", self.bits, &[2, 3, 4, 8], "it must be 2, 3, 4 or 8")?;
        self.group.valid(format)
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let (n, k, bits, groups) = (w.n, w.k, self.bits as usize, self.group.count(w.n));
        w.exact("qweight", WORDS, &[(n * bits).div_ceil(32), k])?;
        w.exact("qzeros", WORDS, &[groups, (k * bits).div_ceil(32)])?;
        w.exact("scales", F32_F16, &[groups, k])?;
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            let dtype = w.get("scales").dtype;
            let rows = self.group.size(w.n()) as u32;
            Form::scaled(self.bits, Scale::of(&[dtype, dtype]), Place::Block { rows, cols: 1 })
        })
    }

    fn grown(&self, form: Form, n: usize, _k: usize) -> Form {
        Form { place: Place::Block { rows: self.group.size(n) as u32, cols: 1 }, ..form }
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Affine { most: (1 << self.bits) - 1, least: 0, half: true, biased: false })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (codes, cols) = (w.get("qweight"), out.len());
        for (k, out) in out.iter_mut().enumerate() {
            *out = field(n, self.bits, |word| codes.word(word * cols + k)) as u8;
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let (zeros, cols) = (w.get("qzeros"), w.k());
        let zero_words = (cols * self.bits as usize).div_ceil(32);
        let zero = field(g, self.bits, |word| zeros.word(row * zero_words + word));
        [w.get("scales").float(row * cols + g), zero as f32]
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (size, groups, bits) = (self.group.size(n), self.group.count(n), self.bits);
        let zero_cols = (k * bits as usize).div_ceil(32);
        let (mut codes, mut zeros) = (vec![0; (n * bits as usize).div_ceil(32) * k], vec![0; groups * zero_cols]);
        let mut scales = Vec::with_capacity(groups * k);
        let rule = Rule { bits, least_zero: 0, stored: as_f16 };
        for (g, rows) in values.chunks(size.saturating_mul(k)).enumerate() {
            let mut ranges = vec![(0.0f32, 0.0f32); k];
            for row in rows.chunks_exact(k) {
                ranges.iter_mut().zip(row).for_each(|(range, v)| *range = (range.0.min(*v), range.1.max(*v)));
            }
            let affines: Vec<Affine> = ranges.iter().map(|(low, high)| Affine::of(*low, *high, rule)).collect();
            for (at, affine) in affines.iter().enumerate() {
                scales.push(affine.scale);
                put_field(&mut zeros[g * zero_cols..][..zero_cols], at, bits, affine.zero as u32);
            }
            for (r, row) in rows.chunks_exact(k).enumerate() {
                for (at, (v, affine)) in row.iter().zip(&affines).enumerate() {
                    put_apart(&mut codes, at, k, g * size + r, bits, affine.code(*v));
                }
            }
        }
        vec![
            ("qweight", words(&[codes.len() / k, k], &codes)),
            ("qzeros", words(&[groups, zero_cols], &zeros)),
            ("scales", f16s(&[groups, k], &scales)),
        ]
    }
}
