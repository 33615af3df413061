//! The norms. `round` is the rounding of x's storage, which some formulas name.

use super::Array;

/// What a norm gives: the output, and for each row what it subtracted and what it multiplied by.
#[derive(Clone, Debug)]
pub struct Normed {
    /// The output.
    pub y: Array,
    /// The mean of each row; 0 where none is subtracted.
    pub mean: Vec<f64>,
    /// The factor of each row.
    pub factor: Vec<f64>,
    /// What each normalised number is multiplied by, and what is then added.
    pub affine: Vec<(f64, f64)>,
}

fn sum(row: &[f64]) -> f64 {
    row.iter().sum()
}

fn squares(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum()
}

/// Rows of `len` numbers: `statistics(row)` gives mean and factor, `affine(row number, i, normalised)` the output.
fn by_row(
    x: &Array,
    len: usize,
    statistics: impl Fn(&[f64]) -> (f64, f64),
    affine: impl Fn(usize, usize, f64) -> f64,
) -> Normed {
    let (mut y, mut mean, mut factor, mut by) = (Vec::with_capacity(x.data.len()), Vec::new(), Vec::new(), Vec::new());
    for (r, row) in x.data.chunks(len.max(1)).enumerate() {
        let (m, f) = statistics(row);
        y.extend(row.iter().enumerate().map(|(i, v)| affine(r, i, (v - m) * f)));
        by.extend((0..row.len()).map(|i| (affine(r, i, 1.0) - affine(r, i, 0.0), affine(r, i, 0.0))));
        mean.push(m);
        factor.push(f);
    }
    Normed { y: x.with(y), mean, factor, affine: by }
}

fn centred(row: &[f64], eps: f64) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = sum(row) / n;
    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// `(x − mean) / sqrt(var + eps) · weight + bias` over rows of `len`.
pub fn layer_norm(x: &Array, len: usize, weight: Option<&Array>, bias: Option<&Array>, eps: f64) -> Normed {
    let (w, b) = (Array::or(weight, 1.0, len), Array::or(bias, 0.0, len));
    by_row(x, len, |row| centred(row, eps), |_, i, h| h * w[i] + b[i])
}

/// `x · rstd · (weight + offset) + bias` over rows of `len`, statistics from the first `stat_len`.
#[allow(clippy::too_many_arguments, reason = "the formula has as many")]
pub fn rms_norm(
    x: &Array,
    len: usize,
    stat_len: usize,
    weight: Option<&Array>,
    bias: Option<&Array>,
    eps: f64,
    eps_outside: bool,
    offset: f64,
    cast: impl Fn(f64) -> f64,
) -> Normed {
    let w: Vec<f64> = weight.map_or_else(|| vec![1.0; len], |w| w.data.iter().map(|w| w + offset).collect());
    let b = Array::or(bias, 0.0, len);
    let rstd = |row: &[f64]| {
        let mean_square = squares(&row[..stat_len]) / stat_len as f64;
        (0.0, if eps_outside { 1.0 / (mean_square.sqrt() + eps) } else { 1.0 / (mean_square + eps).sqrt() })
    };
    by_row(x, len, rstd, |_, i, h| cast(h) * w[i] + b[i])
}

/// `z / sqrt((Σ z² + (Σ z)²) / D + eps)`, D one more than the numbers of a row.
pub fn crms_norm(z: &Array, len: usize, eps: f64) -> Normed {
    let factor = |row: &[f64]| {
        let s = sum(row);
        (0.0, 1.0 / ((squares(row) + s * s) / (len as f64 + 1.0) + eps).sqrt())
    };
    by_row(z, len, factor, |_, _, h| h)
}

/// `x / max(‖x‖₂, eps)` along `axis`.
pub fn l2_norm(x: &Array, axis: usize, eps: f64) -> Normed {
    let (len, inner) = (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>());
    let rows = x.data.len() / len.max(1);
    let at = |row: usize, i: usize| (row / inner * len + i) * inner + row % inner;
    let mut y = vec![0.0; x.data.len()];
    let mut factors = Vec::with_capacity(rows);
    for row in 0..rows {
        let norm = (0..len).map(|i| x.data[at(row, i)].powi(2)).sum::<f64>().sqrt();
        // A NaN stays one: f64::max would drop it.
        let factor = 1.0 / if norm < eps { eps } else { norm };
        (0..len).for_each(|i| y[at(row, i)] = x.data[at(row, i)] * factor);
        factors.push(factor);
    }
    Normed { y: x.with(y), mean: vec![0.0; rows], factor: factors, affine: vec![(1.0, 0.0); x.data.len()] }
}

