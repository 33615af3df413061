//! What rows of codes must be, for all ops that write them.

use crate::proof::Expected;
use crate::reference::{self, Array};

/// The relative error of one f32 operation.
pub(super) const U: f64 = 1.0 / (1u64 << 24) as f64;

/// That of a division, which WGSL lets be off by 2.5 ulp.
const DIVISION: f64 = 5.0 * U;

/// How numbers become codes, as in `QuantizeRows`.
#[derive(Clone, Copy)]
pub(super) struct Coding {
    pub bits: u32,
    pub symmetric: bool,
    pub floor: f64,
}

/// Scales, zeros where they are not symmetric, and codes (under the role `q`) of rows of `len` numbers, which a kernel has off by
/// as much as `bound` before they become codes.
///
/// A scale is one division of the largest of a row; where not symmetric, of a sum of two, which is one rounding more and may
/// lack what a device flushes as subnormal, no more than another. A code is half a step off by itself; and as much more as the
/// errors of the number, of the scale and of its division make of a step, so that only next to a tie it may be another. The code
/// of 0 is the same; where it is next to a tie itself, all codes of its row may move by one with it. Past the least and the greatest
/// code there is none, whatever moves.
pub(super) fn codes(q: &'static str, x: &Array, bound: &[f64], len: usize, coding: Coding) -> Vec<Expected> {
    let Coding { bits, symmetric, floor } = coding;
    let quantized = reference::quantize_rows(x, len, bits, symmetric, floor);
    let (largest, extent_error) = if symmetric { (1 << (bits - 1), DIVISION) } else { (1 << bits, DIVISION + 2.0 * U) };
    let steps = f64::from(largest - 1);
    let (mut code_bound, mut scale_bound, mut zero_bound) = (Vec::with_capacity(x.data.len()), Vec::new(), Vec::new());
    let rows = x.data.chunks(len).zip(bound.chunks(len));
    for ((row, bound), (scale, zero)) in rows.zip(quantized.scale.iter().zip(&quantized.zero)) {
        let error = bound.iter().fold(0.0, |e: f64, b| e.max(*b));
        // The error of the largest, or of the least and the largest.
        let extent = if symmetric { error } else { 2.0 * error } / steps + extent_error * scale;
        scale_bound.push(extent);
        let relative = extent / scale + DIVISION;
        let zero_error = error / scale + zero * relative;
        let to_tie = 0.5 - (zero - zero.round_ties_even()).abs();
        let moved = if symmetric || to_tie > zero_error { 0.0 } else { 1.0 };
        zero_bound.push(0.5 + zero_error);
        code_bound.extend(row.iter().zip(bound).map(|(v, b)| 0.5 + moved + b / scale + (v / scale).abs() * relative));
    }
    let least = if symmetric { -steps - 1.0 } else { 0.0 };
    let codes = Expected { range: [least, steps], ..Expected::new(q, quantized.codes.data, code_bound) };
    let mut out = vec![Expected::new("scale", quantized.scale, scale_bound), codes];
    if !symmetric {
        out.push(Expected::new("zero", quantized.zero, zero_bound));
    }
    out
}
