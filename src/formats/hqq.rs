//! `hqq`: 8, 4, 3, 2 or 1 bits with a float zero and scale per group along either axis.
//!
//! The matrix is viewed flat, as `[R,C]`: `axis = 1` has R = NK/G rows of C = G, and a scale for each row; `axis = 0` has R = G rows of
//! C = NK/G, and a scale for each column. G divides NK. What is packed are whole rows:
//!
//! ```text
//! 8 bits  W_q u8 [R, C]
//! 4       W_q u8 [R/2, C]    byte of packed row i: [row i | row R/2 + i]                  highest bits first
//! 2       W_q u8 [R/4, C]    [row i | row R/4 + i | …]
//! 1       W_q u8 [R/8, C]    [row i | row R/8 + i | …]
//! 3       W_q i32 [S, C]     S = ⌈R/10⌉: row r is in packed row r % S at shift 27 − 3⌊r/S⌋
//! scale, zero f32 or f16     [R, 1] for axis = 1, [1, C] for axis = 0
//! ```
//!
//! `w = (q − zero)·scale`. Half-integer zeros (StatsQ of OFQ) are such a format too.
//!
//! Source: Badri, Shaji, "Half-Quadratic Quantization", and the `BitPack` of the hqq package.
//!
//! Encoding, with `low` and `high` of a group (0 need not be between them) and `most = 2^bits − 1`: `scale = (high − low)/most`, but at least
//! 2^−16 of the largest magnitude; `zero = −low/scale`, both in f32; `q = clamp(round(v/scale + zero), 0, most)`, to even. A group of zeros has
//! scale 1 and zero 0. This is where HQQ begins: its half-quadratic refinement of the zero is not done.

use super::codec::{BYTES, Check, Codec, F32_F16, Group, Numbers, WORDS, among};
use super::form::{Form, Place, Scale, flat_at};
use super::nearest::Nearest;
use super::packed::{Dtype, Packed, Part};
use super::round::{Affine, range, words};
use crate::error::{Result, shape_error};

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hqq {
    /// 8, 4, 3, 2 or 1.
    pub bits: u32,
    /// Along the axis; all is K.
    pub group: Group,
    /// 1: neighbours in memory share a scale. 0: numbers NK/G apart do.
    pub axis: u32,
}

impl Default for Hqq {
    fn default() -> Self {
        Self { bits: 4, group: Group::Of(64), axis: 1 }
    }
}

impl Hqq {
    /// R and C.
    fn view(&self, n: usize, k: usize) -> (usize, usize) {
        let size = self.group.size(k);
        if self.axis == 1 { (n * k / size, size) } else { (size, n * k / size) }
    }
}

impl Codec for Hqq {
    fn read(numbers: &Numbers<'_>) -> Result<Self> {
        let (bits, group) = (numbers.count("bits", None)?, numbers.group()?);
        Ok(Self { bits, group, axis: numbers.count("axis", Some(1))? })
    }

    fn valid(&self, format: &'static str) -> Result<()> {
        among(format, "bits", self.bits, &[8, 4, 3, 2, 1], "it must be 8, 4, 3, 2 or 1")?;
        among(format, "axis", self.axis, &[0, 1], "it must be 0 or 1")?;
        self.group.valid(format)
    }

    fn check(&self, w: &mut Check<'_>) -> Result<()> {
        w.multiple("N·K", w.n * w.k, self.group.size(w.k))?;
        let (rows, cols) = self.view(w.n, w.k);
        if self.bits == 3 {
            w.exact("W_q", WORDS, &[rows.div_ceil(10), cols])?;
        } else {
            let fields = 8 / self.bits as usize;
            if !rows.is_multiple_of(fields) {
                return Err(shape_error!(w.format, "the {rows} rows of groups are not a multiple of {fields}"));
            }
            w.exact("W_q", BYTES, &[rows / fields, cols])?;
        }
        let shape = if self.axis == 1 { [rows, 1] } else { [1, cols] };
        w.exact("scale", F32_F16, &shape)?;
        w.exact("zero", F32_F16, &shape)?;
        Ok(())
    }

