//! `gptq`: 2, 3, 4 or 8 bits with a zero and an f16 scale per group along K.
//!
//! ```text
//! qweight[r, n] i32 [K·bits/32, N]          column n is a stream along K
//! qzeros[g, c] i32 [groups, N·bits/32]      row g is a stream along N
//! scales[g, n] f16 [groups, N]
//! g_idx[k]? i32 [K]                         the group of each input feature: act-order makes it jump about
//! ```
//!
//! `w = (q − z[g,n])·s[g,n]`. Without `g_idx`, `g = ⌊k/G⌋`; with it there are as many groups as rows of scales, and `group` is not used.
//! In version 1 the stored zero is one less than z; in version 2 it is z. Of a stored field of all ones in version 1 readers
//! disagree: here, as in the exllama family, z = 2^bits; AutoGPTQ takes 0.
//! K·bits and N·bits are multiples of 32.
//!
//! Sources: Frantar et al., "GPTQ" (arXiv 2210.17323); the packers of AutoGPTQ and GPTQModel.
//!
//! Encoding is the affine rule of `round.rs` with an f16 scale, groups in order and no `g_idx`: round to nearest, without GPTQ's
//! correction of errors. In version 1 a zero of 0 cannot be stored, and is avoided as that rule says.

use super::bits::{field, put_field};
use super::codec::{Check, Codec, Group, Numbers, WORDS, among};
use super::form::{Form, Place, Scale};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use super::round::{Affine, Rule, as_f16, f16s, put_apart, rows, words};
use crate::error::Result;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gptq {
    /// 2, 3, 4 or 8.
    pub bits: u32,
    /// Along K, where there is no `g_idx`.
    pub group: Group,
    /// `checkpoint_format = "gptq"`: a stored zero is one less than it means.
    pub zero_less_one: bool,
}

impl Default for Gptq {
    fn default() -> Self {
        Self { bits: 4, group: Group::Of(128), zero_less_one: true }
    }
}

impl Codec for Gptq {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        let zero_less_one =
            numbers.choice("checkpoint_format", ("gptq", true), &[("gptq_v2", false)], "it must be gptq or gptq_v2")?;
        Ok(Self { bits: numbers.count("bits", None)?, group: numbers.group()?, zero_less_one })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        among(format, "bits", self.bits, &[2, 3, 4, 8], "it must be 2, 3, 4 or 8")?;
        self.group.valid(format)
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let (n, k, bits) = (w.n, w.k, self.bits as usize);
        w.multiple("K·bits", k * bits, 32)?;
        w.multiple("N·bits", n * bits, 32)?;
        w.exact("qweight", WORDS, &[k * bits / 32, n])?;
        let scales = w.need("scales", &[Dtype::F16])?;
        let groups = match (w.maybe("g_idx", &[Dtype::I32])?, &scales.shape[..]) {
            (Some(order), [groups, _]) => {
                w.shape("g_idx", order, &[&[k]])?;
                w.indices("g_idx", order, *groups)?;
                *groups
            }
            _ => self.group.count(k),
        };
        w.shape("scales", scales, &[&[groups, n]])?;
        w.exact("qzeros", WORDS, &[groups, n * bits / 32])?;
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            let scale = Scale::F16Pair;
            let place = if w.part("g_idx").is_some() { Place::Ordered } else { Place::along(self.group.size(w.k())) };
            Form::scaled(self.bits, scale, place)
        })
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Affine {
            most: (1 << self.bits) - 1,
            least: self.zero_less_one.into(),
            half: true,
            biased: false,
        })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (codes, rows) = (w.get("qweight"), w.n());
        for (k, out) in out.iter_mut().enumerate() {
            *out = field(k, self.bits, |word| codes.word(word * rows + n)) as u8;
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let (zeros, rows) = (w.get("qzeros"), w.n());
        let zero_words = rows * self.bits as usize / 32;
        let zero = field(row, self.bits, |word| zeros.word(g * zero_words + word)) + u32::from(self.zero_less_one);
        [w.get("scales").float(g * rows + row), zero as f32]
    }

    fn order(&self, w: &Packed<'_>, k: usize) -> usize {
        w.get("g_idx").word(k) as usize
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let bits = self.bits as usize;
        if !(k * bits).is_multiple_of(32) || !(n * bits).is_multiple_of(32) {
            return Vec::new(); // The check says which.
        }
        let (size, groups, zero_cols) = (self.group.size(k), self.group.count(k), n * bits / 32);
        let (mut codes, mut zeros) = (vec![0; k * bits / 32 * n], vec![0; groups * zero_cols]);
        let (mut scales, less) = (vec![0.0; groups * n], u32::from(self.zero_less_one));
        let rule = Rule { bits: self.bits, least_zero: less as u8, stored: as_f16 };
        let group = |row: usize, g: usize, affine: &mut Affine| {
            scales[g * n + row] = affine.scale;
            put_field(&mut zeros[g * zero_cols..][..zero_cols], row, self.bits, affine.zero as u32 - less);
        };
        rows(values, k, size, rule, group, |row, k, q| put_apart(&mut codes, row, n, k, self.bits, q));
        vec![
            ("qweight", words(&[k * bits / 32, n], &codes)),
            ("qzeros", words(&[groups, zero_cols], &zeros)),
            ("scales", f16s(&[groups, n], &scales)),
        ]
    }
}
