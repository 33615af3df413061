//! `gguf.q4_0`: 4 bits about −8 with an f16 scale, 32 numbers in 18 bytes (4.5 bits a weight).
//!
//! ```text
//! byte  0 1   2              17
//!      [ d ] [16 | 0] … [31 | 15]      high nibble | low nibble: elements j
//! ```
//!
//! `w = d·(nib(2) − 8)`. Encoding: `d = p / −8` with p the signed value of the largest magnitude, `q = min(trunc(v/d + 8.5), 15)`.

use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, nib, put_h, put_nib, signed_codes};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q4_0;

impl Block for Q4_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(4, Scale::F16, Place::Block { rows: 1, cols: 32 }).about(8);
    const NEAREST: Option<Nearest> = Some(Nearest::About(8));

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = nib(b, 2, j);
        }
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, codes) = signed_codes(values, 8);
        put_h(b, 0, d);
        codes.enumerate().for_each(|(j, q)| put_nib(b, 2, j, q));
    }
}
