//! Token skipping.

use super::Array;

/// What selection gives.
#[derive(Clone, Debug)]
pub struct Selected {
    /// 1 for each kept token, else 0: `[B, T]`.
    pub keep: Vec<f64>,
    /// Kept tokens of each sample.
    pub count: Vec<f64>,
    /// Kept tokens in their order, counted over all samples; 2^32, which is what an f32 makes of 2^32 − 1, where there are no more: `[B, P]`.
    pub index: Vec<f64>,
    /// What becomes of each token, as `Select::place` has it: `[B, T]`.
    pub place: Vec<f64>,
}

/// Scores `x·weight + bias` of the rows of x, and the sums of the magnitudes that went into them.
pub fn mod_route(x: &Array, weight: &[f64], bias: f64) -> (Vec<f64>, Vec<f64>) {
    let dot = |row: &[f64]| row.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>() + bias;
    let size = |row: &[f64]| row.iter().zip(weight).map(|(x, w)| (x * w).abs()).sum::<f64>() + bias.abs();
    let rows = || x.data.chunks(weight.len());
    (rows().map(dot).collect(), rows().map(size).collect())
}

/// `f(r)` of scores: `tanh`, `sigmoid`, `softmax` over the candidates of each sample (0 of others), or the score itself.
pub fn gates(name: &str, score: &[f64], candidates: &[bool], tokens: usize) -> Vec<f64> {
    let of = |r: &f64| match name {
        "tanh" => r.tanh(),
        "sigmoid" => 1.0 / (1.0 + (-r).exp()),
        _ => *r,
    };
    if name != "softmax" {
        return score.iter().map(of).collect();
    }
    let mut all = Vec::with_capacity(score.len());
    for (row, is) in score.chunks(tokens.max(1)).zip(candidates.chunks(tokens.max(1))) {
        let largest = row.iter().zip(is).filter(|(_, is)| **is).fold(f64::NEG_INFINITY, |m, (r, _)| m.max(*r));
        let part = |(r, is): (&f64, &bool)| if *is { (r - largest).exp() } else { 0.0 };
        let sum: f64 = row.iter().zip(is).map(part).sum();
        all.extend(row.iter().zip(is).map(|p| if *p.1 { part(p) / sum } else { 0.0 }));
    }
    all
}

/// Which tokens are kept: valid ones that are no targets, and of the valid targets the best, of equal ones the first; NaN last.
/// `chosen` says of a sample's scores, best first, how many.
pub fn mod_select(
    score: &Array,
    target: &[bool],
    valid: &[bool],
    places: usize,
    chosen: impl Fn(&[f64]) -> usize,
) -> Selected {
    let [samples, tokens] = [score.shape[0], score.shape[1]];
    let mut all = Selected { keep: Vec::new(), count: Vec::new(), index: Vec::new(), place: Vec::new() };
    for b in 0..samples {
        let first = b * tokens;
        let mut order: Vec<usize> = (first..first + tokens).filter(|i| target[*i] && valid[*i]).collect();
        // A stable sort: equal ones stay in their order. NaN, which compares with nothing, is behind all numbers.
        let of = |i: &usize| score.data[*i];
        order.sort_by(|i, j| of(j).partial_cmp(&of(i)).unwrap_or(of(i).is_nan().cmp(&of(j).is_nan())));
        let k = chosen(&order.iter().map(of).collect::<Vec<_>>());
        let mut chosen = vec![false; tokens];
        order[..k].iter().for_each(|i| chosen[i - first] = true);
        let mut kept = Vec::new();
        for i in first..first + tokens {
            let row = ((b * places + kept.len()) * 4) as f64;
            let (keep, place) = match (valid[i], target[i], chosen[i - first]) {
                (false, _, _) => (0.0, 0.0),
                (true, true, false) => (0.0, 1.0),
                (true, false, _) => (1.0, row + 2.0),
                (true, true, true) => (1.0, row + 3.0),
            };
            all.keep.push(keep);
            all.place.push(place);
            if keep == 1.0 {
                kept.push(i as f64);
            }
        }
        all.count.push(kept.len() as f64);
        kept.resize(places, 4_294_967_296.0);
        all.index.extend(kept);
    }
    all
}

impl Selected {
    /// Lets the kept tokens of each sample follow those of the one before, without places between; where those of each begin, and their number.
    pub fn close_up(&mut self, places: usize) -> Vec<f64> {
        let (samples, none) = (self.count.len(), 4_294_967_296.0);
        let mut starts = vec![0.0];
        for b in 0..samples {
            starts.push(starts[b] + self.count[b]);
        }
        let mut index = vec![none; samples * places];
        for b in 0..samples {
            for p in 0..self.count[b] as usize {
                index[starts[b] as usize + p] = self.index[b * places + p];
            }
        }
        let tokens = self.place.len() / samples.max(1);
        for (i, place) in self.place.iter_mut().enumerate().filter(|(_, place)| **place % 4.0 >= 2.0) {
            let b = i / tokens;
            *place += 4.0 * (starts[b] - (b * places) as f64);
        }
        self.index = index;
        starts
    }
}

/// Ends a layer for the rows of x: each token's place says what becomes of it. `on_layer`: the gate is on all that the layer adds, not
/// on m alone.
pub fn mod_combine(
    x: &Array,
    h: &[f64],
    m: &[f64],
    gate: &[f64],
    place: &[f64],
    on_layer: bool,
    scale_skipped: bool,
) -> Array {
    let len = x.shape[x.shape.len() - 1];
    let of = |(i, x): (usize, &f64)| {
        let (token, g) = (i / len, gate[i / len]);
        let (kind, row) = (place[token] % 4.0, (place[token] / 4.0).floor() as usize);
        let at = |kept: &[f64]| kept[row * len + i % len];
        match kind {
            0.0 => *x,
            1.0 if scale_skipped => g * x,
            1.0 => *x,
            2.0 => at(h) + at(m),
            _ if on_layer => x + g * (at(h) + at(m) - x),
            _ => at(h) + g * at(m),
        }
    };
    x.with(x.data.iter().enumerate().map(of).collect())
}

/// The listed rows of x, a row being its last dimension, in the shape of the list; zeros of what is no row.
pub fn mod_take(x: &Array, list: &Array) -> Array {
    let len = x.shape.last().copied().unwrap_or(1);
    let row =
        |r: &f64| x.data.get(*r as usize * len..).and_then(|v| v.get(..len)).map_or(vec![0.0; len], <[f64]>::to_vec);
    Array { shape: [&list.shape[..], &[len]].concat(), data: list.data.iter().flat_map(row).collect() }
}
