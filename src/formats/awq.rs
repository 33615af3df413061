//! `awq`: 4 bits with a zero and an f16 scale per group along K, in three layouts.
//!
//! `version = "gemm"`, AutoAWQ's own: `w = (q − z[g,n])·s[g,n]`, N a multiple of 8.
//!
//! ```text
//! qweight[k, c] i32, qzeros[g, c] i32     columns 8c + [7 5 3 1 6 4 2 0]      nibbles, the highest first
//! scales[g, n] f16                        g < ⌈K/G⌉
//! ```
//!
//! `version = "gemv"`: `w = (q − z[n,g])·s[n,g]`, K a multiple of 8.
//!
//! ```text
//! qweight[n, c] i32     k = 8c + [7 … 0];  qzeros[n, c] i32     g = 8c + [7 … 0]      nibbles, the highest first
//! scales[n, g] f16      [N, 8Z] with qzeros [N, Z], 8Z ≥ ⌈K/G⌉; the rest pads
//! ```
//!
//! `version = "gemv_fast"`, llm-awq's second: `w = q·s[g,n] + qzeros[g,n]`, N a multiple of 4, K of 64.
//!
//! ```text
//! qweight[⌊n/4⌋, 64⌊k/64⌋ + 16(n%4) + 8⌊(k%64)/32⌋ + k%8] u16     nibble ⌊(k%32)/8⌋, 0 is the lowest
//! scales[g, n], qzeros[g, n] f16                                  [P, N], P ≥ ⌈K/G⌉; the rest pads
//! ```
//!
//! Sources: Lin et al., "AWQ" (arXiv 2306.00978); AutoAWQ's `packing_utils` and llm-awq's `qmodule`.
//!
//! Encoding is the affine rule of `round.rs` with 4 bits and an f16 scale: round to nearest, without AWQ's search for scales of the inputs.
//! For `gemv_fast` the zero is rounded to f16 too, and the code is the nearest by it as stored.

use super::codec::{Check, Codec, Group, Numbers, WORDS, among};
use super::form::{Form, Place, Scale};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use super::round::{Affine, Rule, as_f16, divisor, f16s, rows, words};
use crate::error::Result;

/// How the codes are laid out; `version` in a checkpoint's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AwqVersion {
    /// `gemm`: words along N, nibbles interleaved.
    #[default]
    Gemm,
    /// `gemv`: words along K.
    Gemv,
    /// `gemv_fast`: 16-bit words of four rows in tiles of 64, and a zero that is added.
    GemvTiled,
}

/// The numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Awq {
    /// The layout.
    pub version: AwqVersion,
    /// Along K.
    pub group: Group,
}

/// The nibble of column `n % 8` in the `gemm` layout.
const NIBBLE: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

