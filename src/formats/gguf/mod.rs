//! The block formats of GGUF: each row is a run of blocks of 32, 64 or 256 numbers, and each block has its own scales.
//!
//! The one tensor is `blocks`, u8 `[N, K / elements · bytes]`. `h@o` is the f16 at byte o of a block, `b[o]` a byte, `j` the element. In
//! blocks of 32, low nibbles are the first 16 elements and high nibbles the last 16: `nib(o) = j < 16 ? b[o+j] & 15 : b[o+j−16] >> 4`. In
//! blocks of 256, `n = ⌊j/128⌋`, `t = ⌊(j%128)/32⌋`, `l = j%32`, `i = ⌊j/32⌋`, `u = ⌊j/16⌋`.
//!
//! Source: ggml (`ggml-common.h`, `ggml-quants.c`) and its Python twin `gguf.quants`, whose encoding rules these are where there are
//! some: the bytes were compared with those of gguf-py 0.19.0 on normal, constant, zero and tied rows, and are the same.
//!
//! The K and IQ4 types have no rule there. They are encoded by plain round-to-nearest: a step from the range or the peak of each
//! sub-block, rounded as it is stored, then the nearest code by what is stored. It is **not** the iterative search of llama.cpp, which
//! tries many steps to lessen the error: the bytes differ. NVFP4 has the rule of ggml's reference, but for ties of a scale; its bytes
//! were not compared.

pub mod iq4_nl;
pub mod iq4_xs;
pub mod mxfp4;
pub mod nvfp4;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
pub mod tq1_0;
pub mod tq2_0;

use half::f16;

use super::bits::{f16_from, inverse};
use super::codec::{BYTES, Check, Codec};
use super::form::{Form, Place};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use super::round::{as_f16, divisor, middles, range, whole};
use crate::error::Result;

/// One block. The slices have `BYTES` and `ELEMENTS` places.
pub(crate) trait Block {
    const ELEMENTS: usize;
    const BYTES: usize;
    /// There is a rule for encoding.
    const ENCODES: bool = false;

    /// The numeric form.
    const FORM: Form;
    /// How a device rounds numbers into it, if it can.
    const NEAREST: Option<Nearest> = None;

    /// The codes of a block.
    fn codes(b: &[u8], out: &mut [u8]);

    /// Scale g of a block, and the zero or bias beside it; the f16 at its start, unless said otherwise.
    fn scale(b: &[u8], _g: usize) -> [f32; 2] {
        [h(b, 0), 0.0]
    }

    /// The numbers of the block that its scales are multiplied with.
    fn supers(_b: &[u8]) -> [f32; 2] {
        [0.0; 2]
    }

    /// The levels.
    fn table() -> [f32; 16] {
        [0.0; 16]
    }

    /// The block that holds these values best.
    fn encode(_values: &[f32], _b: &mut [u8]) {}
}

impl<B: Block> Codec for B {
    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        w.multiple("K", w.k, B::ELEMENTS)?;
        w.exact("blocks", BYTES, &[w.n, w.k / B::ELEMENTS * B::BYTES])?;
        Ok(())
    }

    fn form(&self, _w: &Packed<'_>) -> Option<Form> {
        Some(B::FORM)
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        B::NEAREST
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        for (b, out) in blocks::<B>(w, n).chunks_exact(B::BYTES).zip(out.chunks_exact_mut(B::ELEMENTS)) {
            B::codes(b, out);
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let Place::Block { cols, .. } = B::FORM.place else { return [0.0; 2] };
        let of_block = B::ELEMENTS / cols as usize;
        B::scale(&blocks::<B>(w, row)[g / of_block * B::BYTES..][..B::BYTES], g % of_block)
    }

    fn supers(&self, w: &Packed<'_>, row: usize, s: usize) -> [f32; 2] {
        B::supers(&blocks::<B>(w, row)[s * B::BYTES..][..B::BYTES])
    }

    fn table(&self, _w: &Packed<'_>, _n: usize) -> [f32; 16] {
        B::table()
    }

    fn encodes(&self) -> bool {
        B::ENCODES
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let row_bytes = k / B::ELEMENTS * B::BYTES;
        let mut bytes = vec![0; n * row_bytes];
        // Where K is no multiple the rows do not end with blocks; the check that follows says so.
        for (values, b) in values.chunks_exact(B::ELEMENTS).zip(bytes.chunks_exact_mut(B::BYTES)) {
            B::encode(values, b);
        }
        vec![("blocks", Part::new(Dtype::U8, &[n, row_bytes], bytes))]
    }
}

/// The blocks of row n.
fn blocks<'p, B: Block>(w: &'p Packed<'_>, n: usize) -> &'p [u8] {
    let row_bytes = w.k() / B::ELEMENTS * B::BYTES;
    &w.get("blocks").bytes[n * row_bytes..][..row_bytes]
}

/// The f16 at byte o.
fn h(b: &[u8], o: usize) -> f32 {
    f16::from_le_bytes([b[o], b[o + 1]]).to_f32()
}

/// Writes an f16 at byte o.
fn put_h(b: &mut [u8], o: usize, v: f32) {
    b[o..o + 2].copy_from_slice(&f16_from(v).to_le_bytes());
}

/// `nib(o)` of element j, in a block of 32.
fn nib(b: &[u8], o: usize, j: usize) -> u8 {
    if j < 16 { b[o + j] & 15 } else { b[o + j - 16] >> 4 }
}

/// Writes such a nibble, where it was 0.
fn put_nib(b: &mut [u8], o: usize, j: usize, q: u8) {
    if j < 16 { b[o + j] |= q & 15 } else { b[o + j - 16] |= q << 4 }
}

