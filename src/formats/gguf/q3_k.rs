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

use super::{Block, h};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Q3K;

impl Block for Q3K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 110;

    fn decode(b: &[u8], out: &mut [f32]) {
        let d = h(b, 108);
        let s = &b[96..108];
        for (j, out) in out.iter_mut().enumerate() {
            let (n, t, l, i, u) = (j / 128, j % 128 / 32, j % 32, j / 32, j / 16);
            let q = (b[32 + 32 * n + l] >> (2 * t)) & 3 | ((b[l] >> i) & 1) << 2;
            let low = if u < 8 { s[u] & 15 } else { s[u - 8] >> 4 };
            let scale = low | ((s[8 + u % 4] >> (2 * (u / 4))) & 3) << 4;
            *out = d * (f32::from(scale) - 32.0) * (f32::from(q) - 4.0);
        }
    }
}
