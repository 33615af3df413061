//! `gguf.q5_k`: 5 bits with a 6-bit scale and least value for 32, 256 numbers in 176 bytes (5.5 bits a weight).
//!
//! ```text
//! byte  0 1   2 3   4                15   16        47   48                          175
//!      [ d ] [ m ] [8 scales, 8 least]    [fifth bits]   [64a + 32 + l | 64a + l] …        at 48 + 32a + l
//! byte 16 + l has in bit i the fifth bit of element 32i + l; scales and least values as in q4_k
//! ```
//!
//! `w = d·sc[i]·q − m·least[i]`.
//! Encoding (round to nearest, not llama.cpp's search): of each sub-block `low = min(0, min v)` and the step `(max v − low)/31`;
//! `d = max step/63` and `m = max(−low)/63` in f16; by these as stored `scale = min(round(step/d), 63)` and
//! `least = min(round(−low/m), 63)`; then `q = clamp(round((v + m·least)/(d·scale)), 0, 31)`. A sub-block whose scale is 0 becomes its least.

use super::super::bits::nibble;
use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, h, put_h, put_six_bits, ranged_code, ranged_scales, six_bits};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q5K;

impl Block for Q5K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 176;
    const ENCODES: bool = true;

    const FORM: Form = Form::biased(5, Scale::SuperPair(8), Place::Block { rows: 1, cols: 32 });
    const NEAREST: Option<Nearest> = Some(Nearest::SuperRanged { most: 31, limit: 63 });

    fn codes(b: &[u8], out: &mut [u8]) {
        for (i, out) in out.chunks_exact_mut(32).enumerate() {
            for (l, out) in out.iter_mut().enumerate() {
                *out = nibble(b[48 + 32 * (i / 2) + l], i % 2 == 1) as u8 + 16 * ((b[16 + l] >> i) & 1);
            }
        }
    }

    fn scale(b: &[u8], g: usize) -> [f32; 2] {
        six_bits(b, g).into()
    }

    fn supers(b: &[u8]) -> [f32; 2] {
        [h(b, 0), h(b, 2)]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let ([d, m], codes) = ranged_scales::<8>(values, 31.0, 63.0);
        put_h(b, 0, d);
        put_h(b, 2, m);
        for (i, (values, code)) in values.chunks_exact(32).zip(codes).enumerate() {
            put_six_bits(b, i, code);
            let (step, least) = (d * f32::from(code[0]), m * f32::from(code[1]));
            for (l, v) in values.iter().enumerate() {
                let q = ranged_code(*v, step, least, 31.0);
                b[16 + l] |= (q >> 4) << i;
                b[48 + 32 * (i / 2) + l] |= (q & 15) << (4 * (i % 2));
            }
        }
    }
}
