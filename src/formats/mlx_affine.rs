//! `mlx.affine`: 2, 3, 4, 5, 6 or 8 bits with a scale and a bias per group along K.
//!
//! ```text
//! w[n, c] u32 [N, K·bits/32]                            row n is a stream along K
//! scales, biases f32, f16 or bf16 [N, K/group]          group is 32, 64 or 128
//! ```
//!
//! `w = q·scale + bias`. A scale may be negative: the encoder puts the edge of the larger magnitude exactly on a code.
//! Encoding, with `low` and `high` of a group and `most = 2^bits − 1`: `edge` is the one of the larger magnitude (high, if they are equal);
//! `s = max((high − low)/most, 1e-7)`, negative where the edge is high; `c = round(edge/s)`; where c is not 0, `scale = edge/c` and
//! `bias = edge`, else `scale = s` and `bias = 0`; `q = clamp(round((v − bias)/scale), 0, most)`. Rounds to even. Scales are kept in f32.
//!
//! Source: MLX, `mlx.core.quantize`.

use super::bits::{field, put_field};
use super::codec::{Check, Codec, FLOATS, Group, Numbers, WORDS, among};
use super::form::{Form, Place, Scale};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use crate::error::Result;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MlxAffine {
    /// 2, 3, 4, 5, 6 or 8.
    pub bits: u32,
    /// Along K: 32, 64 or 128.
    pub group: u32,
}

impl Default for MlxAffine {
    fn default() -> Self {
        Self { bits: 4, group: 64 }
    }
}

impl Codec for MlxAffine {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        let group = match numbers.group()? {
            Group::Of(group) => group,
            Group::All => 0,
        };
        Ok(Self { bits: numbers.count("bits", None)?, group })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        among(format, "bits", self.bits, &[2, 3, 4, 5, 6, 8], "it must be 2, 3, 4, 5, 6 or 8")?;
        among(format, "group", self.group, &[32, 64, 128], "it must be 32, 64 or 128")
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let group = self.group as usize;
        w.multiple("K", w.k, group)?;
        w.exact("w", WORDS, &[w.n, w.k * self.bits as usize / 32])?;
        w.exact("scales", FLOATS, &[w.n, w.k / group])?;
        w.exact("biases", FLOATS, &[w.n, w.k / group])?;
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            let scale = Scale::of(&[w.get("scales").dtype, w.get("biases").dtype]);
            Form::biased(self.bits, scale, Place::along(self.group as usize))
        })
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Edge((1 << self.bits) - 1))
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let codes = w.get("w");
        let first = n * (out.len() * self.bits as usize / 32);
        for (k, out) in out.iter_mut().enumerate() {
            *out = field(k, self.bits, |word| codes.word(first + word)) as u8;
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let at = row * (w.k() / self.group as usize) + g;
        [w.get("scales").float(at), w.get("biases").float(at)]
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (bits, group) = (self.bits, self.group as usize);
        let most = ((1u32 << bits) - 1) as f32;
        let row_words = (k * bits as usize).div_ceil(32);
        let mut words = vec![0; n * row_words];
        let (mut scales, mut biases) = (Vec::new(), Vec::new());
        for (row, words) in values.chunks_exact(k).zip(words.chunks_exact_mut(row_words)) {
            for (g, values) in row.chunks_exact(group).enumerate() {
                let (scale, bias) = affine(values, most);
                scales.push(scale);
                biases.push(bias);
                for (i, v) in values.iter().enumerate() {
                    let q = ((v - bias) / scale).round_ties_even().clamp(0.0, most);
                    put_field(words, g * group + i, bits, q as u32);
                }
            }
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        // Where K is no multiple of the group some values are left over; the check that follows says so.
        let shape = [n, k / group];
        vec![
            ("w", Part::new(Dtype::U32, &[n, row_words], bytes)),
            ("scales", Part::f32s(&shape, &scales)),
            ("biases", Part::f32s(&shape, &biases)),
        ]
    }
}

/// Scale and bias of a group.
fn affine(values: &[f32], most: f32) -> (f32, f32) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = ((high - low) / most).max(1e-7);
    let (edge, step) = if low.abs() > high.abs() { (low, step) } else { (high, -step) };
    let code = (edge / step).round_ties_even();
    if code == 0.0 { (step, 0.0) } else { (edge / code, edge) }
}
