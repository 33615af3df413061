//! `sparse24`: two of every four adjacent numbers of a row; the others are 0.
//!
//! ```text
//! values[n, i] f32, f16 or bf16 [N, K/2]      values 2j and 2j + 1 stand in columns 4j … 4j + 3
//! index[n, c] u8 [N, ⌈K/8⌉]                   2-bit field i % 4 of byte ⌊i/4⌋, 0 the lowest: the column p of value i
//! ```
//!
//! `w[n, 4⌊i/2⌋ + p] = values[n, i]`. K is a multiple of 4. Where a file puts both values in one column, the second stands there.
//!
//! Source: this layout is ours, after NVIDIA's 2:4 sparsity (arXiv 2104.08378); Wanda's N:M choice (arXiv 2306.11695) fills it.
//!
//! Encoding: of each four the two of the largest magnitude stay, of equal ones the first, in f32 and in the order of their columns.

use super::codec::{BYTES, Check, Codec, FLOATS};
use super::packed::{Dtype, Packed, Part};
use crate::error::Result;

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sparse24;

impl Codec for Sparse24 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        w.multiple("K", w.k, 4)?;
        w.exact("values", FLOATS, &[w.n, w.k / 2])?;
        w.exact("index", BYTES, &[w.n, w.k.div_ceil(8)])?;
        Ok(())
    }

    fn row(&self, w: &Packed<'_>, n: usize, out: &mut [f32]) {
        let (values, index) = (w.get("values"), w.get("index"));
        let (first, first_index) = (n * (out.len() / 2), n * out.len().div_ceil(8));
        out.fill(0.0);
        for i in 0..out.len() / 2 {
            let p = (index.byte(first_index + i / 4) >> (2 * (i % 4))) & 3;
            out[4 * (i / 2) + usize::from(p)] = values.float(first + i);
        }
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        if !k.is_multiple_of(4) {
            return Vec::new(); // The check says so.
        }
        let (mut kept, mut index) = (Vec::with_capacity(values.len() / 2), vec![0u8; n * k.div_ceil(8)]);
        for (row, index) in values.chunks_exact(k).zip(index.chunks_exact_mut(k.div_ceil(8))) {
            for (j, four) in row.chunks_exact(4).enumerate() {
                // A number stays if fewer than two go before it.
                let before = |p: usize, other: usize| {
                    let (m, other_m) = (four[p].abs(), four[other].abs());
                    other_m > m || (other_m == m && other < p)
                };
                let stay = (0..4).filter(|p| (0..4).filter(|other| before(*p, *other)).count() < 2);
                for (i, p) in (2 * j..).zip(stay) {
                    kept.push(four[p]);
                    index[i / 4] |= (p as u8) << (2 * (i % 4));
                }
            }
        }
        vec![("values", Part::f32s(&[n, k / 2], &kept)), ("index", Part::new(Dtype::U8, &[n, k.div_ceil(8)], index))]
    }
}
