//! `gguf.mxfp4`: E2M1 floats with a power of two, 32 numbers in 17 bytes (4.25 bits a weight).
//!
//! ```text
//! byte  0    1              16
//!      [e]  [16 | 0] … [31 | 15]      high nibble | low nibble: elements j
//! ```
//!
//! `w = E2M1[nib(1)]·2^(e − 127)`, also for e = 0 and 255. E2M1 = 0, 0.5, 1, 1.5, 2, 3, 4, 6, then −0 and the negatives.
//! Encoding: `e = ⌊log2 max|v|⌋ − 2 + 127` (0 where all are 0), the nearest E2M1, of two the one with the lower code.
//!
//! Source of the numbers: OCP Microscaling Formats, version 1.0.

use super::super::bits::{E2M1_DOUBLED, amax, half_e8m0};
use super::super::form::{Form, Level, Place, Rule, Scale};
use super::super::nearest::Nearest;
use super::{Block, nib, put_nib};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mxfp4;

impl Block for Mxfp4 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 17;
    const ENCODES: bool = true;

    const FORM: Form = Form {
        rule: Rule::Power,
        ..Form::scaled(4, Scale::E8m0, Place::Block { rows: 1, cols: 32 }).levels(Level::E2m1)
    };
    const NEAREST: Option<Nearest> = Some(Nearest::Power { down: 2, even: false });

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = nib(b, 1, j);
        }
    }

    fn scale(b: &[u8], _g: usize) -> [f32; 2] {
        [f32::from(b[0]), 0.0]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        b[0] = exponent(amax(values));
        let d = half_e8m0(b[0]);
        let scaled = E2M1_DOUBLED.map(|v| d * v);
        for (j, v) in values.iter().enumerate() {
            put_nib(b, 1, j, super::super::bits::nearest(&scaled, *v) as u8);
        }
    }
}

/// `⌊log2 most⌋ − 2 + 127`, not below 0. The exponent's bits are the logarithm; those of a subnormal are 0, and so is this.
pub(crate) fn exponent(most: f32) -> u8 {
    ((most.to_bits() >> 23) & 255).saturating_sub(2) as u8
}
