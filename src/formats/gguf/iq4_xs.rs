//! `gguf.iq4_xs`: 4 bits into the table of `iq4_nl` with a 6-bit scale for 32, 256 numbers in 136 bytes (4.25 bits a weight).
//!
//! ```text
//! byte  0 1   2 3   4      7   8                                  135
//!      [ d ] [ H ] [low bits]  [32i + 16 + r | 32i + r] …               at 8 + 16i + r; high nibble | low nibble
//! scale i: low bits in nibble i of bytes 4…7, two high ones at bit 2i of the u16 H
//! ```
//!
//! `w = d·(s[i] − 32)·KV[q]`.

use super::super::bits::nibble;
use super::super::form::{Form, Level, Place, Scale};
use super::{Block, KV, h};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Iq4Xs;

impl Block for Iq4Xs {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 136;

    const FORM: Form = Form::scaled(4, Scale::Super(8), Place::Block { rows: 1, cols: 32 }).levels(Level::Table);

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            let (i, l) = (j / 32, j % 32);
            *out = nibble(b[8 + 16 * i + l % 16], l >= 16) as u8;
        }
    }

    fn scale(b: &[u8], g: usize) -> [f32; 2] {
        let high = u16::from_le_bytes([b[2], b[3]]);
        let scale = nibble(b[4 + g / 2], g % 2 == 1) | usize::from((high >> (2 * g)) & 3) << 4;
        [scale as f32 - 32.0, 0.0]
    }

    fn supers(b: &[u8]) -> [f32; 2] {
        [h(b, 0), 0.0]
    }

    fn table() -> [f32; 16] {
        KV
    }
}
