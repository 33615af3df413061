//! `dense`: the numbers as they are.
//!
//! Tensor: `w` f32, f16 or bf16 `[N,K]`. Encoding keeps f32.

use super::codec::{Check, Codec, FLOATS};
use super::packed::{Packed, Part};
use crate::error::Result;

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dense;

impl Codec for Dense {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        w.exact("w", FLOATS, &[w.n, w.k])?;
        Ok(())
    }

    fn row(&self, w: &Packed<'_>, n: usize, out: &mut [f32]) {
        let (values, first) = (w.get("w"), n * out.len());
        for (k, out) in out.iter_mut().enumerate() {
            *out = values.float(first + k);
        }
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        vec![("w", Part::f32s(&[n, k], values))]
    }
}