/// Bit j of the u32 at byte o.
fn bit(b: &[u8], o: usize, j: usize) -> u8 {
    (b[o + j / 8] >> (j % 8)) & 1
}

/// The 6-bit scale and least value i of the 12 bytes from byte 4 on, in a block of Q4_K or Q5_K.
fn six_bits(b: &[u8], i: usize) -> (f32, f32) {
    let s = &b[4..16];
    let (scale, least) = if i < 4 {
        (s[i] & 63, s[i + 4] & 63)
    } else {
        ((s[i + 4] & 15) | (s[i - 4] >> 6) << 4, (s[i + 4] >> 4) | (s[i] >> 6) << 4)
    };
    (f32::from(scale), f32::from(least))
}

/// The table of the IQ4 formats.
const KV: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// The signed value of the largest magnitude; of two, the first.
fn peak(values: &[f32]) -> f32 {
    values.iter().fold(0.0f32, |most, v| if v.abs() > most.abs() { *v } else { most })
}

/// Codes `trunc(v/d + half + 0.5)` with `d = peak / −half`, as Q4_0 and Q5_0 have them: d, then the codes one by one. The sum is
/// taken in f64, for on it depends which way a tie falls.
fn signed_codes(values: &[f32], half: u8) -> (f32, impl Iterator<Item = u8>) {
    let d = peak(values) / -f32::from(half);
    let id = inverse(d);
    let code = move |v: &f32| f64::from(*v) * f64::from(id) + f64::from(half) + 0.5;
    (d, values.iter().map(move |v| (code(v) as u8).min(2 * half - 1)))
}

/// Codes `trunc((v − min)/d + 0.5)` with `d = (max − min) / most`, as Q4_1 and Q5_1 have them: d, min, then the codes one by one.
fn ranged_codes(values: &[f32], most: u8) -> (f32, f32, impl Iterator<Item = u8>) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let d = (high - low) / f32::from(most);
    let id = inverse(d);
    (d, low, values.iter().map(move |v| (((v - low) * id + 0.5) as u8).min(most)))
}

/// `−1`, 0 or 1 and one more, by `round(v/d)` with d the largest magnitude, as the ternary formats have them.
fn ternary_codes(values: &[f32]) -> (f32, impl Fn(usize) -> u8) {
    let d = super::bits::amax(values);
    let id = inverse(d);
    (d, move |j| ((values[j] * id).round().clamp(-1.0, 1.0) + 1.0) as u8)
}

/// Writes the 6-bit scale and least value i, where they were 0.
fn put_six_bits(b: &mut [u8], i: usize, [scale, least]: [u8; 2]) {
    let s = &mut b[4..16];
    if i < 4 {
        s[i] |= scale;
        s[i + 4] |= least;
    } else {
        s[i + 4] |= (scale & 15) | least << 4;
        s[i - 4] |= scale >> 4 << 6;
        s[i] |= least >> 4 << 6;
    }
}

/// The rule of Q2_K, Q4_K and Q5_K here, for S sub-blocks of a block: `low = min(0, min v)`, the step `(max v − low)/most` and the least
/// value `−low`; the scales of the block are the greatest of either by `limit`, rounded to f16, and by them as stored the S steps and
/// least values are rounded, at most `limit`. The two scales, and the codes of steps and least values.
fn ranged_scales<const S: usize>(values: &[f32], most: f32, limit: f32) -> ([f32; 2], [[u8; 2]; S]) {
    let mut steps = [[0.0; 2]; S];
    for (step, values) in steps.iter_mut().zip(values.chunks_exact(256 / S)) {
        let (low, high) = range(values);
        let low = low.min(0.0);
        *step = [(high - low) / most, -low];
    }
    let scales = [0, 1].map(|i| as_f16(steps.iter().fold(0.0, |all: f32, step| all.max(step[i])) / limit));
    let code = |step: f32, scale: f32| whole((step / divisor(scale)).min(limit)) as u8;
    (scales, steps.map(|step| [code(step[0], scales[0]), code(step[1], scales[1])]))
}

/// The nearest code of v by a step and a least value as stored.
fn ranged_code(v: f32, step: f32, least: f32, most: f32) -> u8 {
    whole(((v + least) / divisor(step)).clamp(0.0, most)) as u8
}

/// The signed value of the largest magnitude; of two opposite ones the positive.
fn extreme(values: &[f32]) -> f32 {
    let beyond = |v: f32, most: f32| v.abs() > most.abs() || (v.abs() == most.abs() && v > most);
    values.iter().fold(0.0f32, |most, v| if beyond(*v, most) { *v } else { most })
}

/// The rule of Q3_K, Q6_K and IQ4_XS here, for S sub-blocks of a block: the step `p/−half` with p the extreme of a sub-block; the scale of the
/// block is the step of its own extreme by `−limit`, rounded to f16, and by it as stored the steps are rounded to `−limit … limit − 1`. The
/// scale, and the codes of the steps.
fn signed_scales<const S: usize>(values: &[f32], half: f32, limit: f32) -> (f32, [i8; S]) {
    let scale = as_f16(extreme(values) / -half / -limit);
    let mut codes = [0; S];
    for (code, values) in codes.iter_mut().zip(values.chunks_exact(256 / S)) {
        *code = whole((extreme(values) / -half / divisor(scale)).clamp(-limit, limit - 1.0)) as i8;
    }
    (scale, codes)
}

/// The nearest of the codes 0 … 2·half − 1 of v, by a step as stored.
fn signed_code(v: f32, step: f32, half: f32) -> u8 {
    whole((v / divisor(step)).clamp(-half, half - 1.0) + half) as u8
}

/// What is half way between the entries of that table.
const KV_MIDDLES: [f32; 15] = middles(&KV);
