//! Attention.

use super::Array;

/// A matrix over heads, `[H,H]`, and what is added to each head: `[H]`.
pub type HeadMix<'a> = (&'a [f64], Option<&'a [f64]>);

/// What attention is of. Where rows lie, which keys there are and what is masked is told by functions of the element of the batch b,
/// the query head h, the key/value head g, the query l and the key j; a token is the position of a key.
pub struct Attention<'a> {
    /// Rows of D numbers.
    pub q: &'a Array,
    /// Rows of D numbers.
    pub k: &'a Array,
    /// Rows of E numbers.
    pub v: &'a Array,
    /// Query heads.
    pub heads: usize,
    /// Queries of each element of the batch.
    pub queries: Vec<usize>,
    /// The tokens that are keys of each element of the batch; where there is none, no key is.
    pub tokens: Vec<Vec<Option<usize>>>,
    /// The row of q of (b, h, l).
    pub query: &'a dyn Fn(usize, usize, usize) -> usize,
    /// The row of k and v of (b, g, token).
    pub key: &'a dyn Fn(usize, usize, usize) -> usize,
    /// The key/value head of a query head.
    pub kv_head: &'a dyn Fn(usize) -> usize,
    /// The position of (b, l).
    pub position: &'a dyn Fn(usize, usize) -> i64,
    /// What is added to the logit of (b, h, l, j); nothing where it is masked.
    pub mask: &'a dyn Fn(usize, usize, usize, usize) -> Option<f64>,
    /// What logits are multiplied by.
    pub scale: f64,
    /// `c·tanh(l/c)` where it is not 0.
    pub softcap: f64,
    /// Queries see tokens up to their position.
    pub causal: bool,
    /// How far before and after its position a query sees.
    pub window: (Option<i64>, Option<i64>),
    /// Tokens below this are seen by all queries of b, whatever `causal` and `window` say.
    pub prefix: &'a dyn Fn(usize) -> i64,
    /// A logit of each head that has no value.
    pub sinks: Option<&'a [f64]>,
    /// The slope of each head.
    pub alibi: Option<&'a [f64]>,
    /// Mixes the logits of heads, before the mask.
    pub mix_before: Option<HeadMix<'a>>,
    /// Mixes the weights of heads.
    pub mix_after: Option<HeadMix<'a>>,
}

/// A key as a query sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The row of the value.
    pub row: usize,
    /// The logit, mask included.
    pub logit: f64,
    /// What softmax makes of it, and then the mix.
    pub weight: f64,
    /// The scale times the sum of the magnitudes of the products.
    pub size: f64,
    /// The magnitude of all that was added to the logit or made of it.
    pub parts: f64,
}

/// A query of one head.
#[derive(Clone, Debug, Default)]
pub struct Attended {
    /// The keys that it sees.
    pub seen: Vec<Seen>,
    /// The logarithm of the sum of exp over its logits, sink included; −∞ where there is none.
    pub lse: f64,
}

