//! `gguf.q4_0`: 4 bits about −8 with an f16 scale, 32 numbers in 18 bytes (4.5 bits a weight).
//!
//! ```text
//! byte  0 1   2              17
//!      [ d ] [16 | 0] … [31 | 15]      high nibble | low nibble: elements j
//! ```
//!
//! `w = d·(nib(2) − 8)`. Encoding: `d = p / −8` with p the signed value of the largest magnitude, `q = min(trunc(v/d + 8.5), 15)`.

use super::{Block, h, nib, put_h, put_nib, signed_codes};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q4_0;

impl Block for Q4_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const ENCODES: bool = true;

    fn decode(b: &[u8], out: &mut [f32]) {
        let d = h(b, 0);
        for (j, out) in out.iter_mut().enumerate() {
            *out = d * (f32::from(nib(b, 2, j)) - 8.0);
        }
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (d, codes) = signed_codes(values, 8);
        put_h(b, 0, d);
        codes.enumerate().for_each(|(j, q)| put_nib(b, 2, j, q));
    }
}
