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

/// Rows (or columns) of `[…,width]` by their magnitudes: `m·V/‖V‖`, 0 where the norm is 0. A norm is off by `error` of itself beside
/// what its numbers make of it.
pub fn magnitudes(v: &Judged, width: usize, m: &Array, rows: bool, unit: f64, error: f64) -> Judged {
    let place = |i: usize| if rows { i / width } else { i % width };
    let norms = |data: &[f64]| {
        let mut squares = vec![0.0; m.data.len()];
        data.iter().enumerate().for_each(|(i, v)| squares[place(i)] += v * v);
        squares.into_iter().map(f64::sqrt).collect::<Vec<_>>()
    };
    let (norm, wrong) = (norms(&v.data), norms(&v.error));
    let mut out = Judged { data: Vec::new(), error: Vec::new() };
    for (i, (value, off)) in v.data.iter().zip(&v.error).enumerate() {
        let at = place(i);
        let factor = if norm[at] == 0.0 { 0.0 } else { m.data[at] / norm[at] };
        let relative = if norm[at] == 0.0 { 0.0 } else { wrong[at] / norm[at] } + error + 2.0 * unit;
        out.data.push(value * factor);
        out.error.push((off + value.abs() * relative) * factor.abs());
    }
    out
}
