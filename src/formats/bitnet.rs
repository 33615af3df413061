//! `bitnet`: −1, 0 and 1 in 2 bits, one scale.
//!
//! ```text
//! weight[r, k]  [row 3R + r | row 2R + r | row R + r | row r]      2-bit fields of a byte, R = N/4
//! ```
//!
//! Tensors: `weight` u8 `[N/4,K]`; `weight_scale` f32 `[1]`. N is a multiple of 4.
//!
//! `w = (f − 1)/scale`, or `(f − 1)·scale` where `scale_is_inverse` is false. Which it is depends on the loader: BitLinear divides,
//! AutoBitLinear multiplies. A field of 3 is not used by any writer, and gives 2.
//!
//! Sources: Ma et al., "The Era of 1-bit LLMs" (arXiv 2402.17764); the layout is that of transformers' `unpack_weights`.
//!
//! Encoding (the absmean of the paper, without its ε): `γ = Σ|v|/NK`, the mean of `mean.rs`, 1 where that is 0; the scale is `1/γ`, or `γ` where
//! it multiplies; `f − 1 = clamp(round(v/γ), −1, 1)`, halves to 0, by the γ that the scale as stored gives.

use super::codec::{BYTES, Check, Codec, Numbers};
use super::form::{Form, Place, Scale};
use super::mean::{Unit, mean};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use crate::error::Result;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bitnet {
    /// The scale divides.
    pub scale_is_inverse: bool,
}

impl Default for Bitnet {
    fn default() -> Self {
        Self { scale_is_inverse: true }
    }
}

impl Codec for Bitnet {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        Ok(Self { scale_is_inverse: numbers.flag("scale_is_inverse", true)? })
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        w.multiple("N", w.n, 4)?;
        w.exact("weight", BYTES, &[w.n / 4, w.k])?;
        w.exact("weight_scale", &[Dtype::F32], &[1])?;
        Ok(())
    }

    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        Some(Form::scaled(2, Scale::F32, Place::TENSOR).about(1))
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Mean { inverse: self.scale_is_inverse })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (k, rows) = (out.len(), w.n() / 4);
        let codes = &w.get("weight").bytes[n % rows * k..][..k];
        for (out, code) in out.iter_mut().zip(codes) {
            *out = (code >> (2 * (n / rows))) & 3;
        }
    }

    fn scale(&self, w: &Packed<'_>, _row: usize, _g: usize) -> [f32; 2] {
        // ±1 divided by the scale is ±(1 / scale), and twice that is exact.
        let scale = w.get("weight_scale").float(0);
        [if self.scale_is_inverse { 1.0 / scale } else { scale }, 0.0]
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        if !n.is_multiple_of(4) {
            return Vec::new(); // The check says so.
        }
        let unit = Unit::of(values.iter().fold(0.0, |largest, v| v.abs().max(largest)));
        let sum: u64 = values.iter().map(|v| u64::from(unit.whole(*v).unsigned_abs())).sum();
        let mean = unit.number(mean(sum, values.len()));
        let mean = if mean > 0.0 { mean } else { 1.0 };
        // Finite, and not 0, for the smallest and the largest numbers of f32 too.
        let scale = if self.scale_is_inverse { 1.0 / mean } else { mean };
        let scale = scale.clamp(f32::MIN_POSITIVE, f32::MAX);
        let step = if self.scale_is_inverse { 1.0 / scale } else { scale };
        let (rows, mut codes) = (n / 4, vec![0u8; n / 4 * k]);
        for (n, row) in values.chunks_exact(k).enumerate() {
            for (v, code) in row.iter().zip(&mut codes[n % rows * k..]) {
                let far = i8::from(2.0 * v.abs() > step);
                *code |= ((1 + if *v < 0.0 { -far } else { far }) as u8) << (2 * (n / rows));
            }
        }
        vec![("weight", Part::new(Dtype::U8, &[rows, k], codes)), ("weight_scale", Part::f32s(&[1], &[scale]))]
    }
}
