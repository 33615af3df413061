//! `gguf.iq4_xs`: 4 bits into the table of `iq4_nl` with a 6-bit scale for 32, 256 numbers in 136 bytes (4.25 bits a weight).
//!
//! ```text
//! byte  0 1   2 3   4      7   8                                  135
//!      [ d ] [ H ] [low bits]  [32i + 16 + r | 32i + r] …               at 8 + 16i + r; high nibble | low nibble
//! scale i: low bits in nibble i of bytes 4…7, two high ones at bit 2i of the u16 H
//! ```
//!
//! `w = d·(s[i] − 32)·KV[q]`.
//! Encoding (round to nearest, not llama.cpp's search): the step of 32 is `p/−127` with p the signed value of the largest magnitude, of two
//! opposite ones the positive; `d` is that of the whole block by −32 in f16; by it as stored `s − 32 = clamp(round(step/d), −32, 31)`, then
//! the nearest KV of `v/(d·(s − 32))`, of two the first.

use super::super::bits::nibble;
use super::super::form::{Form, Level, Place, Scale};
use super::super::nearest::Nearest;
use super::super::round::{between, divisor};
use super::{Block, KV, KV_MIDDLES, h, put_h, signed_scales};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Iq4Xs;

impl Block for Iq4Xs {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 136;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(4, Scale::Super(8), Place::Block { rows: 1, cols: 32 }).levels(Level::Table);
    const NEAREST: Option<Nearest> = Some(Nearest::SuperSigned { half: 127, limit: 32 });

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

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, scales) = signed_scales::<8>(values, 127.0, 32.0);
        put_h(b, 0, d);
        for (i, (values, scale)) in values.chunks_exact(32).zip(scales).enumerate() {
            let stored = (scale + 32) as u8;
            b[4 + i / 2] |= (stored & 15) << (i % 2 * 4);
            b[2 + i / 4] |= stored >> 4 << (i % 4 * 2);
            let step = divisor(d * f32::from(scale));
            for (l, v) in values.iter().enumerate() {
                b[8 + 16 * i + l % 16] |= between(&KV_MIDDLES, v / step) << (l / 16 * 4);
            }
        }
    }
}
