//! Linear layers.

use super::Array;

/// erfc(x): one less than 2 in the tail of negative x, and as exact in the tail of positive x as near 0.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.5 {
        // 1 − 2/√π·Σ (−1)^n x^(2n+1) / (n!·(2n+1))
        let (mut sum, mut term) = (0.0, x);
        for n in 0..60 {
            sum += term / f64::from(2 * n + 1);
            term *= -x * x / f64::from(n + 1);
        }
        return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    // exp(−x²)/√π · 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …))))
    let tail = (1..=120).rev().fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
    (-x * x).exp() / tail * std::f64::consts::FRAC_2_SQRT_PI / 2.0
}

/// An activation by its name in FORMAT.md.
pub fn activation(name: &str, v: f64) -> f64 {
    match name {
        // Not `max`, which would drop a NaN.
        "relu" if v < 0.0 => 0.0,
        "gelu" => v / 2.0 * erfc(-v / std::f64::consts::SQRT_2),
        "gelu_tanh" => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v);
            v / 2.0 * (1.0 + u.tanh())
        }
        "silu" => v / (1.0 + (-v).exp()),
        _ => v,
    }
}

/// The operands of a linear layer.
pub struct Linear<'a> {
    /// `[M,K]`.
    pub x: &'a Array,
    /// `[M]`: what stands before x in both products.
    pub x_scale: Option<&'a Array>,
    /// `[…,K]`, whose rows begin again where they end.
    pub w: &'a Array,
    /// As that.
    pub up: Option<&'a Array>,
    /// Rows of the weights: outputs.
    pub n: usize,
    /// `[N]`.
    pub bias: Option<&'a Array>,
    /// `[M,N]`.
    pub residual: Option<&'a Array>,
    /// `[M]`.
    pub row_scale: Option<&'a Array>,
    /// By its name in FORMAT.md.
    pub activation: &'a str,
}

/// `y = residual + row_scale ⊙ activation(x_scale ⊙ x·wᵀ + bias) [⊙ (x_scale ⊙ x·upᵀ)]`, `[M,N]`.
pub fn linear(layer: &Linear<'_>) -> Vec<f64> {
    let up = layer.up.map(|up| matmul(layer.x, up, layer.n).0);
    linear_epilogue(layer, &matmul(layer.x, layer.w, layer.n).0, up.as_deref())
}

/// What [`linear`] makes of `x·wᵀ` and `x·upᵀ`.
pub fn linear_epilogue(layer: &Linear<'_>, sums: &[f64], up: Option<&[f64]>) -> Vec<f64> {
    let Linear { x_scale, n, bias, residual, row_scale, .. } = *layer;
    let of = |(i, sum): (usize, &f64)| {
        let scale = x_scale.map_or(1.0, |scale| scale.data[i / n]);
        let mut y = activation(layer.activation, sum * scale + bias.map_or(0.0, |bias| bias.data[i % n]));
        y *= up.map_or(1.0, |up| up[i] * scale);
        y *= row_scale.map_or(1.0, |scale| scale.data[i / n]);
        y + residual.map_or(0.0, |residual| residual.data[i])
    };
    sums.iter().enumerate().map(of).collect()
}

/// The numbers of the first `n` rows of `w[…,K]`, which begin again where they end: `[n,K]`.
pub fn dequantize(w: &Array, n: usize) -> Vec<f64> {
    let [rows, k] = [w.shape[0], w.shape[1]];
    (0..n).flat_map(|i| &w.data[i % rows * k..][..k]).copied().collect()
}

/// A weight of numbers, of which the host's encoder has laid these words: its bytes. What a format makes of a number is specified in
/// its own file, to the bit.
pub fn encode(words: &[u32]) -> Vec<f64> {
    words.iter().flat_map(|word| word.to_le_bytes()).map(f64::from).collect()
}

/// `x[M,K]` times the first `n` rows of `w[…,K]`, which begin again where they end: `[M,n]`, and beside each sum the sum of the
/// magnitudes of what was added.
pub fn matmul(x: &Array, w: &Array, n: usize) -> (Vec<f64>, Vec<f64>) {
    let k = w.shape[1];
    let rows = w.shape[0].min(n);
    let (mut sums, mut sizes) = (Vec::new(), Vec::new());
    for x in x.data.chunks(k) {
        let dots: Vec<_> = w.data.chunks(k).take(rows).map(|w| dot(x, w)).collect();
        sums.extend((0..n).map(|i| dots[i % rows].0));
        sizes.extend((0..n).map(|i| dots[i % rows].1));
    }
    (sums, sizes)
}

fn dot(x: &[f64], w: &[f64]) -> (f64, f64) {
    x.iter().zip(w).fold((0.0, 0.0), |(sum, size), (x, w)| (sum + x * w, size + (x * w).abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_is_what_tables_say() {
        // Abramowitz and Stegun, table 7.1 and 7.3.
        for (x, want) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (2.0, 4.677_734_981_047_266e-3),
            (3.0, 2.209_049_699_858_544e-5),
            (5.0, 1.537_459_794_428_034_8e-12),
            (-1.0, 1.842_700_792_949_715),
        ] {
            assert!((erfc(x) - want).abs() <= 1e-11 * want, "{x}: {} {want}", erfc(x));
        }
    }

    #[test]
    fn relu_keeps_a_nan() {
        assert!(activation("relu", f64::NAN).is_nan());
        assert_eq!((activation("relu", -2.0), activation("relu", 2.0)), (0.0, 2.0));
    }
}
