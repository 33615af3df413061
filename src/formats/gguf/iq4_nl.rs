//! `gguf.iq4_nl`: 4 bits into a table that is denser near 0, with an f16 scale, 32 numbers in 18 bytes (4.5 bits a weight).
//!
//! ```text
//! byte  0 1   2              17
//!      [ d ] [16 | 0] … [31 | 15]      high nibble | low nibble: elements j
//! ```
//!
//! `w = d·KV[nib(2)]`, KV = −127, −104, −83, −65, −49, −35, −22, −10, 1, 13, 25, 38, 53, 69, 89, 113.

use super::{Block, KV, h, nib};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Iq4Nl;

impl Block for Iq4Nl {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;

    fn decode(b: &[u8], out: &mut [f32]) {
        let d = h(b, 0);
        for (j, out) in out.iter_mut().enumerate() {
            *out = d * KV[usize::from(nib(b, 2, j))];
        }
    }
}
