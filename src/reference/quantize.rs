//! Quantisation of activations.

use super::Array;

/// What quantisation gives, before codes and zeros are rounded to whole numbers, ties to even.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// `x / scale`, or where not symmetric `x / scale + round(zero)`, no further than the codes reach.
    pub codes: Array,
    /// The scale of each row.
    pub scale: Vec<f64>,
    /// `−lo / scale` of each row; 0 where symmetric.
    pub zero: Vec<f64>,
}

/// Below this extent of a row its scale is 1, as f32 could not divide by the true one: 2^-100.
const LEAST: f64 = 1.0 / (1u128 << 100) as f64;

/// Rows of `len` numbers as codes of so many bits. `symmetric`: `scale = max(max|x|, floor) / Q` with `Q = 2^(bits−1) − 1`, and
/// codes from `−Q − 1` to `Q`. Otherwise `scale = (hi − lo) / Q` with `Q = 2^bits − 1`, `lo = min(0, min x)` and
/// `hi = max(0, max x)`, and codes from 0 to `Q`, of which `zero` stands for 0.
pub fn quantize_rows(x: &Array, len: usize, bits: u32, symmetric: bool, floor: f64) -> Quantized {
    let most = f64::from(if symmetric { (1 << (bits - 1)) - 1 } else { (1 << bits) - 1 });
    let least = if symmetric { -most - 1.0 } else { 0.0 };
    let (mut codes, mut scales, mut zeros) = (Vec::with_capacity(x.data.len()), Vec::new(), Vec::new());
    for row in x.data.chunks(len.max(1)) {
        let (lo, hi) = row.iter().fold((0.0f64, 0.0f64), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
        let extent = if symmetric { hi.max(-lo).max(floor) } else { hi - lo };
        let scale = if extent < LEAST { 1.0 } else { extent / most };
        let zero = if symmetric { 0.0 } else { (-lo / scale).min(most) };
        codes.extend(row.iter().map(|v| (v / scale + zero.round_ties_even()).clamp(least, most)));
        scales.push(scale);
        zeros.push(zero);
    }
    Quantized { codes: x.with(codes), scale: scales, zero: zeros }
}
