//! `gguf.nvfp4`: E2M1 floats with an E4M3 scale for 16, 64 numbers in 36 bytes (4.5 bits a weight).
//!
//! ```text
//! byte  0      3    4 + 8u                 4 + 8u + 7
//!      [s0 … s3]   [16u+8 | 16u+0] … [16u+15 | 16u+7]      u = 0…3; high nibble | low nibble: elements j
//! ```
//!
//! `w = E2M1[q]·s`, with s the e4m3 of `b[u]` without its sign, 0 where that is 0x7f. A scale of the whole tensor, if a file has
//! one, is a tensor of its own. Products are exact.

use super::super::bits::nibble;
use super::super::form::{Form, Level, Place, Scale};
use super::Block;

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nvfp4;

impl Block for Nvfp4 {
    const ELEMENTS: usize = 64;
    const BYTES: usize = 36;

    const FORM: Form = Form::scaled(4, Scale::E4m3, Place::Block { rows: 1, cols: 16 }).levels(Level::E2m1);

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = nibble(b[4 + 8 * (j / 16) + j % 8], j % 16 >= 8) as u8;
        }
    }

    fn scale(b: &[u8], g: usize) -> [f32; 2] {
        // Without its sign; what would be NaN is 0.
        match b[g] & 0x7f {
            0x7f => [0.0; 2],
            scale => [f32::from(scale), 0.0],
        }
    }
}