impl Attention<'_> {
    fn sees(&self, b: usize, l: usize, token: usize) -> bool {
        let (token, position) = (token as i64, (self.position)(b, l));
        let (left, right) = self.window;
        let inside = left.is_none_or(|n| position - n <= token)
            && right.is_none_or(|n| token <= position + n)
            && !(self.causal && token > position);
        inside || token < (self.prefix)(b)
    }

    /// The logits of query l of head h before heads are mixed; nothing for a key that it does not see.
    fn logits(&self, b: usize, h: usize, l: usize) -> Vec<Option<Seen>> {
        let d = self.q.shape.last().copied().unwrap_or(1);
        let q = &self.q.data[(self.query)(b, h, l) * d..][..d];
        let of = |token: &Option<usize>| {
            let token = token.filter(|token| self.sees(b, l, *token))?;
            let row = (self.key)(b, (self.kv_head)(h), token);
            let k = &self.k.data[row * d..][..d];
            let dot: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
            let size = self.scale.abs() * q.iter().zip(k).map(|(q, k)| (q * k).abs()).sum::<f64>();
            let mut logit = self.scale * dot;
            let mut parts = logit.abs();
            if self.softcap > 0.0 {
                logit = self.softcap * (logit / self.softcap).tanh();
            }
            if let Some(alibi) = self.alibi {
                let distance = alibi[h] * ((self.position)(b, l) - token as i64).abs() as f64;
                logit -= distance;
                parts += distance.abs() + logit.abs();
            }
            Some(Seen { row, logit, weight: 0.0, size, parts })
        };
        self.tokens[b].iter().map(of).collect()
    }

    /// A row of y: `softmax(mask + mix(softcap(scale·q·kᵀ) − alibi·|p − j|))·v`. A query that sees nothing gives zeros.
    pub fn values(&self, attended: &Attended) -> Vec<f64> {
        let e = self.v.shape.last().copied().unwrap_or(1);
        let mut y = vec![0.0; e];
        for seen in &attended.seen {
            y.iter_mut().zip(&self.v.data[seen.row * e..]).for_each(|(y, v)| *y += seen.weight * v);
        }
        y
    }

    /// Query l of b, of all heads.
    pub fn query(&self, b: usize, l: usize) -> Vec<Attended> {
        let mut logits: Vec<_> = (0..self.heads).map(|h| self.logits(b, h, l)).collect();
        if let Some(mix) = self.mix_before {
            logits = mixed(&logits, mix, |seen| seen.logit, |seen, logit| seen.logit = logit);
        }
        for (h, logits) in logits.iter_mut().enumerate() {
            for (j, place) in logits.iter_mut().enumerate() {
                let Some(seen) = place else { continue };
                match (self.mask)(b, h, l, j) {
                    Some(added) => {
                        seen.logit += added;
                        seen.parts += added.abs() + seen.logit.abs();
                    }
                    None => *place = None,
                }
            }
        }
        let lses: Vec<_> = logits.iter_mut().enumerate().map(|(h, l)| softmax(l, self.sinks.map(|s| s[h]))).collect();
        if let Some(mix) = self.mix_after {
            logits = mixed(&logits, mix, |seen| seen.weight, |seen, weight| seen.weight = weight);
        }
        let all = logits.into_iter().zip(lses);
        all.map(|(seen, lse)| Attended { seen: seen.into_iter().flatten().collect(), lse }).collect()
    }
}

/// Heads mixed: `y[h] = Σ m[h,i]·x[i] + bias[h]`, where a key that no head sees stays unseen.
fn mixed(
    heads: &[Vec<Option<Seen>>],
    (matrix, bias): HeadMix<'_>,
    get: impl Fn(&Seen) -> f64,
    set: impl Fn(&mut Seen, f64),
) -> Vec<Vec<Option<Seen>>> {
    let mix = |(h, of_head): (usize, &Vec<Option<Seen>>)| {
        let of_key = |j: usize| {
            let mut seen = of_head[j].clone().or_else(|| heads.iter().find_map(|x| x[j].clone()))?;
            let of = |i: usize| matrix[h * heads.len() + i] * heads[i][j].as_ref().map_or(0.0, &get);
            set(&mut seen, (0..heads.len()).map(of).sum::<f64>() + bias.map_or(0.0, |b| b[h]));
            Some(seen)
        };
        (0..of_head.len()).map(of_key).collect()
    };
    heads.iter().enumerate().map(mix).collect()
}

/// Weights from logits; gives the logarithm of the sum.
fn softmax(keys: &mut [Option<Seen>], sink: Option<f64>) -> f64 {
    let logits = || keys.iter().flatten().map(|seen| seen.logit).chain(sink);
    // A NaN makes NaN of the sum.
    let largest = logits().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY && logits().all(|l| !l.is_nan()) {
        return largest;
    }
    let sum: f64 = logits().map(|l| (l - largest).exp()).sum();
    for seen in keys.iter_mut().flatten() {
        seen.weight = (seen.logit - largest).exp() / sum;
    }
    largest + sum.ln()
}

/// The rows of y, in the order of those of q.
pub fn attention(a: &Attention<'_>) -> Vec<f64> {
    let e = a.v.shape.last().copied().unwrap_or(1);
    let d = a.q.shape.last().copied().unwrap_or(1);
    let mut y = vec![0.0; a.q.data.len() / d * e];
    for (b, queries) in a.queries.iter().enumerate() {
        for l in 0..*queries {
            for (h, attended) in a.query(b, l).into_iter().enumerate() {
                y[(a.query)(b, h, l) * e..][..e].copy_from_slice(&a.values(&attended));
            }
        }
    }
    y
}
