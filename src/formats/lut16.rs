//! `lut16`: 4 bits into a table of the tensor or of each row, with a scale and perhaps a float zero per group along K.
//!
//! ```text
//! codes[n, i] u8 [N, ⌈K/2⌉]                 [k = 2i + 1 | k = 2i], high nibble | low nibble
//! table f32 [16] or [N, 16]
//! scales[n, g] f32 or f16 [N, ⌈K/G⌉]        zeros? in the shape of scales, f32 or f16
//! ```
//!
//! `w = (table[q] − zero)·scale`. This layout is ours. It holds what has a table and no layout of its own: DAQ (arXiv 2410.12187),
//! whose zero counts in units of the table; NUPES (arXiv 2308.05600), where `table[q] = ±|q|^(1/a)`: **unverified**, the formula of the
//! exponent is from memory; ZeroQuant-FP (arXiv 2307.09782), E2M1 with scales whose ratios are powers of two: **unverified**, there is
//! no code of the authors'.
//!
//! Encoding: the table is NF4 (QLoRA, arXiv 2305.14314), `scale = max|v|` of a group in f32, the nearest entry of `v·(1/scale)`, of two the first;
//! no zeros.

use super::bits::{NF4, amax, inverse, nearest, nibble};
use super::codec::{BYTES, Check, Codec, F32_F16, Group, Numbers};
use super::form::{Form, Level, Place, Scale};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use crate::error::Result;

/// The numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lut16 {
    /// Along K.
    pub group: Group,
}

impl Codec for Lut16 {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        Ok(Self { group: numbers.group()? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        self.group.valid(format)
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let shape = [w.n, self.group.count(w.k)];
        w.exact("codes", BYTES, &[w.n, w.k.div_ceil(2)])?;
        let table = w.need("table", &[Dtype::F32])?;
        w.shape("table", table, &[&[16], &[w.n, 16]])?;
        w.exact("scales", F32_F16, &shape)?;
        w.exact_maybe("zeros", F32_F16, &[&shape])
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            let (table, scales) = (w.get("table"), w.get("scales").dtype);
            let level = if table.shape.len() == 1 { Level::Table } else { Level::RowTable };
            let scale = match w.part("zeros") {
                None => Scale::of(&[scales]),
                Some(zeros) => Scale::of(&[scales, zeros.dtype]),
            };
            Form::scaled(4, scale, Place::along(self.group.size(w.k()))).levels(level)
        })
    }

    fn nearest(&self, w: &Packed<'_>) -> Option<Nearest> {
        let table = w.get("table");
        let encoders = table.elements() == 16 && (0..16).all(|i| table.float(i) == NF4[i]);
        encoders.then_some(Nearest::Nf4)
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (codes, first) = (w.get("codes"), n * out.len().div_ceil(2));
        for (k, out) in out.iter_mut().enumerate() {
            *out = nibble(codes.byte(first + k / 2), k % 2 == 1) as u8;
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let at = row * self.group.count(w.k()) + g;
        [w.get("scales").float(at), w.part("zeros").map_or(0.0, |zeros| zeros.float(at))]
    }

    fn table(&self, w: &Packed<'_>, n: usize) -> [f32; 16] {
        let table = w.get("table");
        let first = if table.shape.len() == 1 { 0 } else { n * 16 };
        std::array::from_fn(|i| table.float(first + i))
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (size, row_bytes) = (self.group.size(k), k.div_ceil(2));
        let (mut codes, mut scales) = (vec![0u8; n * row_bytes], Vec::with_capacity(n * self.group.count(k)));
        for (row, codes) in values.chunks_exact(k).zip(codes.chunks_exact_mut(row_bytes)) {
            for (g, values) in row.chunks(size).enumerate() {
                let scale = amax(values);
                scales.push(scale);
                for (k, v) in (g * size..).zip(values) {
                    codes[k / 2] |= (nearest(&NF4, v * inverse(scale)) as u8) << (k % 2 * 4);
                }
            }
        }
        vec![
            ("codes", Part::new(Dtype::U8, &[n, row_bytes], codes)),
            ("table", Part::f32s(&[16], &NF4)),
            ("scales", Part::f32s(&[n, self.group.count(k)], &scales)),
        ]
    }
}