impl Codec for Awq {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        among(numbers.format, "bits", numbers.count("bits", Some(4))?, &[4], "it must be 4")?;
        let version = numbers.choice(
            "version",
            ("gemm", AwqVersion::Gemm),
            &[("gemv", AwqVersion::Gemv), ("gemv_fast", AwqVersion::GemvTiled)],
            "it must be gemm, gemv or gemv_fast",
        )?;
        Ok(Self { version, group: numbers.group()? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        self.group.valid(format)
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let (n, k, groups) = (w.n, w.k, self.group.count(w.k));
        match self.version {
            AwqVersion::Gemm => {
                w.multiple("N", n, 8)?;
                w.exact("qweight", WORDS, &[k, n / 8])?;
                w.exact("qzeros", WORDS, &[groups, n / 8])?;
                w.exact("scales", &[Dtype::F16], &[groups, n])?;
            }
            AwqVersion::Gemv => {
                w.multiple("K", k, 8)?;
                w.exact("qweight", WORDS, &[n, k / 8])?;
                let zeros = w.need("qzeros", WORDS)?;
                let words = match zeros.shape[..] {
                    [rows, words] if rows == n && words >= groups.div_ceil(8) => words,
                    _ => return Err(w.follow("qzeros", zeros, &format!("[{n}, at least {}]", groups.div_ceil(8)))),
                };
                w.exact("scales", &[Dtype::F16], &[n, words.saturating_mul(8)])?;
            }
            AwqVersion::GemvTiled => {
                w.multiple("N", n, 4)?;
                w.multiple("K", k, 64)?;
                w.exact("qweight", &[Dtype::U16, Dtype::I16], &[n / 4, k])?;
                let scales = w.need("scales", &[Dtype::F16])?;
                match scales.shape[..] {
                    [rows, cols] if cols == n && rows >= groups => {}
                    _ => return Err(w.follow("scales", scales, &format!("[at least {groups}, {n}]"))),
                }
                w.exact("qzeros", &[Dtype::F16], &scales.shape)?;
            }
        }
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some(match self.version {
            AwqVersion::Gemm | AwqVersion::Gemv => {
                Form::scaled(4, Scale::F16Pair, Place::along(self.group.size(w.k())))
            }
            AwqVersion::GemvTiled => Form::biased(4, Scale::F16Pair, Place::along(self.group.size(w.k()))),
        })
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Affine { most: 15, least: 0, half: true, biased: self.version == AwqVersion::GemvTiled })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (codes, rows) = (w.get("qweight"), w.n());
        match self.version {
            AwqVersion::Gemm => {
                let (words, shift) = (rows / 8, 4 * NIBBLE[n % 8]);
                for (k, out) in out.iter_mut().enumerate() {
                    *out = ((codes.word(k * words + n / 8) >> shift) & 15) as u8;
                }
            }
            AwqVersion::Gemv => {
                let words = out.len() / 8;
                for (k, out) in out.iter_mut().enumerate() {
                    *out = ((codes.word(n * words + k / 8) >> (4 * (k % 8))) & 15) as u8;
                }
            }
            AwqVersion::GemvTiled => {
                let first = n / 4 * out.len();
                for (k, out) in out.iter_mut().enumerate() {
                    let word = codes.short(first + k / 64 * 64 + 16 * (n % 4) + k % 64 / 32 * 8 + k % 8);
                    *out = ((word >> (k % 32 / 8 * 4)) & 15) as u8;
                }
            }
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let (zeros, scales, rows) = (w.get("qzeros"), w.get("scales"), w.n());
        match self.version {
            AwqVersion::Gemm => {
                let zero = zeros.word(g * (rows / 8) + row / 8) >> (4 * NIBBLE[row % 8]) & 15;
                [scales.float(g * rows + row), zero as f32]
            }
            AwqVersion::Gemv => {
                let words = zeros.shape[1];
                let zero = zeros.word(row * words + g / 8) >> (4 * (g % 8)) & 15;
                [scales.float(row * words * 8 + g), zero as f32]
            }
            AwqVersion::GemvTiled => [scales.float(g * rows + row), zeros.float(g * rows + row)],
        }
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (size, groups) = (self.group.size(k), self.group.count(k));
        let rule = Rule { bits: 4, least_zero: 0, stored: as_f16 };
        match self.version {
            AwqVersion::Gemm if n.is_multiple_of(8) => {
                let cols = n / 8;
                let (mut codes, mut zeros) = (vec![0; k * cols], vec![0; groups * cols]);
                let mut scales = vec![0.0; groups * n];
                let group = |n: usize, g: usize, affine: &mut Affine| {
                    scales[g * 8 * cols + n] = affine.scale;
                    zeros[g * cols + n / 8] |= (affine.zero as u32) << (4 * NIBBLE[n % 8]);
                };
                rows(values, k, size, rule, group, |n, k, q| codes[k * cols + n / 8] |= q << (4 * NIBBLE[n % 8]));
                vec![
                    ("qweight", words(&[k, cols], &codes)),
                    ("qzeros", words(&[groups, cols], &zeros)),
                    ("scales", f16s(&[groups, n], &scales)),
                ]
            }
            AwqVersion::Gemv if k.is_multiple_of(8) => {
                let (cols, zero_cols) = (k / 8, groups.div_ceil(8));
                let (mut codes, mut zeros) = (vec![0; n * cols], vec![0; n * zero_cols]);
                let mut scales = vec![0.0; n * zero_cols * 8];
                let group = |n: usize, g: usize, affine: &mut Affine| {
                    scales[n * zero_cols * 8 + g] = affine.scale;
                    zeros[n * zero_cols + g / 8] |= (affine.zero as u32) << (4 * (g % 8));
                };
                rows(values, k, size, rule, group, |n, k, q| codes[n * cols + k / 8] |= q << (4 * (k % 8)));
                vec![
                    ("qweight", words(&[n, cols], &codes)),
                    ("qzeros", words(&[n, zero_cols], &zeros)),
                    ("scales", f16s(&[n, zero_cols * 8], &scales)),
                ]
            }
            AwqVersion::GemvTiled if n.is_multiple_of(4) && k.is_multiple_of(64) => {
                let mut codes = vec![0u16; n / 4 * k];
                let (mut zeros, mut scales) = (vec![0.0; groups * n], vec![0.0; groups * n]);
                let rows_of_scales = n;
                let group = |n: usize, g: usize, affine: &mut Affine| {
                    let (at, zero) = (g * rows_of_scales + n, as_f16(-affine.zero * affine.scale));
                    (scales[at], zeros[at]) = (affine.scale, zero);
                    affine.zero = -zero / divisor(affine.scale);
                };
                rows(values, k, size, rule, group, |n, at, q| {
                    let word = n / 4 * k + at / 64 * 64 + 16 * (n % 4) + at % 64 / 32 * 8 + at % 8;
                    codes[word] |= (q as u16) << (at % 32 / 8 * 4);
                });
                let bytes: Vec<u8> = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
                vec![
                    ("qweight", Part::new(Dtype::U16, &[n / 4, k], bytes)),
                    ("scales", f16s(&[groups, n], &scales)),
                    ("qzeros", f16s(&[groups, n], &zeros)),
                ]
            }
            // The check says which size is none.
            _ => Vec::new(),
        }
    }
}
