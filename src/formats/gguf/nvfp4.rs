//! `gguf.nvfp4`: E2M1 floats with an E4M3 scale for 16, 64 numbers in 36 bytes (4.5 bits a weight).
//!
//! ```text
//! byte  0      3    4 + 8u                 4 + 8u + 7
//!      [s0 … s3]   [16u+8 | 16u+0] … [16u+15 | 16u+7]      u = 0…3; high nibble | low nibble: elements j
//! ```
//!
//! `w = E2M1[q]·s`, with s the e4m3 of `b[u]` without its sign, 0 where that is 0x7f. A scale of the whole tensor, if a file has
//! one, is a tensor of its own. Products are exact.
//! Encoding: `s` is the e4m3 nearest to `max|v|/6`, at most 448, of two the even one (ggml: the greater); then the E2M1 nearest to `v/s`, of
//! two the lower code. There being no other scale, what is below 6·2^−10 in all 16 is lost: weights are better scaled by a
//! number of the whole tensor first.

use super::super::bits::{amax, f8, f8_from, nibble};
use super::super::form::{Form, Level, Place, Scale};
use super::super::nearest::Nearest;
use super::super::round::{divisor, e2m1_low};
use super::Block;

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nvfp4;

impl Block for Nvfp4 {
    const ELEMENTS: usize = 64;
    const BYTES: usize = 36;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(4, Scale::E4m3, Place::Block { rows: 1, cols: 16 }).levels(Level::E2m1);
    const NEAREST: Option<Nearest> = Some(Nearest::Float4 { even: false });

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

    fn encode(values: &[f32], b: &mut [u8]) {
        for (u, values) in values.chunks_exact(16).enumerate() {
            b[u] = f8_from::<3>(amax(values) / 6.0);
            let step = divisor(f8::<3>(b[u]));
            for (l, v) in values.iter().enumerate() {
                b[4 + 8 * u + l % 8] |= e2m1_low(v / step) << (l / 8 * 4);
            }
        }
    }
}
