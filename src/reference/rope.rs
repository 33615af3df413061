//! Rotary position embedding.

use super::Array;

/// Turns the pairs of a row: `(i, i + half)`, or interleaved `(2i, 2i + 1)`, for i below `half`, the length of `cos` and `sin`.
pub fn rotate(row: &mut [f64], cos: &[f64], sin: &[f64], interleaved: bool) {
    let half = cos.len();
    for i in 0..half {
        let (p, q) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
        let (a, b) = (row[p], row[q]);
        (row[p], row[q]) = (a * cos[i] - b * sin[i], b * cos[i] + a * sin[i]);
    }
}

/// The row of the tables that token `t` of all `B·L` has: by its position, by itself, or by its place among L.
pub fn table_row(cos: &Array, positions: Option<&Array>, t: usize, tokens: usize) -> usize {
    let half = cos.shape.last().copied().unwrap_or(0);
    let rows = cos.data.len() / half.max(1);
    match positions {
        Some(positions) => (positions.data[t].max(0.0) as usize).min(rows.saturating_sub(1)),
        None if cos.shape.len() == 3 => t,
        None => t % tokens.max(1),
    }
}

/// `x[B,H,L,D]`, or where `tokens_first` `x[B,L,H,D]`, with its pairs turned.
pub fn rope(
    x: &Array,
    cos: &Array,
    sin: &Array,
    positions: Option<&Array>,
    interleaved: bool,
    tokens_first: bool,
) -> Array {
    let half = cos.shape.last().copied().unwrap_or(0);
    let (one, other) = (x.shape[1], x.shape[2]);
    let (heads, tokens) = if tokens_first { (other, one) } else { (one, other) };
    let mut data = x.data.clone();
    for (r, row) in data.chunks_mut(x.shape[3].max(1)).enumerate() {
        let t = if tokens_first { r / heads } else { r / (heads * tokens) * tokens + r % tokens };
        let at = table_row(cos, positions, t, tokens) * half;
        rotate(row, &cos.data[at..at + half], &sin.data[at..at + half], interleaved);
    }
    x.with(data)
}
