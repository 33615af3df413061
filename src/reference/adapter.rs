//! Adapters.

use super::Array;

/// What an adapter is made of, by the names of FORMAT.md.
pub enum Adapter<'a> {
    /// `scale·b·a`.
    Lora {
        /// `[R,K]`.
        a: &'a Array,
        /// `[N,R]`.
        b: &'a Array,
    },
    /// `block[k mod R, n mod Q]`.
    Miss {
        /// `[R,Q]`.
        block: &'a Array,
    },
    /// `w0_pq·block[p] + block[p]`.
    Bat {
        /// `[N/R,R,R]`.
        block: &'a Array,
    },
    /// `scale·(a1·b1) ∘ (a2·b2)`.
    Loha {
        /// `[N,R]`.
        a1: &'a Array,
        /// `[R,K]`.
        b1: &'a Array,
        /// `[N,R]`.
        a2: &'a Array,
        /// `[R,K]`.
        b2: &'a Array,
    },
    /// `scale·Σ_r Π_i core.i[r_i, n_i, k_i, r_(i+1)]`.
    Mpo {
        /// `[r_i, N_i, K_i, r_(i+1)]`.
        cores: &'a [&'a Array],
    },
}

/// A matrix, and beside each number how far a computation with these relative errors may be off.
#[derive(Clone)]
pub struct Judged {
    /// `[N,K]`.
    pub data: Vec<f64>,
    /// The errors.
    pub error: Vec<f64>,
}

/// The sum of products, and that of their magnitudes.
fn sum(terms: impl Iterator<Item = f64>) -> (f64, f64) {
    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
}

/// Number n, k of the delta, and the sum of the magnitudes of what it is made of.
fn delta(adapter: &Adapter<'_>, w0: &Array, n: usize, k: usize) -> (f64, f64) {
    let product = |b: &Array, a: &Array| {
        let (rank, width) = (a.shape[0], a.shape[1]);
        sum((0..rank).map(|r| b.data[n * rank + r] * a.data[r * width + k]))
    };
    match adapter {
        Adapter::Lora { a, b } => product(b, a),
        Adapter::Miss { block } => {
            let (rank, wide) = (block.shape[0], block.shape[1]);
            sum([block.data[k % rank * wide + n % wide]].into_iter())
        }
        Adapter::Bat { block } => {
            let (rank, width) = (block.shape[1], w0.shape[1]);
            let of = |row: usize| block.data[(n / rank * rank + row) * rank + k % rank];
            let base = &w0.data[n * width + k / rank * rank..][..rank];
            sum(base.iter().enumerate().map(|(t, w)| w * of(t)).chain([of(n % rank)]))
        }
        Adapter::Loha { a1, b1, a2, b2 } => {
            let (first, second) = (product(a1, b1), product(a2, b2));
            (first.0 * second.0, first.1 * second.1)
        }
        Adapter::Mpo { cores } => {
            // A row of bonds, from the right, and the same of magnitudes.
            let (mut bonds, mut sizes) = (vec![1.0], vec![1.0]);
            let (mut n, mut k) = (n, k);
            for core in cores.iter().rev() {
                let [left, wide, deep, right] = [0, 1, 2, 3].map(|i| core.shape[i]);
                let at = |l: usize, r: usize| core.data[((l * wide + n % wide) * deep + k % deep) * right + r];
                sizes = (0..left).map(|l| (0..right).map(|r| at(l, r).abs() * sizes[r]).sum()).collect();
                bonds = (0..left).map(|l| (0..right).map(|r| at(l, r) * bonds[r]).sum()).collect();
                (n, k) = (n / wide, k / deep);
            }
            (bonds[0], sizes[0])
        }
    }
}

/// `V = w0 + scale·delta`, where sums of the delta are off by `error` of their magnitudes, and other operations by `unit`.
pub fn adapter_merge(w0: &Array, adapter: &Adapter<'_>, scale: f64, unit: f64, error: f64) -> Judged {
    let width = w0.shape[1];
    let mut v = Judged { data: Vec::new(), error: Vec::new() };
    for (i, w) in w0.data.iter().enumerate() {
        let (value, size) = delta(adapter, w0, i / width, i % width);
        v.data.push(w + scale * value);
        v.error.push(scale.abs() * size * (error + 2.0 * unit) + unit * (w.abs() + (w + scale * value).abs()));
    }
    v
}

