//! `mlx.mxfp4`, `mlx.mxfp8`, `mlx.nvfp4`: small floats with a small scale per group along K.
//!
//! ```text
//! mlx.mxfp4  w u32 [N, K/8]  nibbles, lowest first    scales u8 [N, K/32]    w = E2M1[q]·2^(scale − 127)
//! mlx.mxfp8  w u32 [N, K/4]  bytes, lowest first      scales u8 [N, K/32]    w = e4m3(q)·2^(scale − 127)
//! mlx.nvfp4  w u32 [N, K/8]  nibbles, lowest first    scales u8 [N, K/16]    w = E2M1[q]·e4m3(scale)
//! ```
//!
//! E2M1 = 0, 0.5, 1, 1.5, 2, 3, 4, 6, then −0 and the negatives. A scale of 255 is 2^128, not NaN.
//!
//! Sources: MLX, `mlx.core.quantize` with these modes; OCP Microscaling Formats, version 1.0.

use super::bits::{E2M1_DOUBLED, f8, half_e8m0, nibble};
use super::codec::{BYTES, Check, Codec, WORDS};
use super::packed::Packed;
use crate::error::Result;

fn check(w: &mut Check<'_>, per_word: usize, group: usize) -> Result<()> {
    w.multiple("K", w.k, group)?;
    w.exact("w", WORDS, &[w.n, w.k / per_word])?;
    w.exact("scales", BYTES, &[w.n, w.k / group])?;
    Ok(())
}

/// Twice the numbers of row n, times half of their scales: both are exact.
fn row(
    w: &Packed<'_>,
    n: usize,
    group: usize,
    out: &mut [f32],
    twice: impl Fn(usize) -> f32,
    half_scale: fn(u8) -> f32,
) {
    let (first, scales) = (n * out.len(), w.get("scales"));
    for (g, out) in out.chunks_exact_mut(group).enumerate() {
        let half_scale = half_scale(scales.byte((first + g * group) / group));
        for (i, out) in out.iter_mut().enumerate() {
            *out = twice(first + g * group + i) * half_scale;
        }
    }
}

/// The codec of `mlx.mxfp4`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MlxMxfp4;

/// The codec of `mlx.mxfp8`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MlxMxfp8;

/// The codec of `mlx.nvfp4`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MlxNvfp4;

impl Codec for MlxMxfp4 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        check(w, 8, 32)
    }

    fn row(&self, w: &Packed<'_>, n: usize, out: &mut [f32]) {
        let codes = w.get("w");
        row(w, n, 32, out, |i| E2M1_DOUBLED[nibble(codes.byte(i / 2), i % 2 == 1)], half_e8m0);
    }
}

impl Codec for MlxMxfp8 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        check(w, 4, 32)
    }

    fn row(&self, w: &Packed<'_>, n: usize, out: &mut [f32]) {
        let codes = w.get("w");
        row(w, n, 32, out, |i| 2.0 * f8::<3>(codes.byte(i)), half_e8m0);
    }
}

impl Codec for MlxNvfp4 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        check(w, 8, 16)
    }

    fn row(&self, w: &Packed<'_>, n: usize, out: &mut [f32]) {
        let codes = w.get("w");
        let twice = |i: usize| E2M1_DOUBLED[nibble(codes.byte(i / 2), i % 2 == 1)];
        row(w, n, 16, out, twice, |scale| 0.5 * f8::<3>(scale));
    }
}
