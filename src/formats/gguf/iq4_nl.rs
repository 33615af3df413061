//! `gguf.iq4_nl`: 4 bits into a table that is denser near 0, with an f16 scale, 32 numbers in 18 bytes (4.5 bits a weight).
//!
//! ```text
//! byte  0 1   2              17
//!      [ d ] [16 | 0] … [31 | 15]      high nibble | low nibble: elements j
//! ```
//!
//! `w = d·KV[nib(2)]`, KV = −127, −104, −83, −65, −49, −35, −22, −10, 1, 13, 25, 38, 53, 69, 89, 113.

use super::super::form::{Form, Level, Place, Scale};
use super::{Block, KV, nib};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Iq4Nl;

impl Block for Iq4Nl {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;

    const FORM: Form = Form::scaled(4, Scale::F16, Place::Block { rows: 1, cols: 32 }).levels(Level::Table);

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = nib(b, 2, j);
        }
    }

    fn table() -> [f32; 16] {
        KV
    }
}