    fn form(&self, w: &Packed<'_>) -> Option<Form> {
        Some({
            let cols = self.view(w.n(), w.k()).1;
            let place = if self.axis == 1 { Place::Flat(cols as u32) } else { Place::Wrapped(cols as u32) };
            let scale = Scale::of(&[w.get("scale").dtype, w.get("zero").dtype]);
            Form::scaled(self.bits, scale, place.on(w.k()))
        })
    }

    fn grown(&self, form: Form, n: usize, k: usize) -> Form {
        match form.place {
            Place::Wrapped(_) => Form { place: Place::Wrapped(self.view(n, k).1 as u32), ..form },
            _ => form,
        }
    }

    fn nearest(&self, _w: &Packed<'_>) -> Option<Nearest> {
        Some(Nearest::Floating((1 << self.bits) - 1))
    }

    fn codes(&self, w: &Packed<'_>, n: usize, out: &mut [u8]) {
        let (codes, bits, first) = (w.get("W_q"), self.bits as usize, n * out.len());
        let (rows, cols) = self.view(w.n(), w.k());
        let packed_rows = if bits == 3 { rows.div_ceil(10) } else { rows * bits / 8 };
        for (k, out) in out.iter_mut().enumerate() {
            let (r, c) = ((first + k) / cols, (first + k) % cols);
            let (at, place) = (r % packed_rows * cols + c, r / packed_rows);
            *out = if bits == 3 {
                ((codes.word(at) >> (27 - 3 * place)) & 7) as u8
            } else {
                codes.byte(at) >> (8 - bits * (place + 1)) & (u8::MAX >> (8 - bits))
            };
        }
    }

    fn scale(&self, w: &Packed<'_>, row: usize, g: usize) -> [f32; 2] {
        let at = flat_at(w, self.form(w), row, g);
        [w.get("scale").float(at), w.get("zero").float(at)]
    }

    fn encodes(&self) -> bool {
        true
    }

    fn encode(&self, n: usize, k: usize, values: &[f32]) -> Vec<(&'static str, Part<'static>)> {
        let (rows, cols) = self.view(n, k);
        let fields = if self.bits == 3 { 1 } else { 8 / self.bits as usize };
        if rows * cols != n * k || !rows.is_multiple_of(fields) {
            return Vec::new(); // The check says why not.
        }
        let affines: Vec<Affine> = if self.axis == 1 {
            let ranges = values.chunks_exact(cols).map(range);
            ranges.map(|(low, high)| Affine::floating(low, high, self.bits)).collect()
        } else {
            let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); cols];
            for row in values.chunks_exact(cols) {
                ranges.iter_mut().zip(row).for_each(|(range, v)| *range = (range.0.min(*v), range.1.max(*v)));
            }
            ranges.into_iter().map(|(low, high)| Affine::floating(low, high, self.bits)).collect()
        };
        let group = |r: usize, c: usize| affines[if self.axis == 1 { r } else { c }];
        let codes = if self.bits == 3 {
            let packed_rows = rows.div_ceil(10);
            let mut codes = vec![0u32; packed_rows * cols];
            for (r, row) in values.chunks_exact(cols).enumerate() {
                for (c, v) in row.iter().enumerate() {
                    codes[r % packed_rows * cols + c] |= group(r, c).code(*v) << (27 - 3 * (r / packed_rows));
                }
            }
            words(&[packed_rows, cols], &codes)
        } else {
            let packed_rows = rows / fields;
            let mut codes = vec![0u8; packed_rows * cols];
            for (r, row) in values.chunks_exact(cols).enumerate() {
                let shift = 8 - self.bits as usize * (r / packed_rows + 1);
                for (c, v) in row.iter().enumerate() {
                    codes[r % packed_rows * cols + c] |= (group(r, c).code(*v) as u8) << shift;
                }
            }
            Part::new(Dtype::U8, &[packed_rows, cols], codes)
        };
        let shape = if self.axis == 1 { [rows, 1] } else { [1, cols] };
        let numbers = |number: fn(&Affine) -> f32| affines.iter().map(number).collect::<Vec<f32>>();
        vec![
            ("W_q", codes),
            ("scale", Part::f32s(&shape, &numbers(|affine| affine.scale))),
            ("zero", Part::f32s(&shape, &numbers(|affine| affine.zero))),
        ]
    }
}
