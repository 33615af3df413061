//! `gguf.tq1_0`: −1, 0 and 1, five to a byte, with an f16 scale, 256 numbers in 54 bytes (1.6875 bits a weight).
//!
//! ```text
//! byte  0                  31   32                 47   48               51   52 53
//!      [5 digits: 32d + j    ]  [5: 160 + 16d + j  ]    [4: 240 + 4d + j ]    [ d ]
//! ```
//!
//! Digit d of a byte is `⌊3v/256⌋` with `v = (byte·3^d) mod 256`; `w = h@52·(digit − 1)`.
//! Encoding: `h = max|v|`, `round(v/h)`; the byte is `⌈256·(base-3 number)/243⌉`, the first digit the most significant.

use super::super::form::{Form, Place, Scale};
use super::super::nearest::Nearest;
use super::{Block, h, put_h, ternary_codes};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tq1_0;

/// The byte and the digit of element j.
fn place(j: usize) -> (usize, usize) {
    match j {
        0..160 => (j % 32, j / 32),
        160..240 => (32 + (j - 160) % 16, (j - 160) / 16),
        _ => (48 + (j - 240) % 4, (j - 240) / 4),
    }
}

const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

impl Block for Tq1_0 {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 54;
    const ENCODES: bool = true;

    const FORM: Form = Form::scaled(2, Scale::F16, Place::Block { rows: 1, cols: 256 }).about(1);
    const NEAREST: Option<Nearest> = Some(Nearest::Ternary);

    fn codes(b: &[u8], out: &mut [u8]) {
        for (j, out) in out.iter_mut().enumerate() {
            let (byte, digit) = place(j);
            *out = ((3 * u16::from(b[byte].wrapping_mul(POWERS[digit]))) >> 8) as u8;
        }
    }

    fn scale(b: &[u8], _g: usize) -> [f32; 2] {
        [h(b, 52), 0.0]
    }

    fn encode(values: &[f32], b: &mut [u8]) {
        let (scale, code) = ternary_codes(values);
        for j in 0..256 {
            let (byte, digit) = place(j);
            b[byte] += code(j) * POWERS[4 - digit];
        }
        for byte in &mut b[..52] {
            *byte = (u16::from(*byte) * 256).div_ceil(243) as u8;
        }
        put_h(b, 52, scale);
    }
}
