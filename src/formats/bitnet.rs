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

use super::codec::{BYTES, Check, Codec, Numbers};
use super::form::{Form, Place, Scale};
use super::packed::{Dtype, Packed};
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
}
