//! A decoder layer.

use super::Array;
use super::attention::{Attention, attention};
use super::linear::{Linear, linear};
use super::norm::rms_norm;
use super::prologue::{PrologueRow, RowNorm, qkv_prologue};

/// A matrix `[N,K]` and a bias `[N]`.
pub type Matrix = (Array, Option<Array>);

/// A decoder layer, its weights decoded. `None` is what a flavour does not have.
#[derive(Clone, Debug)]
pub struct DecoderLayer {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub groups: usize,
    /// Numbers of a head.
    pub d: usize,
    /// Of all norms.
    pub eps: f64,
    /// Is added to the weights of norms.
    pub offset: f64,
    /// What logits are multiplied by.
    pub scale: f64,
    /// `c·tanh(l/c)` where it is not 0.
    pub softcap: f64,
    /// Tokens before its own that a query sees.
    pub window: Option<i64>,
    /// The name of the activation.
    pub activation: &'static str,
    /// The norm before attention.
    pub attention_norm: Array,
    /// Of queries, keys and values.
    pub qkv: [Matrix; 3],
    /// Weights of RMS norms of each head of queries and of keys.
    pub qk_norm: Option<[Array; 2]>,
    /// Logits without a value.
    pub sinks: Option<Vec<f64>>,
    /// Back to the residual stream.
    pub output: Matrix,
    /// A norm of what attention adds.
    pub attention_end: Option<Array>,
    /// The norm before the feed-forward layer.
    pub mlp_norm: Array,
    /// Gate, up, down.
    pub mlp: [Matrix; 3],
    /// A norm of what the feed-forward layer adds.
    pub mlp_end: Option<Array>,
}

fn product(x: &Array, (w, bias): &Matrix, up: Option<&Array>, activation: &str) -> Array {
    let (n, bias) = (w.shape[0], bias.as_ref());
    let data = linear(&Linear { x, x_scale: None, w, up, n, bias, residual: None, row_scale: None, activation });
    Array { shape: vec![x.shape[0], n], data }
}

fn sum(a: &Array, b: &Array) -> Array {
    a.with(a.data.iter().zip(&b.data).map(|(a, b)| a + b).collect())
}

impl DecoderLayer {
    fn norm(&self, x: &Array, weight: &Array) -> Array {
        let len = weight.data.len();
        rms_norm(x, len, len, Some(weight), None, self.eps, false, self.offset, |h| h).y
    }

    /// The norm of what a branch adds, where there is one.
    fn end(&self, x: Array, weight: Option<&Array>) -> Array {
        weight.map_or_else(|| x.clone(), |weight| self.norm(&x, weight))
    }

    /// Queries or keys, normalised and turned, of tokens whose angles these are; by head.
    fn turned(&self, x: &Array, weight: Option<&Array>, (cos, sin): (&Array, &Array)) -> Array {
        let (half, heads) = (cos.shape[1], x.shape[1] / self.d);
        let weights = weight.map(|w| w.data.iter().map(|w| w + self.offset).collect::<Vec<_>>().repeat(heads));
        let of = |(t, row): (usize, &[f64])| {
            let turn = |table: &'_ Array| table.data[t * half..][..half].to_vec();
            let (cos, sin) = (turn(cos), turn(sin));
            let row_of = PrologueRow {
                width: self.d,
                add: None,
                norm: weights.is_some().then_some((RowNorm::Rms, self.eps)),
                full: false,
                weight: weights.clone().unwrap_or_default(),
                bias: vec![0.0; row.len()],
                turn: Some((&cos, &sin)),
                interleaved: false,
                before_norm: false,
            };
            qkv_prologue(row, &row_of)
        };
        let data = x.data.chunks(x.shape[1]).enumerate().flat_map(of).collect();
        Array { shape: vec![x.data.len() / self.d, self.d], data }
    }

    /// Causal attention among the tokens of `x[L,C]`, whose angles are `[L,D/2]`: what it adds to them.
    fn attended(&self, x: &Array, angles: (&Array, &Array)) -> Array {
        let (n, l) = (self.norm(x, &self.attention_norm), x.shape[0]);
        let [q, k, v] = [0, 1, 2].map(|i| product(&n, &self.qkv[i], None, "none"));
        let weight = |i: usize| self.qk_norm.as_ref().map(|w| &w[i]);
        let (q, k) = (self.turned(&q, weight(0), angles), self.turned(&k, weight(1), angles));
        let v = Array { shape: k.shape.clone(), data: v.data };
        let mixed = attention(&Attention {
            q: &q,
            k: &k,
            v: &v,
            heads: self.heads,
            queries: vec![l],
            tokens: vec![(0..l).map(Some).collect()],
            query: &|_, h, l| l * self.heads + h,
            key: &|_, g, t| t * self.groups + g,
            kv_head: &|h| h / (self.heads / self.groups),
            position: &|_, l| l as i64,
            mask: &|_, _, _, _| Some(0.0),
            scale: self.scale,
            softcap: self.softcap,
            causal: true,
            window: (self.window, None),
            prefix: &|_| 0,
            sinks: self.sinks.as_deref(),
            alibi: None,
            mix_before: None,
            mix_after: None,
        });
        let mixed = Array { shape: vec![l, self.heads * self.d], data: mixed };
        self.end(product(&mixed, &self.output, None, "none"), self.attention_end.as_ref())
    }
}

/// The tokens of one sample, `x[L,C]`, through a layer: the residual stream after attention, and what the feed-forward layer adds to it.
pub fn decoder_layer(layer: &DecoderLayer, x: &Array, angles: (&Array, &Array)) -> (Array, Array) {
    let h = sum(x, &layer.attended(x, angles));
    let n = layer.norm(&h, &layer.mlp_norm);
    let [gate, up, down] = &layer.mlp;
    let gated = product(&n, gate, Some(&up.0), layer.activation);
    let m = layer.end(product(&gated, down, None, "none"), layer.mlp_end.as_ref());
    (h, m)
}
