//! `gguf.iq4_nl`: 4 bits into a table that is denser near 0, with an f16 scale, 32 numbers in 18 bytes (4.5 bits a weight).
//!
//! ```text
//! byte  0 1   2              17
//!      [ d ] [16 | 0] … [31 | 15]      high nibble | low nibble: elements j
//! ```
//!
//! `w = d·KV[nib(2)]`, KV = −127, −104, −83, −65, −49, −35, −22, −10, 1, 13, 25, 38, 53, 69, 89, 113.
//! Encoding (round to nearest, not llama.cpp's search): `d = p/−127` in f16 with p the signed value of the largest magnitude, of two
//! opposite ones the positive; then the nearest KV of `v/d` by d as stored, of two the first.

use super::super::form::{Form, Level, Place, Scale};
use super::super::nearest::Nearest;
use super::super::round::{as_f16, between, divisor};
use super::{Block, KV, KV_MIDDLES, extreme, nib, put_h, put_nib};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Iq4Nl;

impl Block for Iq4Nl {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(4, Scale::F16, Place::Block { rows: 1, cols: 32 }).levels(Level::Table);
    const NEAREST: Option<Nearest> = Some(Nearest::Iq4);

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = nib(b, 2, j);
        }
    }

    fn table() -> [f32; 16] {
        KV
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let d = as_f16(extreme(values) / -127.0);
        put_h(b, 0, d);
        values.iter().enumerate().for_each(|(j, v)| put_nib(b, 2, j, between(&KV_MIDDLES, v / divisor(d))));
    }
}
