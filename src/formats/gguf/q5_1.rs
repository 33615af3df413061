//! `gguf.q5_1`: 5 bits with an f16 scale and least value, 32 numbers in 24 bytes (6 bits a weight).
//!
//! ```text
//! byte  0 1   2 3   4         7   8              23
//!      [ d ] [ m ] [fifth bits ] [16 | 0] … [31 | 15]      bit j of the u32; high nibble | low nibble
//! ```
//!
//! `w = d·(nib(8) | bit(j) << 4) + m`. Encoding: `m = min v`, `d = (max v − m)/31`, `q = trunc((v − m)/d + 0.5)`.

use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, bit, h, nib, put_h, put_nib, ranged_codes};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q5_1;

impl Block for Q5_1 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 24;
    const ENCODES: bool = true;

    const FORM: Form = Form::biased(5, Scale::F16Pair, Place::Block { rows: 1, cols: 32 });
    const NEAREST: Option<Nearest> = Some(Nearest::Ranged(31));

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = nib(b, 8, j) | bit(b, 4, j) << 4;
        }
    }

    fn scale(b: &[u8], _g: usize) -> [f32; 2] {
        [h(b, 0), h(b, 2)]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, m, codes) = ranged_codes(values, 31);
        put_h(b, 0, d);
        put_h(b, 2, m);
        for (j, q) in codes.enumerate() {
            b[4 + j / 8] |= (q >> 4) << (j % 8);
            put_nib(b, 8, j, q);
        }
    }
}
