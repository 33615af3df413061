//! Preparation of weights. A matrix is `[N,K]`, its rows are outputs.

use super::Array;

/// The lines of a matrix: its rows, or its columns.
fn lines(w: &Array, rows: bool) -> Vec<Vec<f64>> {
    let (n, k) = (w.shape[0], w.shape[1]);
    if rows {
        return (0..n).map(|n| w.data[n * k..(n + 1) * k].to_vec()).collect();
    }
    (0..k).map(|column| (0..n).map(|n| w.data[n * k + column]).collect()).collect()
}

/// Of every row or column its mean, squares about the mean, mean magnitude, largest magnitude: `[4, rows or columns]`.
pub fn matrix_stats(w: &Array, rows: bool) -> Array {
    let each: Vec<[f64; 4]> = lines(w, rows)
        .iter()
        .map(|line| {
            let count = line.len() as f64;
            let mean = line.iter().sum::<f64>() / count;
            let squares = line.iter().map(|v| (v - mean).powi(2)).sum();
            let magnitude = line.iter().map(|v| v.abs()).sum::<f64>() / count;
            let largest =
                line.iter().fold(0.0, |most: f64, v| if v.is_nan() || v.abs() > most { v.abs() } else { most });
            // Nothing is about an infinity.
            if largest.is_finite() {
                [mean, squares, magnitude, largest]
            } else {
                [f64::NAN, f64::NAN, f64::NAN, largest]
            }
        })
        .collect();
    let data = (0..4).flat_map(|i| each.iter().map(move |stats| stats[i])).collect();
    Array { shape: vec![4, each.len()], data }
}

/// `y = bias + alpha·(w − minus)·x`, or with the transpose.
pub fn matrix_vector(
    w: &Array,
    minus: Option<&Array>,
    rows: bool,
    x: &Array,
    bias: Option<&Array>,
    alpha: f64,
) -> Array {
    let minus = minus.map_or_else(|| w.with(vec![0.0; w.data.len()]), Clone::clone);
    let w = w.with(w.data.iter().zip(&minus.data).map(|(w, v)| w - v).collect());
    let lines = lines(&w, rows);
    let bias = Array::or(bias, 0.0, lines.len());
    let sum = |line: &Vec<f64>| line.iter().zip(&x.data).map(|(w, x)| w * x).sum::<f64>();
    let data: Vec<f64> = lines.iter().zip(&bias).map(|(line, b)| b + alpha * sum(line)).collect();
    Array { shape: vec![data.len()], data }
}

/// A rule that makes two numbers of some others: those of its formula, by their names there.
#[expect(missing_docs, reason = "the numbers are explained where the op has them")]
#[derive(Clone, Copy, Debug)]
pub enum Factor {
    /// The norm of `count` numbers of this mean, and squares about it.
    Norm { mean: f64, squares: f64, count: f64 },
    /// What makes that norm this long.
    Unit { mean: f64, squares: f64, count: f64, length: f64 },
    /// What makes the deviation 1; and the mean.
    Standard { mean: f64, squares: f64, divisor: f64, inside: f64, least: f64, outside: f64, gain: f64 },
    /// A quotient.
    Ratio { over: f64, under: f64 },
    /// A norm of kept statistics as a factor and a shift.
    Affine { variance: f64, mean: f64, weight: f64, bias: f64, eps: f64 },
    /// What makes two ranges alike.
    Equal { before: f64, after: f64, least: f64 },
    /// A power, and its reciprocal.
    Power { magnitude: f64, power: f64, least: f64 },
    /// So many deviations of magnitudes above their mean.
    Limit { mean: f64, squares: f64, magnitude: f64, count: f64, deviations: f64 },
}

