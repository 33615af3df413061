//! `gguf.q6_k`: 6 bits with an 8-bit scale for 16, 256 numbers in 210 bytes (6.5625 bits a weight).
//!
//! ```text
//! byte  0                 127   128                    191   192      207   208 209
//!      [low nibbles        ]    [fields t = 3 2 1 0] …       [16 i8 scales] [  d  ]
//! byte 64n + 32(t%2) + l has the low bits of element 128n + 32t + l, in its low nibble where t < 2; byte 128 + 32n + l the two high ones
//! ```
//!
//! `w = d·scale[u]·(q − 32)`.
//! Encoding (round to nearest, not llama.cpp's search): the step of a sub-block is `p/−32` with p the signed value of the largest
//! magnitude, of two opposite ones the positive; `d` is that of the whole block by `−128` in f16; by it as stored `s = clamp(round(step/d), −128, 127)`, which stands
//! for the scale, and `q = clamp(round(v/(d·s)), −32, 31) + 32`.

use super::super::bits::nibble;
use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, h, put_h, signed_code, signed_scales};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q6K;

impl Block for Q6K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 210;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(6, Scale::Super(16), Place::Block { rows: 1, cols: 16 }).about(32);
    const NEAREST: Option<Nearest> = Some(Nearest::SuperSigned { half: 32, limit: 128 });

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            let (n, t, l) = (j / 128, j % 128 / 32, j % 32);
            let low = nibble(b[64 * n + 32 * (t % 2) + l], t >= 2) as u8;
            *out = low | ((b[128 + 32 * n + l] >> (2 * t)) & 3) << 4;
        }
    }

    fn scale(b: &[u8], g: usize) -> [f32; 2] {
        [f32::from(b[192 + g] as i8), 0.0]
    }

    fn supers(b: &[u8]) -> [f32; 2] {
        [h(b, 208), 0.0]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, scales) = signed_scales::<16>(values, 32.0, 128.0);
        put_h(b, 208, d);
        for (u, (values, scale)) in values.chunks_exact(16).zip(scales).enumerate() {
            b[192 + u] = scale as u8;
            let (n, t, first) = (u / 8, u / 2 % 4, 16 * (u % 2));
            for (l, v) in (first..).zip(values) {
                let q = signed_code(*v, d * f32::from(scale), 32.0);
                b[64 * n + 32 * (t % 2) + l] |= (q & 15) << (t / 2 * 4);
                b[128 + 32 * n + l] |= q >> 4 << (2 * t);
            }
        }
    }
}
