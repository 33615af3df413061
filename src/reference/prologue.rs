//! What comes before attention.

use super::rope::rotate;

/// What a norm divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowNorm {
    /// `max(‖x‖₂, eps)`.
    L2,
    /// `sqrt(mean x² + eps)`.
    Rms,
    /// `sqrt(var x + eps)`, after the mean was subtracted.
    Layer,
}

/// Mean and factor of a row.
pub fn statistics(row: &[f64], norm: RowNorm, eps: f64) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = if norm == RowNorm::Layer { row.iter().sum::<f64>() / n } else { 0.0 };
    let squares = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
    let factor = match norm {
        // A NaN stays one: f64::max would drop it.
        RowNorm::L2 => 1.0 / if squares.sqrt() < eps { eps } else { squares.sqrt() },
        RowNorm::Rms | RowNorm::Layer => 1.0 / (squares / n + eps).sqrt(),
    };
    (mean, factor)
}

/// What becomes of the projection of a token's queries or keys.
#[derive(Clone, Debug)]
pub struct PrologueRow<'a> {
    /// Numbers of a head.
    pub width: usize,
    /// Is added first: as many as the projection has.
    pub add: Option<&'a [f64]>,
    /// The norm and its eps.
    pub norm: Option<(RowNorm, f64)>,
    /// Sums are over all heads.
    pub full: bool,
    /// By number of the projection, offset included.
    pub weight: Vec<f64>,
    /// By number of the projection.
    pub bias: Vec<f64>,
    /// Cosines and sines of the token, if it turns.
    pub turn: Option<(&'a [f64], &'a [f64])>,
    /// Pairs are neighbours.
    pub interleaved: bool,
    /// The turn comes before the norm.
    pub before_norm: bool,
}

/// A token's queries or keys, of all heads, from their projection.
pub fn qkv_prologue(x: &[f64], p: &PrologueRow<'_>) -> Vec<f64> {
    let mut row: Vec<f64> = x.iter().enumerate().map(|(i, v)| v + p.add.map_or(0.0, |add| add[i])).collect();
    let turn = |row: &mut [f64]| {
        if let Some((cos, sin)) = p.turn {
            row.chunks_mut(p.width).for_each(|head| rotate(head, cos, sin, p.interleaved));
        }
    };
    if p.before_norm {
        turn(&mut row);
    }
    if let Some((norm, eps)) = p.norm {
        let len = if p.full { row.len() } else { p.width };
        for (part, numbers) in row.chunks_mut(len).enumerate() {
            let (mean, factor) = statistics(numbers, norm, eps);
            for (i, v) in numbers.iter_mut().enumerate() {
                let at = part * len + i;
                *v = (*v - mean) * factor * p.weight[at] + p.bias[at];
            }
        }
    }
    if !p.before_norm {
        turn(&mut row);
    }
    row
}
