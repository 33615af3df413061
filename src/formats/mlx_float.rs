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

use super::bits::nibble;
use super::codec::{BYTES, Check, Codec, WORDS};
use super::form::{Form, Level, Place, Rule, Scale};
use super::packed::Packed;
use crate::error::Result;

fn check(w: &mut Check<'_>, per_word: usize, group: usize) -> Result<()> {
    w.multiple("K", w.k, group)?;
    w.exact("w", WORDS, &[w.n, w.k / per_word])?;
    w.exact("scales", BYTES, &[w.n, w.k / group])?;
    Ok(())
}

/// The nibbles of row n.
fn nibbles(w: &Packed<'_>, n: usize, out: &mut [u8]) {
    let (codes, first) = (w.get("w"), n * out.len());
    for (k, out) in out.iter_mut().enumerate() {
        *out = nibble(codes.byte((first + k) / 2), (first + k) % 2 == 1) as u8;
    }
}

/// Scale g of row `row`, of groups of so many.
fn scale(w: &Packed<'_>, group: usize, row: usize, g: usize) -> [f32; 2] {
    [f32::from(w.get("scales").byte(row * (w.k() / group) + g)), 0.0]
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

    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        Some(Form { rule: Rule::Power, ..Form::scaled(4, Scale::E8m0, Place::along(32)).levels(Level::E2m1) })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        nibbles(w, n, out);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        scale(w, 32, row, g)
    }
}

impl Codec for MlxMxfp8 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        check(w, 4, 32)
    }

    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        Some(Form { rule: Rule::Power, ..Form::scaled(8, Scale::E8m0, Place::along(32)).levels(Level::E4m3) })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        out.copy_from_slice(&w.get("w").bytes[n * out.len()..][..out.len()]);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        scale(w, 32, row, g)
    }
}

impl Codec for MlxNvfp4 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        check(w, 8, 16)
    }

    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        Some(Form::scaled(4, Scale::E4m3, Place::along(16)).levels(Level::E2m1))
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        nibbles(w, n, out);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        scale(w, 16, row, g)
    }
}
