//! `gguf.q4_1`: 4 bits with an f16 scale and least value, 32 numbers in 20 bytes (5 bits a weight).
//!
//! ```text
//! byte  0 1   2 3   4              19
//!      [ d ] [ m ] [16 | 0] … [31 | 15]      high nibble | low nibble: elements j
//! ```
//!
//! `w = d·nib(4) + m`. Encoding: `m = min v`, `d = (max v − m)/15`, `q = trunc((v − m)/d + 0.5)`.

use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, h, nib, put_h, put_nib, ranged_codes};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q4_1;

impl Block for Q4_1 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 20;
    const ENCODES: bool = true;

    const FORM: Form = Form::biased(4, Scale::F16Pair, Place::Block { rows: 1, cols: 32 });
    const NEAREST: Option<Nearest> = Some(Nearest::Ranged(15));

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = nib(b, 4, j);
        }
    }

    fn scale(b: &[u8], _g: usize) -> [f32; 2] {
        [h(b, 0), h(b, 2)]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, m, codes) = ranged_codes(values, 15);
        put_h(b, 0, d);
        put_h(b, 2, m);
        codes.enumerate().for_each(|(j, q)| put_nib(b, 4, j, q));
    }
}
