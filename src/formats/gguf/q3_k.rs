//! `gguf.q3_k`: 3 bits with a 6-bit scale for 16, 256 numbers in 110 bytes (3.4375 bits a weight).
//!
//! ```text
//! byte  0          31   32                     95   96            107   108 109
//!      [third bits  ]   [fields t = 3 2 1 0] …      [16 scales S     ]  [  d  ]
//! byte l has in bit i the third bit of element 32i + l; byte 32 + 32n + l the two others of 128n + 32t + l
//! S[0…7]: high nibble | low nibble are the low bits of scales u + 8 | u; S[8 + u%4] has the two high ones at 2⌊u/4⌋
//! ```
//!
//! `w = d·(s − 32)·(q − (third ? 0 : 4))`, `q = (b[32 + 32n + l] >> 2t) & 3`.
//! Encoding (round to nearest, not llama.cpp's search): the step of a sub-block is `p/−4` with p the signed value of the largest
//! magnitude, of two opposite ones the positive; `d` is that of the whole block by `−32` in f16; by it as stored `s = clamp(round(step/d), −32, 31)`, which stands
//! for `s − 32` above, and `q = clamp(round(v/(d·s)), −4, 3) + 4`.

use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, h, put_h, signed_code, signed_scales};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q3K;

impl Block for Q3K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 110;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(3, Scale::Super(16), Place::Block { rows: 1, cols: 16 }).about(4);
    const NEAREST: Option<Nearest> = Some(Nearest::SuperSigned { half: 4, limit: 32 });

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            let (n, t, l, i) = (j / 128, j % 128 / 32, j % 32, j / 32);
            *out = (b[32 + 32 * n + l] >> (2 * t)) & 3 | ((b[l] >> i) & 1) << 2;
        }
    }

    fn scale(b: &[u8], g: usize) -> [f32; 2] {
        let s = &b[96..108];
        let low = if g < 8 { s[g] & 15 } else { s[g - 8] >> 4 };
        [f32::from(low | ((s[8 + g % 4] >> (2 * (g / 4))) & 3) << 4) - 32.0, 0.0]
    }

    fn supers(b: &[u8]) -> [f32; 2] {
        [h(b, 108), 0.0]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, scales) = signed_scales::<16>(values, 4.0, 32.0);
        put_h(b, 108, d);
        for (u, (values, scale)) in values.chunks_exact(16).zip(scales).enumerate() {
            let stored = (scale + 32) as u8;
            b[96 + u % 8] |= (stored & 15) << (u / 8 * 4);
            b[104 + u % 4] |= stored >> 4 << (u / 4 * 2);
            let (n, t, first) = (u / 8, u / 2 % 4, 16 * (u % 2));
            for (l, v) in (first..).zip(values) {
                let q = signed_code(*v, d * f32::from(scale), 4.0);
                b[32 + 32 * n + l] |= (q & 3) << (2 * t);
                b[l] |= q >> 2 << (u / 2);
            }
        }
    }
}
