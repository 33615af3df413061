//! `gguf.q5_k`: 5 bits with a 6-bit scale and least value for 32, 256 numbers in 176 bytes (5.5 bits a weight).
//!
//! ```text
//! byte  0 1   2 3   4                15   16        47   48                          175
//!      [ d ] [ m ] [8 scales, 8 least]    [fifth bits]   [64a + 32 + l | 64a + l] …        at 48 + 32a + l
//! byte 16 + l has in bit i the fifth bit of element 32i + l; scales and least values as in q4_k
//! ```
//!
//! `w = d·sc[i]·q − m·least[i]`.

use super::super::bits::nibble;
use super::super::form::{Form, Place, Scale};
use super::{Block, h, six_bits};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q5K;

impl Block for Q5K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 176;

    const FORM: Form = Form::biased(5, Scale::SuperPair(8), Place::Block { rows: 1, cols: 32 });

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
}
