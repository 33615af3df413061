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
//!
//! Encoding of `mlx.mxfp4` and `mlx.mxfp8` is that of the specification of Microscaling Formats, section 6.3: the exponent
//! `⌊log2 max|v|⌋ − emax`, at least −127, with emax 2 of E2M1 and 8 of E4M3; then the nearest number, ties to even, magnitudes beyond the
//! largest becoming it. `gguf.mxfp4` here has the same exponent, but of two E2M1 takes the lower code; MLX itself has other
//! exponents, rounding `log2(max|v| / largest)` (**unverified**: from memory). Of `mlx.nvfp4`, `scale` is the e4m3 nearest to `max|v|/6`, at most
//! 448, then the E2M1 nearest to `v/scale`, ties to even; what is below 6·2^−10 in all 16 is lost.

use super::bits::{amax, f8, f8_from, half_e8m0, nibble};
use super::codec::{BYTES, Check, Codec, WORDS};
use super::form::{Form, Level, Place, Rule, Scale};
use super::gguf::mxfp4::exponent;
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use super::round::{divisor, e2m1_even};
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

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Power { down: 2, even: true })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        nibbles(w, n, out);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        scale(w, 32, row, g)
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        encode(n, k, values, 32, 4, e2m1_even, |amax| power(exponent(amax)))
    }
}

impl Codec for MlxMxfp8 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        check(w, 4, 32)
    }

    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        Some(Form { rule: Rule::Power, ..Form::scaled(8, Scale::E8m0, Place::along(32)).levels(Level::E4m3) })
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Power { down: 8, even: true })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        out.copy_from_slice(&w.get("w").bytes[n * out.len()..][..out.len()]);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        scale(w, 32, row, g)
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        encode(n, k, values, 32, 8, f8_from::<3>, |amax| power(exponent(amax).saturating_sub(6)))
    }
}

impl Codec for MlxNvfp4 {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        check(w, 8, 16)
    }

    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        Some(Form::scaled(4, Scale::E4m3, Place::along(16)).levels(Level::E2m1))
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Float4 { even: true })
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        nibbles(w, n, out);
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        scale(w, 16, row, g)
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        encode(n, k, values, 16, 4, e2m1_even, |amax| {
            let scale = f8_from::<3>(amax / 6.0);
            (scale, divisor(f8::<3>(scale)))
        })
    }
}

/// Codes of `bits` bits, and of each group the byte of its scale: `scale` gives it, and what it stands for.
fn encode(
    n: usize,
    k: usize,
    values: &[f32],
    group: usize,
    bits: usize,
    code: impl Fn(f32) -> u8,
    scale: impl Fn(f32) -> (u8, f32),
) -> Vec<(&'static str, Part<'static>)> {
    if !k.is_multiple_of(group) {
        return Vec::new(); // The check says so.
    }
    let (mut codes, mut scales) = (vec![0u8; values.len() * bits / 8], Vec::with_capacity(values.len() / group));
    for (values, codes) in values.chunks_exact(group).zip(codes.chunks_exact_mut(group * bits / 8)) {
        let (byte, step) = scale(amax(values));
        scales.push(byte);
        for (i, v) in values.iter().enumerate() {
            codes[i * bits / 8] |= code(v / step) << (i * bits % 8);
        }
    }
    vec![
        ("w", Part::new(Dtype::U32, &[n, k * bits / 32], codes)),
        ("scales", Part::new(Dtype::U8, &[n, k / group], scales)),
    ]
}

/// The scale byte e, and `2^(e − 127)`, by which a division is exact. e is at most 252.
fn power(e: u8) -> (u8, f32) {
    (e, 2.0 * half_e8m0(e))
}
