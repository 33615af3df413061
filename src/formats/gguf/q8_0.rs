//! `gguf.q8_0`: signed bytes with an f16 scale, 32 numbers in 34 bytes (8.5 bits a weight).
//!
//! ```text
//! byte  0 1   2      33
//!      [ d ] [0] … [31]      i8 of element j
//! ```
//!
//! `w = d·i8@(2+j)`. Encoding: `d = max|v| / 127`, `q = round(v/d)`, halves away from 0.

use super::super::bits::{amax, inverse};
use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, put_h};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q8_0;

impl Block for Q8_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 34;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(8, Scale::F16, Place::Block { rows: 1, cols: 32 }).about(128);
    const NEAREST: Option<Nearest> = Some(Nearest::Signed { even: false });

    fn codes(b: &[u8], out: &mut [u8]) {
        for (out, q) in out.iter_mut().zip(&b[2..]) {
            *out = q ^ 128;
        }
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let d = amax(values) / 127.0;
        let id = inverse(d);
        put_h(b, 0, d);
        for (v, q) in values.iter().zip(&mut b[2..]) {
            *q = (v * id).round() as i8 as u8;
        }
    }
}
