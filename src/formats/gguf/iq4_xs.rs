//! `gguf.iq4_xs`: 4 bits into the table of `iq4_nl` with a 6-bit scale for 32, 256 numbers in 136 bytes (4.25 bits a weight).
//!
//! ```text
//! byte  0 1   2 3   4      7   8                                  135
//!      [ d ] [ H ] [low bits]  [32i + 16 + r | 32i + r] …               at 8 + 16i + r; high nibble | low nibble
//! scale i: low bits in nibble i of bytes 4…7, two high ones at bit 2i of the u16 H
//! ```
//!
//! `w = d·(s[i] − 32)·KV[q]`.

use super::super::bits::nibble;
use super::{Block, KV, h};

/// The codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Iq4Xs;

impl Block for Iq4Xs {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 136;

    fn decode(b: &[u8], out: &mut [f32]) {
        let (d, high) = (h(b, 0), u16::from_le_bytes([b[2], b[3]]));
        for (i, out) in out.chunks_exact_mut(32).enumerate() {
            let low = nibble(b[4 + i / 2], i % 2 == 1);
            let scale = low | usize::from((high >> (2 * i)) & 3) << 4;
            for (l, out) in out.iter_mut().enumerate() {
                let q = nibble(b[8 + 16 * i + l % 16], l >= 16);
                *out = d * (scale as f32 - 32.0) * KV[q];
            }
        }
    }
}