/// Scale and shift by a rule. What would be divided by 0 is 0.
pub fn scale_factors(factor: Factor) -> [f64; 2] {
    let over = |v: f64, by: f64| if by == 0.0 { 0.0 } else { v / by };
    match factor {
        Factor::Norm { mean, squares, count } => [(squares + count * mean * mean).sqrt(), 0.0],
        Factor::Unit { mean, squares, count, length } => {
            [over(length, scale_factors(Factor::Norm { mean, squares, count })[0]), 0.0]
        }
        Factor::Standard { mean, squares, divisor, inside, least, outside, gain } => {
            [over(gain, (squares / divisor + inside).max(least).sqrt() + outside), mean]
        }
        Factor::Ratio { over: v, under } => [over(v, under), 0.0],
        Factor::Affine { variance, mean, weight, bias, eps } => {
            let scale = weight / (variance + eps).sqrt();
            [scale, bias - mean * scale]
        }
        Factor::Equal { before, after, least } if before > least && after > least => {
            [(after / before).sqrt(), (before / after).sqrt()]
        }
        Factor::Equal { .. } => [1.0, 1.0],
        Factor::Power { magnitude, power, least } => {
            let scale = magnitude.max(least).powf(power);
            [scale, 1.0 / scale]
        }
        Factor::Limit { mean, squares, magnitude, count, deviations } => {
            let about = (squares + count * (mean * mean - magnitude * magnitude)).max(0.0);
            [magnitude + deviations * (about / (count - 1.0).max(1.0)).sqrt(), 0.0]
        }
    }
}

/// What [`rescale`] has beside the matrix. What is absent is 0 where it is added, 1 where it is multiplied by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rescaling<'a> {
    /// Taken from rows.
    pub row_shift: Option<&'a Array>,
    /// Taken from columns.
    pub col_shift: Option<&'a Array>,
    /// Of rows: one each, or one for all.
    pub row: Option<&'a Array>,
    /// Of columns.
    pub col: Option<&'a Array>,
    /// Added to rows.
    pub add: Option<&'a Array>,
    /// The largest magnitude of a row.
    pub limit: Option<&'a Array>,
}

/// `(w − row_shift − col_shift)·row·col + add`, no further from 0 than the limit; the first `width` columns.
pub fn rescale(w: &Array, by: Rescaling<'_>, width: usize) -> Array {
    let (n, k) = (w.shape[0], w.shape[1]);
    let at = |vector: Option<&Array>, i: usize, absent: f64| vector.map_or(absent, |v| v.data[i % v.data.len()]);
    let mut data = Vec::with_capacity(n * width);
    for row in 0..n {
        for column in 0..width {
            let moved = w.data[row * k + column] - at(by.row_shift, row, 0.0) - at(by.col_shift, column, 0.0);
            let v = moved * at(by.row, row, 1.0) * at(by.col, column, 1.0) + at(by.add, row, 0.0);
            let limit = at(by.limit, row, f64::INFINITY);
            data.push(if v.abs() > limit { limit.copysign(v) } else { v });
        }
    }
    Array { shape: vec![n, width], data }
}

/// Of every `of` numbers of a row the `drop` of the lowest `|w|·norm` become 0; of equals the first, and no NaN before the others.
pub fn prune(w: &Array, norm: Option<&Array>, drop: usize, of: usize) -> Array {
    let k = w.shape[1];
    let norm = Array::or(norm, 1.0, k);
    let mut data = w.data.clone();
    for (group, numbers) in data.chunks_mut(of).enumerate() {
        let first = group * of % k.max(1);
        let score = |i: usize, v: f64| (v.abs() * norm[first + i]).abs();
        let mut order: Vec<(usize, f64)> = numbers.iter().enumerate().map(|(i, v)| (i, score(i, *v))).collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        order.iter().take(drop).for_each(|(i, _)| numbers[*i] = 0.0);
    }
    w.with(data)
}

/// `w − minus` at some places; 0 at those outside.
pub fn pick(w: &Array, minus: Option<&Array>, places: &[[usize; 2]]) -> Array {
    let (n, k) = (w.shape[0], w.shape[1]);
    let minus = Array::or(minus, 0.0, n * k);
    let value = |[row, column]: &[usize; 2]| {
        let at = row * k + column;
        if *row < n && *column < k { w.data[at] - minus[at] } else { 0.0 }
    };
    Array { shape: vec![places.len()], data: places.iter().map(value).collect() }
}
