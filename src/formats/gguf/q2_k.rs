//! `gguf.q2_k`: 2 bits with a 4-bit scale and least value for 16, 256 numbers in 84 bytes (2.625 bits a weight).
//!
//! ```text
//! byte  0             15   16                        79   80 81   82 83
//!      [least u | scale u] [fields t = 3 2 1 0] …         [ d  ]  [ m  ]     u = 0…15; high | low nibble
//! byte 16 + 32n + l has, from the lowest bits, elements 128n + 32t + l for t = 0…3
//! ```
//!
//! `w = d·(b[u] & 15)·q − m·(b[u] >> 4)`, `q = (b[16 + 32n + l] >> 2t) & 3`.
//! Encoding (round to nearest, not llama.cpp's search): of each sub-block `low = min(0, min v)` and the step `(max v − low)/3`;
//! `d = max step/15` and `m = max(−low)/15` in f16; by these as stored `scale = min(round(step/d), 15)` and
//! `least = min(round(−low/m), 15)`; then `q = clamp(round((v + m·least)/(d·scale)), 0, 3)`. A sub-block whose scale is 0 becomes its least.

use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, h, put_h, ranged_code, ranged_scales};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q2K;

impl Block for Q2K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 84;
    const ENCODES: bool = true;

    const FORM: Form = Form::biased(2, Scale::SuperNibbles(16), Place::Block { rows: 1, cols: 16 });
    const NEAREST: Option<Nearest> = Some(Nearest::SuperRanged { most: 3, limit: 15 });

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            let (n, t, l) = (j / 128, j % 128 / 32, j % 32);
            *out = (b[16 + 32 * n + l] >> (2 * t)) & 3;
        }
    }

    fn scale(b: &[u8], g: usize) -> [f32; 2] {
        [f32::from(b[g] & 15), f32::from(b[g] >> 4)]
    }

    fn supers(b: &[u8]) -> [f32; 2] {
        [h(b, 80), h(b, 82)]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let ([d, m], codes) = ranged_scales::<16>(values, 3.0, 15.0);
        put_h(b, 80, d);
        put_h(b, 82, m);
        for (u, (values, code)) in values.chunks_exact(16).zip(codes).enumerate() {
            b[u] = code[0] | code[1] << 4;
            let (step, least) = (d * f32::from(code[0]), m * f32::from(code[1]));
            for (v, byte) in values.iter().zip(&mut b[16 + 32 * (u / 8) + 16 * (u % 2)..]) {
                *byte |= ranged_code(*v, step, least, 3.0) << (2 * (u / 2 % 4));
            }
        }
    }
}
