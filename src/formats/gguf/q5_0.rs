//! `gguf.q5_0`: 5 bits about −16 with an f16 scale, 32 numbers in 22 bytes (5.5 bits a weight).
//!
//! ```text
//! byte  0 1   2         5   6              21
//!      [ d ] [fifth bits ] [16 | 0] … [31 | 15]      bit j of the u32; high nibble | low nibble
//! ```
//!
//! `w = d·((nib(6) | bit(j) << 4) − 16)`. Encoding: `d = p / −16` with p the signed value of the largest magnitude,
//! `q = min(trunc(v/d + 16.5), 31)`.

use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, bit, nib, put_h, put_nib, signed_codes};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q5_0;

impl Block for Q5_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 22;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(5, Scale::F16, Place::Block { rows: 1, cols: 32 }).about(16);
    const NEAREST: Option<Nearest> = Some(Nearest::About(16));

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = nib(b, 6, j) | bit(b, 2, j) << 4;
        }
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, codes) = signed_codes(values, 16);
        put_h(b, 0, d);
        for (j, q) in codes.enumerate() {
            b[2 + j / 8] |= (q >> 4) << (j % 8);
            put_nib(b, 6, j, q);
        }
    }
}
