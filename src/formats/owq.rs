//! `owq`: 3 or 4 bits with a scale per row, and the most sensitive columns in f16.
//!
//! ```text
//! qweight[r, n] i32 [K·bits/32, N]      column n is a stream along K
//! scales[n] f16 [N, 1]
//! zeros u8 [N/2, 1]                     byte i: [row 2i + 1 | row 2i], high nibble | low nibble
//! oweight[p, n] f16 [P, N]              column outlieridx[p]
//! outlieridx[p] i32 [P]                 each column at most once
//! ```
//!
//! `w = oweight[p,n]` where `k = outlieridx[p]` (the code there equals z), else `(q − z[n])·s[n]`. N is even, K·bits a multiple of 32.
//!
//! Source: Lee et al., "OWQ" (arXiv 2306.02272) and the authors' code.
//!
//! Encoding is the affine rule of `round.rs`, a group being a row, with an f16 scale and no columns in f16 (P = 0): round to nearest, without
//! OWQ's choice of columns and GPTQ's correction of errors.

use super::bits::{field, nibble};
use super::codec::{BYTES, Check, Codec, Numbers, WORDS, among};
use super::form::{Form, Place, Scale};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use super::round::{Affine, Rule, as_f16, f16s, put_apart, rows, words};
use crate::error::{Result, shape_error};

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owq {
    /// 3 or 4.
    pub bits: u32,
}

impl Default for Owq {
    fn default() -> Self {
        Self { bits: 4 }
    }
}

/// The zero of row n.
fn zero(w: &Packed<'_>, n: usize) -> u8 {
    nibble(w.get("zeros").byte(n / 2), n % 2 == 1) as u8
}

impl Codec for Owq {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        Ok(Self { bits: numbers.count("bits", None)? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        among(format, "bits", self.bits, &[3, 4], "it must be 3 or 4")
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        let (n, k, bits) = (w.n, w.k, self.bits as usize);
        w.multiple("N", n, 2)?;
        w.multiple("K·bits", k * bits, 32)?;
        w.exact("qweight", WORDS, &[k * bits / 32, n])?;
        w.exact("scales", &[Dtype::F16], &[n, 1])?;
        w.exact("zeros", BYTES, &[n / 2, 1])?;
        let columns = w.need("outlieridx", &[Dtype::I32])?;
        let count = columns.elements();
        w.shape("outlieridx", columns, &[&[count]])?;
        w.exact("oweight", &[Dtype::F16], &[count, n])?;
        w.indices("outlieridx", columns, k)?;
        let mut seen = vec![false; k];
        for at in 0..count {
            let column = columns.word(at) as usize;
            if std::mem::replace(&mut seen[column], true) {
                return Err(shape_error!(w.format, "outlieridx[{at}] = {column}, which is there twice"));
            }
        }
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            // A zero need not be a code; but columns that are stored apart have it as one, so that they are 0 here.
            let wide = !w.get("outlieridx").bytes.is_empty() && (0..w.n()).any(|n| zero(w, n) >> self.bits != 0);
            Form::scaled(if wide { 4 } else { self.bits }, Scale::F16Pair, Place::ROW)
        })
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Affine { most: (1 << self.bits) - 1, least: 0, half: true, biased: false })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (codes, rows) = (w.get("qweight"), w.n());
        for (k, out) in out.iter_mut().enumerate() {
            *out = field(k, self.bits, |word| codes.word(word * rows + n)) as u8;
        }
        let columns = w.get("outlieridx");
        for p in 0..columns.elements() {
            out[columns.word(p) as usize] = zero(w, n);
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, _g: usize) -> [f32; 2] {
        [w.get("scales").float(row), f32::from(zero(w, row))]
    }

    fn extra(&self, w: &Packed<'_>, n: usize) -> Vec<(usize, f32)> {
        let (columns, values) = (w.get("outlieridx"), w.get("oweight"));
        (0..columns.elements()).map(|p| (columns.word(p) as usize, values.float(p * w.n() + n))).collect()
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let bits = self.bits as usize;
        if !n.is_multiple_of(2) || !(k * bits).is_multiple_of(32) {
            return Vec::new(); // The check says which.
        }
        let (mut codes, mut zeros, mut scales) = (vec![0; k * bits / 32 * n], vec![0u8; n / 2], vec![0.0; n]);
        let rule = Rule { bits: self.bits, least_zero: 0, stored: as_f16 };
        let group = |row: usize, _: usize, affine: &mut Affine| {
            scales[row] = affine.scale;
            zeros[row / 2] |= (affine.zero as u8) << (row % 2 * 4);
        };
        rows(values, k, k, rule, group, |row, k, q| put_apart(&mut codes, row, n, k, self.bits, q));
        vec![
            ("qweight", words(&[k * bits / 32, n], &codes)),
            ("scales", f16s(&[n, 1], &scales)),
            ("zeros", Part::new(Dtype::U8, &[n / 2, 1], zeros)),
            ("oweight", f16s(&[0, n], &[])),
            ("outlieridx", words(&[0], &[])),
        ]
    }
}
