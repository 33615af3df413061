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

/// What the softmax makes of a query of one head.
#[derive(Clone, Debug)]
pub struct Weighed {
    /// Each key, where the head sees it.
    pub keys: Vec<Option<Seen>>,
    /// As in [`Attended`].
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

    /// What the softmax makes of query l of b, for each head and key; nothing where the head does not see it.
    pub fn weights(&self, b: usize, l: usize) -> Vec<Weighed> {
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
        let weigh = |(h, mut keys): (usize, Vec<Option<Seen>>)| {
            let lse = softmax(&mut keys, self.sinks.map(|s| s[h]));
            Weighed { keys, lse }
        };
        logits.into_iter().enumerate().map(weigh).collect()
    }

    /// Query l of b, of all heads.
    pub fn query(&self, b: usize, l: usize) -> Vec<Attended> {
        let (mut keys, lses): (Vec<_>, Vec<_>) = self.weights(b, l).into_iter().map(|w| (w.keys, w.lse)).unzip();
        if let Some(mix) = self.mix_after {
            keys = mixed(&keys, mix, |seen| seen.weight, |seen, weight| seen.weight = weight);
            // A key may be there because another head sees it.
            for (h, keys) in keys.iter_mut().enumerate() {
                let rows = self.tokens[b].iter().map(|t| t.map(|t| (self.key)(b, (self.kv_head)(h), t)));
                for (seen, row) in keys.iter_mut().zip(rows) {
                    seen.iter_mut().zip(row).for_each(|(seen, row)| seen.row = row);
                }
            }
        }
        let all = keys.into_iter().zip(lses);
        all.map(|(keys, lse)| Attended { seen: keys.into_iter().flatten().collect(), lse }).collect()
    }
}

/// Heads mixed: `y[h] = Σ m[h,i]·x[i] + bias[h]`, and magnitudes by those of m. A key that no head sees stays unseen.
fn mixed(
    heads: &[Vec<Option<Seen>>],
    (matrix, bias): HeadMix<'_>,
    get: impl Fn(&Seen) -> f64,
    set: impl Fn(&mut Seen, f64),
) -> Vec<Vec<Option<Seen>>> {
    let mix = |(h, of_head): (usize, &Vec<Option<Seen>>)| {
        let of_key = |j: usize| {
            let mut seen = of_head[j].clone().or_else(|| heads.iter().find_map(|x| x[j].clone()))?;
            let others =
                heads.iter().enumerate().filter_map(|(i, x)| Some((matrix[h * heads.len() + i], x[j].as_ref()?)));
            let sum = |of: &dyn Fn(f64, &Seen) -> f64| others.clone().map(|(m, x)| of(m, x)).sum::<f64>();
            let bias = bias.map_or(0.0, |b| b[h]);
            set(&mut seen, sum(&|m, x| m * get(x)) + bias);
            (seen.size, seen.parts) = (sum(&|m, x| m.abs() * x.size), sum(&|m, x| m.abs() * x.parts) + bias.abs());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_mixed_as_talking_heads_are() {
        // Three heads, two queries, four keys, D = 2 and E = 1; causal from position 2 on; the mask hides key 1 from head 0 and key 0 from all.
        const H: usize = 3;
        const L: usize = 2;
        const S: usize = 4;
        let number = |i: usize| (i as f64 * 0.7 + 0.3).sin();
        let data = |from: usize, n: usize| (from..from + n).map(number).collect::<Vec<_>>();
        let array = |shape: &[usize], data: Vec<f64>| Array { shape: shape.to_vec(), data };
        let q = array(&[1, H, L, 2], data(0, H * L * 2));
        let (k, v) = (array(&[1, H, S, 2], data(20, H * S * 2)), array(&[1, H, S, 1], data(50, H * S)));
        let (before, after) = (data(80, H * H), data(90, H * H));
        let (before_bias, after_bias) = (data(100, H), data(110, H));
        let hidden = |h: usize, j: usize| j == 0 || (h, j) == (0, 1);
        let added = |h: usize, l: usize, j: usize| number(200 + (h * L + l) * S + j);

        let mut want = [0.0; H * L];
        for l in 0..L {
            let keys = l + 3;
            let mut weights = [[0.0; S]; H];
            for h in 0..H {
                let mut sum = 0.0;
                for j in (0..keys).filter(|j| !hidden(h, *j)) {
                    let mut logit = before_bias[h];
                    for i in 0..H {
                        let (q, k) = (&q.data[(i * L + l) * 2..], &k.data[(i * S + j) * 2..]);
                        logit += before[h * H + i] * 0.5 * (q[0] * k[0] + q[1] * k[1]);
                    }
                    weights[h][j] = (logit + added(h, l, j)).exp();
                    sum += weights[h][j];
                }
                weights[h].iter_mut().for_each(|w| *w /= sum);
            }
            for h in 0..H {
                // A key that no head sees stays unseen, whatever the bias says.
                for j in (0..keys).filter(|j| (0..H).any(|h| !hidden(h, *j))) {
                    let mut weight = after_bias[h];
                    for i in 0..H {
                        weight += after[h * H + i] * weights[i][j];
                    }
                    want[h * L + l] += weight * v.data[h * S + j];
                }
            }
        }

        let have = attention(&Attention {
            q: &q,
            k: &k,
            v: &v,
            heads: H,
            queries: vec![L],
            tokens: vec![(0..S).map(Some).collect()],
            query: &|_, h, l| h * L + l,
            key: &|_, g, t| g * S + t,
            kv_head: &|h| h,
            position: &|_, l| l as i64 + 2,
            mask: &|_, h, l, j| (!hidden(h, j)).then(|| added(h, l, j)),
            scale: 0.5,
            softcap: 0.0,
            causal: true,
            window: (None, None),
            prefix: &|_| 0,
            sinks: None,
            alibi: None,
            mix_before: Some((&before, Some(&before_bias))),
            mix_after: Some((&after, Some(&after_bias))),
        });
        assert!(have.iter().zip(want).all(|(have, want)| (have - want).abs() < 1e-14), "{have:?} {want:?}");
    }
}
