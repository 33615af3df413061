//! `leanquant`: 2, 3 or 4 bits into a table for each row.
//!
//! ```text
//! weight_codes[n, i] u8 [N, K/2]      [k = 2i | k = 2i + 1], high nibble | low nibble, whatever `bits` is
//! quant_grid[n, q] f16 [N, 2^bits]
//! ```
//!
//! `w = quant_grid[n, q]`. K is even. Of a nibble only the `bits` lower bits count.
//!
//! Source: Zhang, Shrivastava, "LeanQuant" (arXiv 2407.10032) and the authors' code.
//!
//! There is no rule for encoding: the grid of LeanQuant is fitted to the inverse Hessian of the layer's inputs, and no rule is published that
//! makes one of the weights alone.

use super::bits::nibble;
use super::codec::{BYTES, Check, Codec, Numbers, among};
use super::form::{Form, Level, Place, Scale};
use super::packed::{Dtype, Packed};
use crate::error::Result;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leanquant {
    /// 2, 3 or 4.
    pub bits: u32,
}

impl Default for Leanquant {
    fn default() -> Self {
        Self { bits: 4 }
    }
}

impl Codec for Leanquant {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        Ok(Self { bits: numbers.count("bits", None)? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        among(format, "bits", self.bits, &[2, 3, 4], "it must be 2, 3 or 4")
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        w.multiple("K", w.k, 2)?;
        w.exact("weight_codes", BYTES, &[w.n, w.k / 2])?;
        w.exact("quant_grid", &[Dtype::F16], &[w.n, 1 << self.bits])?;
        Ok(())
    }

    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        Some(Form::scaled(self.bits, Scale::One, Place::TENSOR).levels(Level::RowTable))
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (codes, first) = (w.get("weight_codes"), n * (out.len() / 2));
        for (k, out) in out.iter_mut().enumerate() {
            *out = nibble(codes.byte(first + k / 2), k % 2 == 0) as u8 % (1 << self.bits);
        }
    }

    fn table(&self, w: &Packed<'_>, n: usize) -> [f32; 16] {
        let (grid, entries) = (w.get("quant_grid"), 1usize << self.bits);
        std::array::from_fn(|i| grid.float(n * entries + i % entries))
    }
}
