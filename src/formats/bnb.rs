//! `bnb.nf4`, `bnb.fp4`, `onnx.bnb4`: 4 bits into a fixed table, with an f32 scale for each block of the flat matrix.
//!
//! ```text
//! packed u8 [⌈NK/2⌉, 1]      byte i: [f = 2i | f = 2i + 1], high nibble | low nibble, f = nK + k      (onnx: B [⌈NK/2⌉])
//! absmax f32 [⌈NK/B⌉]        blocks of B numbers run on over the ends of rows; the last may be short
//! ```
//!
//! or nested (`bnb.*` only), where the scales are 8 bits into a table themselves:
//!
//! ```text
//! absmax_u8 u8 [⌈NK/B⌉]  map f32 [256]  absmax2 f32 [⌈⌈NK/B⌉/B2⌉]  offset f32 [1]
//! absmax[i] = map[absmax_u8[i]]·absmax2[⌊i/B2⌋] + offset
//! ```
//!
//! `w = table[q]·absmax[⌊f/B⌋]`. FP4 is 0, 1/192, 2/3, 1, 1/3, 1/2, 1/6, 1/4 in the order of its bits, then the negatives.
//! Encoding: `absmax = max|v|`, the nearest entry of `v / absmax`, of two the first.
//!
//! Sources: Dettmers et al., "QLoRA" (arXiv 2305.14314) and bitsandbytes; ONNX Runtime's `com.microsoft::MatMulBnb4`. (bitsandbytes 0.50.2
//! decodes on the CPU otherwise where K is no multiple of the block; its encoder and GPU code are as here.)

use super::bits::{FP4, NF4, amax, inverse, nearest, nibble};
use super::codec::{BYTES, Check, Codec, Numbers, among, value_error};
use super::form::{Form, Level, Place, Scale, flat_at};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use crate::error::Result;

fn table(nf4: bool) -> &'static [f32; 16] {
    if nf4 { &NF4 } else { &FP4 }
}

fn block_valid(format: &'static str, name: &'static str, block: u32) -> Result<()> {
    if block == 0 { Err(value_error(format, name, block, "it must be at least 1")) } else { Ok(()) }
}

/// The codes of row n.
fn codes(packed: &Part<'_>, n: usize, out: &mut [u8]) {
    let first = n * out.len();
    for (k, out) in out.iter_mut().enumerate() {
        *out = nibble(packed.byte((first + k) / 2), (first + k).is_multiple_of(2)) as u8;
    }
}

/// Codes, two to a byte, and scales.
fn encode(table: &[f32; 16], block: u32, values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let block = block as usize;
    let scales: Vec<f32> = values.chunks(block).map(amax).collect();
    let mut codes = vec![0u8; values.len().div_ceil(2)];
    for (f, v) in values.iter().enumerate() {
        let q = nearest(table, v * inverse(scales[f / block])) as u8;
        codes[f / 2] |= if f % 2 == 0 { q << 4 } else { q };
    }
    (codes, scales)
}

/// The numbers of `bnb.nf4` (`NF4`) and `bnb.fp4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bnb<const NF4: bool> {
    /// The numbers that share a scale.
    pub blocksize: u32,
    /// The scales that share a scale, where they are nested.
    pub blocksize2: u32,
}

impl<const NF4: bool> Default for Bnb<NF4> {
    fn default() -> Self {
        Self { blocksize: 64, blocksize2: 256 }
    }
}

impl<const NF4: bool> Codec for Bnb<NF4> {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        let blocksize = numbers.count("blocksize", Some(64))?;
        Ok(Self { blocksize, blocksize2: numbers.count("blocksize2", Some(256))? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        block_valid(format, "blocksize", self.blocksize)?;
        block_valid(format, "blocksize2", self.blocksize2)
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let numbers = w.n * w.k;
        let blocks = numbers.div_ceil(self.blocksize as usize);
        w.exact("packed", BYTES, &[numbers.div_ceil(2), 1])?;
        if !w.has("absmax_u8") {
            w.exact("absmax", &[Dtype::F32], &[blocks])?;
            return Ok(());
        }
        w.exact("absmax_u8", BYTES, &[blocks])?;
        w.exact("map", &[Dtype::F32], &[256])?;
        w.exact("absmax2", &[Dtype::F32], &[blocks.div_ceil(self.blocksize2 as usize)])?;
        w.exact("offset", &[Dtype::F32], &[1])?;
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            // Nested scales are counted over the ends of rows.
            let flat = Place::Flat(self.blocksize);
            let nested = w.part("absmax_u8").is_some();
            let (scale, place) =
                if nested { (Scale::Nested(self.blocksize2), flat) } else { (Scale::F32, flat.on(w.k())) };
            Form::scaled(4, scale, place).levels(Level::Table)
        })
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(if NF4 { Nearest::Nf4 } else { Nearest::Fp4 })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        codes(w.get("packed"), n, out);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let at = flat_at(w, self.form(w), row, g);
        match w.part("absmax_u8") {
            Some(codes) => [f32::from(codes.byte(at)), 0.0],
            None => [w.get("absmax").float(at), 0.0],
        }
    }

    fn supers(&self, w: &Packed<'_>, _row: usize, s: usize) -> [f32; 2] {
        [w.get("absmax2").float(s), w.get("offset").float(0)]
    }

    fn map(&self, w: &Packed<'_>, i: usize) -> f32 {
        w.get("map").float(i)
    }

    fn table(&self, _w: &Packed<'_>, _n: usize) -> [f32; 16] {
        *table(NF4)
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, _n: usize, _k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (codes, scales) = encode(table(NF4), self.blocksize, values);
        vec![
            ("packed", Part::new(Dtype::U8, &[codes.len(), 1], codes)),
            ("absmax", Part::f32s(&[scales.len()], &scales)),
        ]
    }
}

/// The numbers of `onnx.bnb4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OnnxBnb4 {
    /// The table: `quant_type` 1 is NF4, 0 is FP4.
    pub nf4: bool,
    /// The numbers that share a scale.
    pub block: u32,
}

impl Default for OnnxBnb4 {
    fn default() -> Self {
        Self { nf4: true, block: 64 }
    }
}

impl Codec for OnnxBnb4 {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        let quant_type = numbers.whole("quant_type", None)?;
        among(numbers.format, "quant_type", quant_type, &[0, 1], "it must be 0 (FP4) or 1 (NF4)")?;
        Ok(Self { nf4: quant_type == 1, block: numbers.count("block", None)? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        block_valid(format, "block", self.block)
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let numbers = w.n * w.k;
        w.exact("B", BYTES, &[numbers.div_ceil(2)])?;
        w.exact("absmax", &[Dtype::F32], &[numbers.div_ceil(self.block as usize)])?;
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some(Form::scaled(4, Scale::F32, Place::Flat(self.block).on(w.k())).levels(Level::Table))
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(if self.nf4 { Nearest::Nf4 } else { Nearest::Fp4 })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        codes(w.get("B"), n, out);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        [w.get("absmax").float(flat_at(w, self.form(w), row, g)), 0.0]
    }

    fn table(&self, _w: &Packed<'_>, _n: usize) -> [f32; 16] {
        *table(self.nf4)
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, _n: usize, _k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (codes, scales) = encode(table(self.nf4), self.block, values);
        vec![("B", Part::new(Dtype::U8, &[codes.len()], codes)), ("absmax", Part::f32s(&[scales.len()], &scales))]
    }
}
