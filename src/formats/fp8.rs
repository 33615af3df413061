//! `fp8.e4m3`, `fp8.e5m2`: 8-bit floats with a scale for the tensor, for each row, or for each block of rows and columns.
//!
//! ```text
//! e4m3  [s eeee mmm]  ±(1 + m/8)·2^(e−7),  e = 0: ±m·2^−9    0x7f, 0xff: NaN; no infinity; at most 448
//! e5m2  [s eeeee mm]  the upper byte of an f16               infinities and NaNs; at most 57344
//! ```
//!
//! Tensors: `weight` u8 `[N,K]`; `weight_scale` f32 `[1]`, `[N,1]`, or with `block = [bn,bk]` `[⌈N/bn⌉,⌈K/bk⌉]`.
//!
//! `w = f8(weight)·scale`: the multiplier, also where a checkpoint calls it `weight_scale_inv`. Encoding: `scale = max|v| / largest` of each
//! row or block, the nearest float of `v / scale`, ties to even.
//!
//! Sources: Micikevicius et al., "FP8 formats for deep learning" (arXiv 2209.05433); the blocks are those of DeepSeek-V3's checkpoint.

use super::bits::{amax, f8_from};
use super::codec::{BYTES, Check, Codec, Numbers, value_error};
use super::form::{Form, Level, Place, Scale};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use crate::error::Result;

/// The numbers, for 3 bits of mantissa (e4m3) or 2 (e5m2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fp8<const MANTISSA: u32> {
    /// The rows and columns that share a scale; absent: all of a row, or of the tensor, as the scale's shape says.
    pub block: Option<[u32; 2]>,
}

impl<const MANTISSA: u32> Fp8<MANTISSA> {
    /// Rows and columns of a block; a row where there are none.
    fn size(&self, k: usize) -> [usize; 2] {
        self.block.map_or([1, k], |block| block.map(|size| size as usize))
    }
}

impl<const MANTISSA: u32> Codec for Fp8<MANTISSA> {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        Ok(Self { block: numbers.pair("block")? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        match self.block {
            Some(block) if block.contains(&0) => {
                Err(value_error(format, "block", format!("{block:?}"), "both must be at least 1"))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        w.exact("weight", BYTES, &[w.n, w.k])?;
        let scale = w.need("weight_scale", &[Dtype::F32])?;
        let [rows, cols] = self.size(w.k);
        match self.block {
            Some(_) => w.shape("weight_scale", scale, &[&[w.n.div_ceil(rows), w.k.div_ceil(cols)]]),
            None => w.shape("weight_scale", scale, &[&[1], &[w.n, 1]]),
        }
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            let [rows, cols] = self.size(w.k()).map(|size| size as u32);
            let all = w.get("weight_scale").shape.len() == 1;
            let place = if all { Place::TENSOR } else { Place::Block { rows, cols } };
            Form::scaled(8, Scale::F32, place).levels(if MANTISSA == 3 { Level::E4m3 } else { Level::E5m2 })
        })
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Float8(MANTISSA))
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        out.copy_from_slice(&w.get("weight").bytes[n * out.len()..][..out.len()]);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let cols = self.size(w.k())[1];
        [w.get("weight_scale").float(row * w.k().div_ceil(cols) + g), 0.0]
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let largest = if MANTISSA == 3 { 448.0 } else { 57344.0 };
        let [rows, cols] = self.size(k);
        let shape = [n.div_ceil(rows), k.div_ceil(cols)];
        let mut scales = vec![0.0f32; shape[0] * shape[1]];
        let at = |row: usize, col: usize| row / rows * shape[1] + col / cols;
        for (row, values) in values.chunks_exact(k).enumerate() {
            for (part, values) in values.chunks(cols).enumerate() {
                let scale = &mut scales[at(row, part * cols)];
                *scale = scale.max(amax(values) / largest);
            }
        }
        let code = |(i, v): (usize, &f32)| {
            let scale = scales[at(i / k, i % k)];
            f8_from::<MANTISSA>(if scale > 0.0 { v / scale } else { 0.0 })
        };
        let codes: Vec<u8> = values.iter().enumerate().map(code).collect();
        vec![("weight", Part::new(Dtype::U8, &[n, k], codes)), ("weight_scale", Part::f32s(&shape, &scales))]
    }
}