/// `g / sqrt(phi + eps) · weight + bias`, `g` the RMS norm of each group of adjacent channels.
pub fn power_norm(
    x: &Array,
    groups: usize,
    weight: Option<&Array>,
    bias: Option<&Array>,
    phi: &Array,
    eps: f64,
) -> Normed {
    let channels = phi.data.len();
    let len = channels / groups;
    let (w, b) = (Array::or(weight, 1.0, channels), Array::or(bias, 0.0, channels));
    let rstd = |row: &[f64]| (0.0, 1.0 / (squares(row) / len as f64 + eps).sqrt());
    by_row(x, len, rstd, |r, i, h| {
        let c = r % groups * len + i;
        h / (phi.data[c] + eps).sqrt() * w[c] + b[c]
    })
}

/// Layer norm over each group of channels of `x[B, C, ..]`, weight and bias by channel.
pub fn group_norm(x: &Array, groups: usize, weight: Option<&Array>, bias: Option<&Array>, eps: f64) -> Normed {
    let channels = x.shape[1];
    let spatial: usize = x.shape[2..].iter().product();
    let (w, b) = (Array::or(weight, 1.0, channels), Array::or(bias, 0.0, channels));
    let of_group = channels / groups;
    by_row(
        x,
        of_group * spatial,
        |row| centred(row, eps),
        |r, i, h| {
            let c = r % groups * of_group + i / spatial;
            h * w[c] + b[c]
        },
    )
}

/// Batch norm with stored statistics, then group norm with weight and bias by group.
#[allow(clippy::too_many_arguments, reason = "the formula has as many")]
pub fn batch_channel_norm(
    x: &Array,
    bn: [&Array; 4],
    bn_eps: f64,
    groups: usize,
    weight: Option<&Array>,
    bias: Option<&Array>,
    eps: f64,
) -> Normed {
    let [mean, var, bn_weight, bn_bias] = bn;
    let v = batch_norm(x, mean, var, Some(bn_weight), Some(bn_bias), bn_eps);
    let (w, b) = (Array::or(weight, 1.0, groups), Array::or(bias, 0.0, groups));
    let len = x.shape[1] / groups * x.shape[2..].iter().product::<usize>();
    by_row(&v, len, |row| centred(row, eps), |r, _, h| h * w[r % groups] + b[r % groups])
}

/// `x / sqrt(var + eps) · weight + bias` by channel of the last dimension.
pub fn unified_norm(x: &Array, weight: Option<&Array>, bias: Option<&Array>, var: &Array, eps: f64) -> Array {
    let channels = var.data.len();
    let (w, b) = (Array::or(weight, 1.0, channels), Array::or(bias, 0.0, channels));
    let y = |(i, v): (usize, &f64)| v / (var.data[i % channels] + eps).sqrt() * w[i % channels] + b[i % channels];
    x.with(x.data.iter().enumerate().map(y).collect())
}

/// `(x − mean) / sqrt(var + eps) · weight + bias` by channel of `x[B, C, ..]`.
pub fn batch_norm(
    x: &Array,
    mean: &Array,
    var: &Array,
    weight: Option<&Array>,
    bias: Option<&Array>,
    eps: f64,
) -> Array {
    let channels = x.shape[1];
    let spatial: usize = x.shape[2..].iter().product();
    let (w, b) = (Array::or(weight, 1.0, channels), Array::or(bias, 0.0, channels));
    let y = |(i, v): (usize, &f64)| {
        let c = i / spatial % channels;
        (v - mean.data[c]) / (var.data[c] + eps).sqrt() * w[c] + b[c]
    };
    x.with(x.data.iter().enumerate().map(y).collect())
}

/// `x ⊙ weight`, with `relu` no less than zero, plus `floor`.
pub fn scaler(x: &Array, weight: &Array, relu: bool, floor: f64) -> Array {
    let channels = weight.data.len();
    let y = |(i, v): (usize, &f64)| {
        let scaled = v * weight.data[i % channels];
        floor + if relu && scaled < 0.0 { 0.0 } else { scaled }
    };
    x.with(x.data.iter().enumerate().map(y).collect())
}

/// `l2n(x + alpha·gain ⊙ (l2n(scaler ⊙ h) − x))` along the last dimension.
pub fn hyperspherical_step(x: &Array, h: &Array, alpha: &Array, scaled: Option<&Array>, gain: f64, eps: f64) -> Array {
    let last = x.shape.len() - 1;
    let channels = alpha.data.len();
    let ones = alpha.with(vec![1.0; channels]);
    let h = l2_norm(&scaler(h, scaled.unwrap_or(&ones), false, 0.0), last, eps).y;
    let moved = x.data.iter().zip(&h.data).enumerate();
    let moved = moved.map(|(i, (x, h))| x + alpha.data[i % channels] * gain * (h - x)).collect();
    l2_norm(&x.with(moved), last, eps).y
}
