//! `int8`: signed bytes with a scale for the tensor or for each row, and perhaps a zero.
//!
//! Tensors: `weight` i8 `[N,K]`; `weight_scale` f32 `[1]` or `[N,1]`; `weight_zero_point?` i8, in the shape of the scale.
//!
//! `w = (weight − zero)·scale`. Encoding: a scale for each row, `scale = max|v| / 127`, `q = round(v / scale)`, ties to even.
//!
//! Source: the `int-quantized` layout of compressed-tensors.

use super::bits::{amax, inverse};
use super::codec::{Check, Codec};
use super::form::{Form, Place, Scale};
use super::nearest::Nearest;
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

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            let place = if w.get("weight_scale").shape.len() == 1 { Place::TENSOR } else { Place::ROW };
            match w.part("weight_zero_point") {
                None => Form::scaled(8, Scale::F32, place).about(128),
                Some(_) => Form::scaled(8, Scale::F32Pair, place),
            }
        })
    }

    fn nearest(&self, w: &Packed<'_>) -> Option<Nearest> {
        w.part("weight_zero_point").is_none().then_some(Nearest::Signed { even: true })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        // Signed as unsigned, about 128.
        for (out, q) in out.iter_mut().zip(&w.get("weight").bytes[n * w.k()..]) {
            *out = q ^ 128;
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, _g: usize) -> [f32; 2] {
        let zero = w.part("weight_zero_point").map_or(0.0, |zero| zero.float(row));
        [w.get("weight_scale").float(row), zero + 128.0]
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
