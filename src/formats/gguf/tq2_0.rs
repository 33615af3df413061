//! `gguf.tq2_0`: −1, 0 and 1 in 2 bits with an f16 scale, 256 numbers in 66 bytes (2.0625 bits a weight).
//!
//! ```text
//! byte  0                       63   64 65
//!      [fields t = 3 2 1 0] …        [ d ]      byte 32n + l has, from the lowest bits, elements 128n + 32t + l
//! ```
//!
//! `w = d·(((b[32n + l] >> 2t) & 3) − 1)`. Encoding: `d = max|v|`, `round(v/d)`.

use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, h, put_h, ternary_codes};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tq2_0;

impl Block for Tq2_0 {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 66;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(2, Scale::F16, Place::Block { rows: 1, cols: 256 }).about(1);
    const NEAREST: Option<Nearest> = Some(Nearest::Ternary);

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            let (n, t, l) = (j / 128, j % 128 / 32, j % 32);
            *out = (b[32 * n + l] >> (2 * t)) & 3;
        }
    }

    fn scale(b: &[u8], _g: usize) -> [f32; 2] {
        [h(b, 64), 0.0]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, code) = ternary_codes(values);
        for j in 0..256 {
            let (n, t, l) = (j / 128, j % 128 / 32, j % 32);
            b[32 * n + l] |= code(j) << (2 * t);
        }
        put_h(b, 64, d);
    }
}
