//! Merges of whole weights.

use super::Array;

/// How weights are merged, by the names of FORMAT.md.
#[derive(Clone, Copy, Debug)]
pub enum Merge<'a> {
    /// `Σ factors[i]·w.i`: lerp, mean, moving averages.
    Weighted {
        /// Of each weight.
        factors: &'a [f64],
    },
    /// `w.0 + alpha·Σ_(i≥1)(w.i − w.0)`.
    Task {
        /// Of the differences.
        alpha: f64,
    },
    /// `t·mean_(i≥1) w.i + (1−t)·w.0`, with t from the angles between the differences.
    ModelStock {
        /// Each row has a t of its own.
        per_row: bool,
        /// t is limited to `[0,1]`.
        clamp: bool,
    },
    /// `lambda·w.0 + (1−lambda)·Σ_i softmax(a)_i·w.(i+1)`.
    Xft {
        /// A logit for each weight but the first.
        a: &'a Array,
        /// Of the shared weight.
        lambda: f64,
    },
}

/// The sum of products.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The mean cosine of the pairs of differences, and t.
pub fn stock(differences: &[Vec<f64>], clamp: bool) -> [f64; 2] {
    let n = differences.len();
    let norm = |d: &[f64]| dot(d, d).sqrt();
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (&differences[i], &differences[j])));
    let cosines: f64 = pairs.map(|(a, b)| dot(a, b) / (norm(a) * norm(b)).max(1e-12)).sum();
    let n = n as f64;
    let c = cosines / (n * (n - 1.0) / 2.0);
    let t = n * c / (1.0 + (n - 1.0) * c);
    [c, if clamp { t.clamp(0.0, 1.0) } else { t }]
}

/// Each weight but the first with the first taken away.
pub fn differences(w: &[&[f64]]) -> Vec<Vec<f64>> {
    w[1..].iter().map(|w_i| w_i.iter().zip(w[0]).map(|(a, b)| a - b).collect()).collect()
}

/// `softmax(a)`.
pub fn softmax(a: &[f64]) -> Vec<f64> {
    let largest = a.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all: f64 = a.iter().map(|v| (v - largest).exp()).sum();
    a.iter().map(|v| (v - largest).exp() / all).collect()
}

/// `Σ factors[i]·w[i]`.
fn weighted(w: &[&[f64]], factors: &[f64]) -> Vec<f64> {
    (0..w[0].len()).map(|at| w.iter().zip(factors).map(|(w, c)| c * w[at]).sum()).collect()
}

/// Weights of one shape as one.
pub fn weight_merge(w: &[&Array], merge: Merge<'_>) -> Array {
    let whole: Vec<&[f64]> = w.iter().map(|w| w.data.as_slice()).collect();
    let others = w.len() - 1;
    let from_first = |w: &[&[f64]], factor: f64| -> Vec<f64> {
        let d = differences(w);
        let moved = |at: usize| d.iter().map(|d| factor * d[at]).sum::<f64>();
        w[0].iter().enumerate().map(|(at, first)| first + moved(at)).collect()
    };
    let stocked = |w: &[&[f64]], clamp: bool| from_first(w, stock(&differences(w), clamp)[1] / others as f64);
    w[0].with(match merge {
        Merge::Weighted { factors } => weighted(&whole, factors),
        Merge::Task { alpha } => from_first(&whole, alpha),
        Merge::ModelStock { per_row: false, clamp } => stocked(&whole, clamp),
        Merge::ModelStock { per_row: true, clamp } => {
            let rows = w[0].shape[0];
            let width = w[0].data.len() / rows.max(1);
            let row = |n: usize| whole.iter().map(|w| &w[n * width..(n + 1) * width]).collect::<Vec<_>>();
            (0..rows).flat_map(|n| stocked(&row(n), clamp)).collect()
        }
        Merge::Xft { a, lambda } => {
            let experts = softmax(&a.data).into_iter().map(|p| (1.0 - lambda) * p);
            weighted(&whole, &[lambda].into_iter().chain(experts).collect::<Vec<_>>())
        }
    })
}