/// What each row (or column) of `[…,width]` is multiplied with, so that its norm is its magnitude: `m/‖V‖`, 0 where the norm is 0; and by how
/// much of itself it is off. A norm is off by `error` of itself beside what its numbers make of it.
pub fn magnitude_factors(v: &Judged, width: usize, m: &Array, rows: bool, unit: f64, error: f64) -> Vec<(f64, f64)> {
    let place = |i: usize| if rows { i / width } else { i % width };
    let norms = |data: &[f64]| {
        let mut squares = vec![0.0; m.data.len()];
        data.iter().enumerate().for_each(|(i, v)| squares[place(i)] += v * v);
        squares.into_iter().map(f64::sqrt).collect::<Vec<_>>()
    };
    let (norm, wrong) = (norms(&v.data), norms(&v.error));
    let of = |((m, norm), wrong): ((&f64, f64), f64)| {
        if norm == 0.0 { (0.0, error + 2.0 * unit) } else { (m / norm, wrong / norm + error + 2.0 * unit) }
    };
    m.data.iter().zip(norm).zip(wrong).map(of).collect()
}

/// Rows (or columns) of `[…,width]` by their magnitudes: each by its factor.
pub fn magnitudes(v: &Judged, width: usize, m: &Array, rows: bool, unit: f64, error: f64) -> Judged {
    let factors = magnitude_factors(v, width, m, rows, unit, error);
    let mut out = Judged { data: Vec::new(), error: Vec::new() };
    for (i, (value, off)) in v.data.iter().zip(&v.error).enumerate() {
        let (factor, relative) = factors[if rows { i / width } else { i % width }];
        out.data.push(value * factor);
        out.error.push((off + value.abs() * relative) * factor.abs());
    }
    out
}

/// The delta as a product `b[N,R]·a[R,K]` without its scale, where it is of low rank: MiSS as its block and the inputs that each of its rows
/// takes, LoHa as all products of a rank of the one and a rank of the other.
pub fn low_rank(adapter: &Adapter<'_>, [n, k]: [usize; 2]) -> Option<(Array, Array)> {
    let matrix = |rows: usize, cols: usize, of: &dyn Fn(usize, usize) -> f64| Array {
        shape: vec![rows, cols],
        data: (0..rows * cols).map(|i| of(i / cols, i % cols)).collect(),
    };
    match adapter {
        Adapter::Lora { a, b } => Some(((*a).clone(), (*b).clone())),
        Adapter::Miss { block } => {
            let (rank, wide) = (block.shape[0], block.shape[1]);
            let a = matrix(rank, k, &|r, k| if k % rank == r { 1.0 } else { 0.0 });
            Some((a, matrix(n, rank, &|n, r| block.data[r * wide + n % wide])))
        }
        Adapter::Loha { a1, b1, a2, b2 } => {
            let rank = b1.shape[0];
            let a = matrix(rank * rank, k, &|r, i| b1.data[r / rank * k + i] * b2.data[r % rank * k + i]);
            let b = matrix(n, rank * rank, &|i, r| a1.data[i * rank + r / rank] * a2.data[i * rank + r % rank]);
            Some((a, b))
        }
        Adapter::Bat { .. } | Adapter::Mpo { .. } => None,
    }
}

/// A row of x with a live adapter: `base + scale·(x·aᵀ)·bᵀ`, where `base` is the row of `x·w0ᵀ`; and beside each output the sum of the magnitudes
/// that the adapter adds. Factors of columns stand before x, and those of rows before all of it.
pub fn adapter_linear(x: &[f64], base: &[f64], a: &Array, b: &Array, scale: f64) -> Vec<(f64, f64)> {
    let terms: Vec<_> = a.data.chunks(x.len()).map(|a| sum(x.iter().zip(a).map(|(x, a)| x * a))).collect();
    let of = |(n, base): (usize, &f64)| {
        let b = &b.data[n * terms.len()..][..terms.len()];
        let (delta, _) = sum(b.iter().zip(&terms).map(|(b, t)| b * t.0));
        let (size, _) = sum(b.iter().zip(&terms).map(|(b, t)| b.abs() * t.1));
        (base + scale * delta, scale.abs() * size)
    };
    base.iter().enumerate().map(of).collect()
}
