//! `int8`: signed bytes with a scale for the tensor or for each row, and perhaps a zero.
//!
//! Tensors: `weight` i8 `[N,K]`; `weight_scale` f32 `[1]` or `[N,1]`; `weight_zero_point?` i8, in the shape of the scale.
//!
//! `w = (weight − zero)·scale`. Encoding: a scale for each row, `scale = max|v| / 127`, `q = round(v / scale)`, ties to even.
//!
//! Source: the `int-quantized` layout of compressed-tensors.

use super::bits::{amax, inverse};
use super::codec::{Check, Codec};
use super::packed::{Dtype, Packed, Part};
use crate::error::Result;

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Int8;

impl Codec for Int8 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        w.exact("weight", &[Dtype::I8], &[w.n, w.k])?;
        let scale = w.need("weight_scale", &[Dtype::F32])?;
        w.shape("weight_scale", scale, &[&[1], &[w.n, 1]])?;
        w.exact_maybe("weight_zero_point", &[Dtype::I8], &[&scale.shape])
    }

    fn row(&self, w: &Packed<'_>, n: usize, out: &mut [f32]) {
        let (scale, first) = (w.get("weight_scale"), n * out.len());
        let at = if scale.elements() == 1 { 0 } else { n };
        let zero = w.part("weight_zero_point").map_or(0.0, |zero| zero.float(at));
        let (weight, scale) = (w.get("weight"), scale.float(at));
        for (k, out) in out.iter_mut().enumerate() {
            *out = (weight.float(first + k) - zero) * scale;
        }
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let scales: Vec<f32> = values.chunks_exact(k).map(|row| amax(row) / 127.0).collect();
        let codes: Vec<u8> = values
            .chunks_exact(k)
            .zip(&scales)
            .flat_map(|(row, scale)| {
                let inverse = inverse(*scale);
                row.iter().map(move |v| (v * inverse).round_ties_even() as i8 as u8)
            })
            .collect();
        vec![("weight", Part::new(Dtype::I8, &[n, k], codes)), ("weight_scale", Part::f32s(&[n, 1], &scales))]
    }
}
