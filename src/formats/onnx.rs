//! `onnx.nbits`: 2, 4 or 8 bits with a zero and a scale per block along K.
//!
//! ```text
//! B[n, b, i] u8 [N, nb, block·bits/8]         nb = ⌈K/block⌉; codes of a block, lowest bits first
//! scales f32 or f16 [N, nb] or [N·nb]
//! zero_points? u8 [N, ⌈nb·bits/8⌉]            packed for each row, lowest bits first; or f32, f16 [N, nb]
//! ```
//!
//! `w = (q − z)·s`; without `zero_points`, z = 2^(bits − 1). Codes beyond K pad. The block is a power of two, at least 16.
//!
//! Source: ONNX Runtime's `com.microsoft::MatMulNBits`.
//!
//! Encoding is the affine rule of `round.rs` with f32 scales and packed `zero_points`: round to nearest, the codes beyond K being 0.

use super::codec::{Check, Codec, F32_F16, Numbers, among, value_error};
use super::form::{Form, Place, Scale};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use super::round::{Affine, Rule, rows};
use crate::error::Result;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OnnxNbits {
    /// 2, 4 or 8.
    pub bits: u32,
    /// Along K.
    pub block: u32,
}

impl Default for OnnxNbits {
    fn default() -> Self {
        Self { bits: 4, block: 32 }
    }
}

/// Field i of a run of bytes that begins at `first`.
fn code(part: &super::Part<'_>, first: usize, i: usize, bits: usize) -> u8 {
    (part.byte(first + i * bits / 8) >> (i * bits % 8)) & (u8::MAX >> (8 - bits))
}

impl Codec for OnnxNbits {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        Ok(Self { bits: numbers.count("bits", None)?, block: numbers.count("block", None)? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        among(format, "bits", self.bits, &[2, 4, 8], "it must be 2, 4 or 8")?;
        if self.block < 16 || !self.block.is_power_of_two() || self.block > 1 << 24 {
            return Err(value_error(format, "block", self.block, "it must be a power of two from 16 to 2^24"));
        }
        Ok(())
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let (n, bits, block) = (w.n, self.bits as usize, self.block as usize);
        let blocks = w.k.div_ceil(block);
        w.exact("B", &[Dtype::U8], &[n, blocks, block * bits / 8])?;
        let scales = w.need("scales", F32_F16)?;
        w.shape("scales", scales, &[&[n, blocks], &[n * blocks]])?;
        if let Some(zeros) = w.maybe("zero_points", &[Dtype::U8, Dtype::F32, Dtype::F16])? {
            let cols = if zeros.dtype == Dtype::U8 { (blocks * bits).div_ceil(8) } else { blocks };
            w.shape("zero_points", zeros, &[&[n, cols]])?;
        }
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            let dtype = w.get("scales").dtype;
            let (place, middle) = (Place::along(self.block as usize), 1 << (self.bits - 1));
            match w.part("zero_points").map(|zeros| zeros.dtype) {
                None => Form::scaled(self.bits, Scale::of(&[dtype]), place).about(middle),
                Some(Dtype::U8) => Form::scaled(self.bits, Scale::of(&[dtype, dtype]), place),
                Some(zeros) => Form::scaled(self.bits, Scale::of(&[dtype, zeros]), place),
            }
        })
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Affine { most: (1 << self.bits) - 1, least: 0, half: false, biased: false })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (bits, block) = (self.bits as usize, self.block as usize);
        let (codes, row_bytes) = (w.get("B"), out.len().div_ceil(block) * block * bits / 8);
        for (k, out) in out.iter_mut().enumerate() {
            *out = code(codes, n * row_bytes, k, bits);
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let (bits, blocks) = (self.bits as usize, w.k().div_ceil(self.block as usize));
        let zero = match w.part("zero_points") {
            None => 0.0,
            Some(zeros) if zeros.dtype == Dtype::U8 => {
                f32::from(code(zeros, row * (blocks * bits).div_ceil(8), g, bits))
            }
            Some(zeros) => zeros.float(row * blocks + g),
        };
        [w.get("scales").float(row * blocks + g), zero]
    }

    fn encodes(&self) -> bool {
        true
    }

    fn padded(&self, k: usize) -> usize {
        k.next_multiple_of(self.block as usize)
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (bits, block) = (self.bits as usize, self.block as usize);
        let blocks = k.div_ceil(block);
        let (block_bytes, zero_bytes) = (block * bits / 8, (blocks * bits).div_ceil(8));
        let (mut codes, mut zeros) = (vec![0u8; n * blocks * block_bytes], vec![0u8; n * zero_bytes]);
        let mut scales = Vec::with_capacity(n * blocks);
        let rule = Rule { bits: self.bits, least_zero: 0, stored: |scale| scale };
        let group = |row: usize, b: usize, affine: &mut Affine| {
            scales.push(affine.scale);
            zeros[row * zero_bytes + b * bits / 8] |= (affine.zero as u8) << (b * bits % 8);
        };
        // Blocks are whole bytes, so that a row of codes is one run of them.
        let row_bytes = blocks * block_bytes;
        let code = |row: usize, k: usize, q: u32| codes[row * row_bytes + k * bits / 8] |= (q as u8) << (k * bits % 8);
        rows(values, k, block, rule, group, code);
        vec![
            ("B", Part::new(Dtype::U8, &[n, blocks, block_bytes], codes)),
            ("scales", Part::f32s(&[n, blocks], &scales)),
            ("zero_points", Part::new(Dtype::U8, &[n, zero_bytes], zeros)),
        ]
    }
}
