//! Attention: every two features together in shapes that hurt, those that models have together, and the layers of real models.

use super::cover::pairs;
use super::making::Making;
use super::{Arrays, Case, Fill, Input, Output, Stored, User, codes_named, hand};
use crate::error::{Error, Result};
use crate::kv::{KvFormat, KvRows, Place};
use crate::ops::attention::{Attention, HeadMix, Order};
use crate::proof::{Attrs, Expected, Roles, Value};
use crate::reference::{self, Array};
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["attention"];

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    let named = |name: &'static str, value: &str, rule| Err(Error::Value { op, name, value: value.to_owned(), rule });
    let order = match a.text("order", "heads") {
        "heads" => Order::HeadsFirst,
        "tokens" => Order::TokensFirst,
        other => return named("order", other, "it must be heads or tokens"),
    };
    let place = match a.text("place", "heads") {
        "heads" => Place::Heads,
        "tokens" => Place::Tokens,
        "paged" => Place::Paged { table: r.need("table")?, page: a.needed("page") as usize },
        other => return named("place", other, "it must be heads, tokens or paged"),
    };
    // −1 is no limit.
    let window = |name| Some(a.number(name, -1.0)).filter(|n| *n >= 0.0).map(|n| n as u32);
    let number = |name| a.number(name, -1.0);
    let rows = |role: &'static str| {
        let (tensor, name) = (r.need(role)?, a.text(role, "dense"));
        let Some(format) = codes_named(name) else { return KvRows::of(tensor) };
        let width = r.need(if role == "k" { "q" } else { "y" })?.shape().dims().last().copied().unwrap_or(1);
        KvRows::over(tensor, format, tensor.bytes() as usize / format.row_bytes(width).max(1), width)
    };
    let (k, v) = (rows("k")?, rows("v")?);
    let mix = |matrix, bias| r.maybe(matrix).map(|matrix| HeadMix { matrix, bias: r.maybe(bias) });
    let op = Attention {
        lse: r.maybe("lse"),
        order,
        place,
        kv_heads: Some(number("kv_heads")).filter(|n| *n >= 0.0).map(|n| n as usize),
        mask: r.maybe("mask"),
        kv_len: r.maybe("kv_len"),
        q_len: r.maybe("q_len"),
        longest: Some(number("longest")).filter(|n| *n >= 0.0).map(|n| n as usize),
        causal: a.flag("causal", false),
        offset: a.number("causal_offset", 0.0) as i32,
        offsets: r.maybe("causal_offset"),
        positions: r.maybe("positions"),
        window_left: window("window_left"),
        window_right: window("window_right"),
        prefix: r.maybe("prefix"),
        list: r.maybe("list"),
        sinks: r.maybe("sinks"),
        alibi: r.maybe("alibi"),
        softcap: a.number("softcap", 0.0) as f32,
        bound: attrs.0.get("bound").map(|_| a.needed("bound") as f32),
        scale: attrs.0.get("scale").map(|_| a.needed("scale") as f32),
        gain: r.maybe("gain"),
        kv_head: r.maybe("kv_head"),
        q_starts: r.maybe("q_starts"),
        k_starts: r.maybe("k_starts"),
        mix_before: mix("mix_before", "mix_before_bias"),
        mix_after: mix("mix_after", "mix_after_bias"),
        ..Attention::new(r.need("q")?, &k, &v, r.need("y")?)
    };
    hand(&a, &r, user, &op)
}

/// The relative error of one f32 operation.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// Its mask is of bytes.
fn bytes(case: &Case) -> bool {
    case.inputs.iter().any(|i| i.role == "mask" && i.stored == Stored::Always(Elem::U8))
}

/// Reads what a case is and hands its reference over.
fn with_reference<T>(
    case: &Case,
    arrays: &Arrays,
    then: impl FnOnce(&reference::Attention<'_>) -> Result<T>,
) -> Result<T> {
    let a = case.attrs.reader(case.op);
    let nothing = Array { shape: vec![0, 0, 0, 1], data: Vec::new() };
    let get = |role: &str| arrays.get(role).unwrap_or(&nothing);
    let list = |role: &str| arrays.get(role).map(|a| a.data.as_slice());
    let whole = |role: &str, i: usize| list(role).map(|l| l[i] as i64);
    let (q, k, v) = (get("q"), get("k"), get("v"));
    let tokens_first = a.text("order", "heads") == "tokens";
    let place = a.text("place", "heads");
    let page = a.number("page", 1.0) as usize;
    let q_starts = list("q_starts");
    let k_starts = list("k_starts");
    let (batch, heads, longest) = match (q.shape.as_slice(), q_starts) {
        (&[t, h, _], Some(starts)) => (starts.len() - 1, h, t),
        (&[b, x, y, _], _) => {
            if tokens_first {
                (b, y, x)
            } else {
                (b, x, y)
            }
        }
        _ => (0, 1, 0),
    };
    let (kv_heads, room) = match (k.shape.as_slice(), place) {
        (&[_, g, page, _], "paged") => (g, get("table").shape[1] * page),
        (&[t, g, _], _) => (g, t),
        (&[_, s, g, _], "tokens") | (&[_, g, s, _], _) => (g, s),
        _ => (1, 0),
    };
    let queries: Vec<usize> = match q_starts {
        Some(starts) => starts.windows(2).map(|w| (w[1] - w[0]) as usize).collect(),
        None => vec![longest; batch],
    };
    let query = |b: usize, h: usize, l: usize| match q_starts {
        Some(starts) => (starts[b] as usize + l) * heads + h,
        None if tokens_first => (b * longest + l) * heads + h,
        None => (b * heads + h) * longest + l,
    };
    let key = |b: usize, g: usize, token: usize| match (place, k_starts) {
        ("paged", _) => {
            let number = get("table").data[b * (room / page) + token / page] as usize;
            (number * kv_heads + g) * page + token % page
        }
        (_, Some(starts)) => (starts[b] as usize + token) * kv_heads + g,
        ("tokens", _) => (b * room + token) * kv_heads + g,
        _ => (b * kv_heads + g) * room + token,
    };
    let tokens = (0..batch).map(|b| {
        let listed = arrays.get("list").map(|l| {
            let n = l.shape[1];
            l.data[b * n..][..n].to_vec()
        });
        let of_k = k_starts.map_or(room, |starts| (starts[b + 1] - starts[b]) as usize);
        let mut all = listed.unwrap_or_else(|| (0..of_k).map(|t| t as f64).collect());
        if let Some(n) = whole("kv_len", b) {
            all.truncate(n.max(0) as usize);
        }
        all.into_iter().map(|t| (t >= 0.0).then_some(t as usize).filter(|t| *t < of_k)).collect()
    });
    let tokens: Vec<Vec<Option<usize>>> = tokens.collect();
    let first = |b: usize| q_starts.map_or(b * longest, |s| s[b] as usize);
    let offset = a.number("causal_offset", 0.0) as i64;
    let position = |b: usize, l: usize| {
        whole("positions", first(b) + l).unwrap_or(l as i64 + whole("causal_offset", b).unwrap_or(offset))
    };
    let of_mask = |at: [usize; 4]| {
        let mask = get("mask");
        let from = 4 - mask.shape.len();
        let index = mask.shape.iter().zip(&at[from..]).fold(0, |i, (n, at)| i * n + if *n == 1 { 0 } else { *at });
        mask.data[index]
    };
    let bytes = bytes(case);
    let mask = |b: usize, h: usize, l: usize, j: usize| {
        if whole("q_len", b).is_some_and(|n| l as i64 >= n) {
            return None;
        }
        if !arrays.contains_key("mask") {
            return Some(0.0);
        }
        let value = of_mask([b, h, l, j]);
        if bytes { (value != 0.0).then_some(0.0) } else { Some(value).filter(|v| *v != f64::NEG_INFINITY) }
    };
    let kv_head = |h: usize| whole("kv_head", h).map_or(h / (heads / kv_heads), |g| g as usize);
    let d = q.shape.last().copied().unwrap_or(1);
    let scale = match case.attrs.0.get("scale") {
        Some(Value::Number(scale)) => *scale as f32,
        _ => (1.0 / (d as f64).sqrt()) as f32,
    };
    let window = |name| Some(a.number(name, -1.0) as i64).filter(|n| *n >= 0);
    let prefix = |b: usize| whole("prefix", b).unwrap_or(0);
    let mix = |matrix, bias| list(matrix).map(|matrix| (matrix, list(bias)));
    then(&reference::Attention {
        q,
        k,
        v,
        heads,
        queries,
        tokens,
        query: &query,
        key: &key,
        kv_head: &kv_head,
        position: &position,
        mask: &mask,
        scale: list("gain").map_or(f64::from(scale), |g| g[0]),
        softcap: f64::from(a.number("softcap", 0.0) as f32),
        causal: a.flag("causal", false),
        window: (window("window_left"), window("window_right")),
        prefix: &prefix,
        sinks: list("sinks"),
        alibi: list("alibi"),
        mix_before: mix("mix_before", "mix_before_bias"),
        mix_after: mix("mix_after", "mix_after_bias"),
    })
}

pub(super) fn expected(case: &Case, arrays: &Arrays, storage: Elem) -> Result<Vec<Expected>> {
    with_reference(case, arrays, |a| {
        let e = a.v.shape.last().copied().unwrap_or(1);
        let numbers = a.q.data.len() / a.q.shape.last().copied().unwrap_or(1) * e;
        let mut y = Expected::new("y", vec![0.0; numbers], vec![0.0; numbers]);
        y.rounded = y.bound.clone();
        // Of many queries the reference answers some, an odd number apart so that they lie anywhere in tiles.
        let every = (case.flops / REFERENCE_FLOPS) as usize / 2 * 2 + 1;
        let stats = case.outputs.iter().find(|o| o.role == "lse").map_or(0, |o| o.shape.iter().product());
        let mut lse = Expected::new("lse", vec![0.0; stats], vec![0.0; stats]);
        lse.rounded = lse.bound.clone();
        let ragged = arrays.contains_key("q_starts");
        let float_mask = arrays.contains_key("mask") && !bytes(case);
        let bounded = a.softcap > 0.0 || case.attrs.0.contains_key("bound");
        let mixed = a.mix_before.is_some() || a.mix_after.is_some();
        let bounded = bounded && a.alibi.is_none() && !float_mask && !mixed;
        // A bound may be wrong: of what is too far from it NaN comes.
        let lies = bounded && case.attrs.0.contains_key("bound");
        let exact = Loss { bounded, ..Loss::NONE };
        let halved = Loss { bounded, ..Loss::halved(case, a, storage) };
        if every > 1 {
            y.unknown = vec![true; numbers];
            lse.unknown = vec![true; stats];
        }
        for (b, queries) in a.queries.iter().enumerate() {
            for l in (0..*queries).step_by(every) {
                let mixed = a.mix_after.map(|mix| MixedErrors::of(a, mix, &a.weights(b, l)));
                for (h, attended) in a.query(b, l).into_iter().enumerate() {
                    let row = (a.query)(b, h, l);
                    let lies = lies && attended.seen.iter().any(|seen| seen.logit.abs() > 64.0);
                    if lies {
                        y.want[row * e..][..e].fill(f64::NAN);
                    } else {
                        y.want[row * e..][..e].copy_from_slice(&a.values(&attended));
                    }
                    if every > 1 {
                        y.unknown[row * e..][..e].fill(false);
                    }
                    let want = &y.want[row * e..][..e];
                    let (error, rounded) = match &mixed {
                        None => (
                            bound(a, h, &attended, &exact, (want, &mut y.bound[row * e..][..e])),
                            bound(a, h, &attended, &halved, (want, &mut y.rounded[row * e..][..e])),
                        ),
                        // No plan rounds operands.
                        Some(mixed) => {
                            mixed.bound(a, h, &attended, &mut y.bound[row * e..][..e]);
                            y.rounded[row * e..][..e].copy_from_slice(&y.bound[row * e..][..e]);
                            (mixed.lse[h], mixed.lse[h])
                        }
                    };
                    let stat = if ragged { row } else { (b * a.heads + h) * queries + l };
                    if stat < stats {
                        if every > 1 {
                            lse.unknown[stat] = false;
                        }
                        let want = if lies { f64::NAN } else { attended.lse };
                        (lse.want[stat], lse.bound[stat], lse.rounded[stat]) = (want, error, rounded);
                    }
                }
            }
        }
        Ok(if stats > 0 { vec![y, lse] } else { vec![y] })
    })
}

/// Of `queries` queries and `keys` keys of a head: how many pairs see each other by `causal` and the window, and how many keys some query sees.
fn seen(attrs: &Attrs, queries: usize, keys: usize) -> [u64; 2] {
    let a = attrs.reader(OPS[0]);
    let (causal, offset) = (a.flag("causal", false), a.number("causal_offset", 0.0) as i64);
    let side = |name| Some(a.number(name, -1.0) as i64).filter(|n| *n >= 0);
    let (left, right) = (side("window_left"), side("window_right"));
    let (mut pairs, mut first, mut end) = (0, keys as i64, 0);
    for position in (0..queries as i64).map(|l| l + offset) {
        let from = left.map_or(0, |n| position - n).max(0);
        let to = right.map_or(keys as i64, |n| position + n + 1).min(keys as i64);
        let to = if causal { to.min(position + 1) } else { to };
        if from < to {
            (pairs, first, end) = (pairs + (to - from) as u64, first.min(from), end.max(to));
        }
    }
    [pairs, (end - first).max(0) as u64]
}

/// The bytes of keys and values that no query sees; where more than numbers tells which those are, none.
pub(super) fn unread_bytes(case: &Case, storage: Elem) -> u64 {
    let [q, k, v] = case.inputs.as_slice() else { return 0 };
    let dimension = |name, first: &str| if case.attrs.reader(case.op).text(name, "heads") == first { 1 } else { 2 };
    let (of_queries, of_keys) = (dimension("order", "tokens"), dimension("place", "tokens"));
    let size = |input: &Input, at: usize| input.shape.get(at).copied().unwrap_or(0);
    let [_, keys] = seen(&case.attrs, size(q, of_queries), size(k, of_keys));
    let bytes = |input: &Input| {
        let of = |shape: &[usize]| input.stored.elements(shape) * input.stored.elem(storage).bytes();
        let mut read = input.shape.clone();
        read.iter_mut().skip(of_keys).take(1).for_each(|n| *n = keys as usize);
        (of(&input.shape) - of(&read)) as u64
    };
    bytes(k) + bytes(v)
}

/// What the reference computes at most for a case, or not much more.
const REFERENCE_FLOPS: u64 = 2_000_000_000;

/// What is lost before f32 sums are made.
struct Loss {
    /// Of a product of a query and a key, by the size of it.
    dot: f64,
    /// And whatever its size.
    dot_lost: f64,
    /// Of a weight, of itself.
    weight: f64,
    /// And of the largest of its row.
    weight_lost: f64,
    /// Of a value, of itself.
    value: f64,
    /// And whatever its size.
    value_lost: f64,
    /// Units in the last place of a sum, for each number that is added to it.
    added: f64,
    /// A plan may take exp of logits as they are.
    bounded: bool,
}

impl Loss {
    /// By plans that take operands as they are stored.
    const NONE: Self = Self {
        dot: 0.0,
        dot_lost: 0.0,
        weight: 0.0,
        weight_lost: 0.0,
        value: 0.0,
        value_lost: 0.0,
        added: 0.0,
        bounded: false,
    };

    /// By those that make them f16, in the range of f16 by powers of two: what is stored in 16 bits passes as it is, other numbers are rounded,
    /// or cut off by 2^-10 of themselves. What is below 2^-23 of the largest that shares its power may be lost: a query shares it
    /// with its row, keys with those of a tile, values with all, weights with their row. Additions are in any order, and may cut off.
    fn halved(case: &Case, a: &reference::Attention<'_>, storage: Elem) -> Self {
        let error = |role: &str| {
            let input = case.inputs.iter().find(|i| i.role == role);
            let exact = match input.map(|i| i.stored) {
                Some(Stored::Kv(format)) => format.elem().is_some_and(|elem| elem != Elem::F32),
                stored => stored.map_or(storage, |s| s.elem(storage)) != Elem::F32,
            };
            if exact { 0.0 } else { 2f64.powi(-10) }
        };
        let largest = |of: &Array| of.data.iter().filter(|v| v.is_finite()).fold(0.0f64, |most, v| most.max(v.abs()));
        let lost = 2f64.powi(-23);
        let d = a.q.shape.last().copied().unwrap_or(1) as f64;
        let (q, k) = (error("q"), error("k"));
        Self {
            dot: q + k + q * k,
            dot_lost: 2.0 * lost * a.scale.abs() * d * largest(a.q) * largest(a.k),
            weight: 2f64.powi(-10),
            weight_lost: lost,
            value: error("v"),
            value_lost: lost * largest(a.v),
            added: 2.0,
            bounded: false,
        }
    }
}

/// How far a logit may be off, and then its weight, where the largest logit of n is `top`.
///
/// The error of a logit is that of its dot product, which is summed by quads, and of what is added to it, each of which is rounded with
/// the logit; tanh is within 64 units of the last place. Where heads are mixed before the softmax, the errors of their logits add up with
/// the magnitudes of the matrix, which the sizes and parts are sums of already; each of H products is rounded, and each sum. exp(x) is within 3 + 2|x| units of the last place by the specification of WGSL,
/// and x itself is rounded; where the largest logit grows, the sums so far are multiplied by another exp, whose arguments add up to x. So
/// the relative error of a weight follows, but no weight is above 1.
///
/// Where logits are bounded, exp may be taken of them as they are: x is the further of both.
fn errors(
    a: &reference::Attention<'_>,
    h: usize,
    seen: &reference::Seen,
    (top, n): (f64, f64),
    loss: &Loss,
) -> [f64; 2] {
    let d = a.q.shape.last().copied().unwrap_or(1);
    let of_heads =
        a.mix_before.map(|(matrix, _)| matrix[h * a.heads..][..a.heads].iter().map(|m| m.abs()).sum::<f64>());
    let rounded = of_heads.map_or(0.0, |_| a.heads as f64 + 2.0);
    let capped = if a.softcap > 0.0 { 64.0 * U * (a.softcap * of_heads.unwrap_or(1.0)).min(seen.parts) } else { 0.0 };
    // Beside the lowest number a logit is lost, in f64 as in f32.
    let parts = if seen.parts > 1e30 { 0.0 } else { seen.parts };
    let sums = d as f64 / 4.0 + 8.0 + loss.added * d as f64;
    let logit = (sums * U + loss.dot) * seen.size + loss.dot_lost + (4.0 + rounded) * U * parts + capped;
    let exp = exp_error(seen.logit, (top, n), loss);
    [logit + exp, seen.weight.max(1e-44) * (logit + exp).exp_m1()]
}

/// The relative error of exp of a logit, and of what the largest of n logits makes of it as it grows.
fn exp_error(logit: f64, (top, n): (f64, f64), loss: &Loss) -> f64 {
    let x = if loss.bounded { logit.abs().max((logit - top).abs()) } else { logit - top };
    U * (6.0 + 5.0 * x.clamp(-104.0, 104.0).abs()) + 8.0 * U * (n / 16.0 + 4.0)
}

/// How far the numbers of a row may be off, and its lse.
///
/// y is off by the error of each weight times how far its value may be from y. Then come the sums over the keys, in any order, and the
/// quotient. lse is off by no more than the largest error of a logit. log is within 2^-21, or 3 units of the last place.
///
/// Where logits are bounded, log may be of a sum that is far from 1, and is off by those 3 units of the last place of lse; and what is below the
/// smallest number in f32 is lost of each product.
fn bound(
    a: &reference::Attention<'_>,
    h: usize,
    row: &reference::Attended,
    loss: &Loss,
    (y, bound): (&[f64], &mut [f64]),
) -> f64 {
    let e = y.len();
    let n = row.seen.len() as f64;
    let sink = a.sinks.map(|sinks| sinks[h]);
    let top = row.seen.iter().map(|s| s.logit).chain(sink).fold(f64::NEG_INFINITY, f64::max);
    let mut weights = 0.0; // the sum of the errors of weights
    let mut logits = 0.0f64; // the largest error of a logit
    let mut sizes = vec![0.0; e];
    // The sink is in no matrix: what is lost of weights is of the largest of those that have values.
    let most = row.seen.iter().map(|s| s.weight).fold(0.0, f64::max);
    for seen in &row.seen {
        let [logit, error] = errors(a, h, seen, (top, n), loss);
        // What the matrices lose of a weight, its sum does not.
        let lost = loss.weight * seen.weight + loss.weight_lost * most;
        let error = if loss.added > 0.0 { error.min(1.0) } else { error };
        weights += error;
        logits = logits.max(logit);
        for (i, v) in a.v.data[seen.row * e..][..e].iter().enumerate() {
            sizes[i] += seen.weight * v.abs();
            bound[i] += error * (v.abs() + y[i].abs()) + (lost + (seen.weight + error) * loss.value) * v.abs();
        }
    }
    if let Some(sink) = sink {
        let error = (sink - row.lse).exp() * exp_error(sink, (top, n), loss);
        weights += error;
        bound.iter_mut().zip(y).for_each(|(bound, y)| *bound += error * y.abs());
    }
    let mut log = 4.0 * U * row.lse.abs();
    if row.seen.is_empty() {
        bound.fill(0.0);
    } else {
        if loss.bounded {
            log += 6.0 * U * row.lse.abs();
            let largest = row.seen.iter().map(|s| s.logit).fold(f64::NEG_INFINITY, f64::max);
            let lost = n * f64::from(f32::MIN_POSITIVE) * (-largest).max(0.0).exp();
            bound.iter_mut().for_each(|bound| *bound += lost);
        }
        for (i, bound) in bound.iter_mut().enumerate() {
            *bound += (n + 16.0) * U * (1.0 + loss.added) * (sizes[i] + y[i].abs()) + loss.value_lost;
        }
    }
    let weights = if loss.added > 0.0 { weights.min(logits) } else { weights };
    if row.lse == f64::NEG_INFINITY { 0.0 } else { weights + (n + 16.0) * U + 2f64.powi(-20) + log }
}

/// How far the weights of a query may be off before heads are mixed after the softmax, and what the mix makes of it.
struct MixedErrors<'a> {
    mix: reference::HeadMix<'a>,
    /// The weight of each head and key, and its error; nothing where no head sees the key.
    weights: Vec<Vec<Option<[f64; 2]>>>,
    /// The errors of lse.
    lse: Vec<f64>,
}

impl<'a> MixedErrors<'a> {
    /// A weight is that of [`errors`], divided by a sum: which is off by the errors of all weights, and by those of its additions.
    fn of(a: &reference::Attention<'_>, mix: reference::HeadMix<'a>, heads: &[reference::Weighed]) -> Self {
        let (mut weights, mut lse) = (Vec::new(), Vec::new());
        for (h, head) in heads.iter().enumerate() {
            let row = reference::Attended { seen: head.keys.iter().flatten().cloned().collect(), lse: head.lse };
            let of_lse = bound(a, h, &row, &Loss::NONE, (&[], &mut []));
            let (sink, n) = (a.sinks.map(|sinks| sinks[h]), row.seen.len() as f64);
            let top = row.seen.iter().map(|s| s.logit).chain(sink).fold(f64::NEG_INFINITY, f64::max);
            // What lse is off by is what the logarithm of the sum is.
            let of_key = |key: &Option<reference::Seen>| {
                key.as_ref().map(|s| [s.weight, errors(a, h, s, (top, n), &Loss::NONE)[1] + s.weight * of_lse.exp_m1()])
            };
            weights.push(head.keys.iter().map(of_key).collect());
            lse.push(of_lse);
        }
        Self { mix, weights, lse }
    }

    /// y is off by what each mixed weight is, times its value; a mixed weight by the errors of the weights times the magnitudes of the matrix,
    /// and by H products and sums. Then come the sums over the keys.
    fn bound(&self, a: &reference::Attention<'_>, h: usize, row: &reference::Attended, bound: &mut [f64]) {
        let (e, count, n) = (bound.len(), a.heads, row.seen.len() as f64);
        let (matrix, bias) = (&self.mix.0[h * count..][..count], self.mix.1.map_or(0.0, |b| b[h].abs()));
        let keys = self.weights.first().map_or(0, Vec::len);
        let seen = (0..keys).filter(|j| self.weights.iter().any(|of_head| of_head[*j].is_some()));
        for (j, seen) in seen.zip(&row.seen) {
            let of_heads = matrix.iter().zip(&self.weights).filter_map(|(m, of_head)| Some((m.abs(), of_head[j]?)));
            let (size, error) =
                of_heads.fold((bias, 0.0), |(size, error), (m, [weight, off])| (size + m * weight, error + m * off));
            let all = error + (count as f64 + 3.0 + n + 16.0) * U * size;
            for (bound, v) in bound.iter_mut().zip(&a.v.data[seen.row * e..]) {
                *bound += all * v.abs();
            }
        }
    }
}

/// Every storage of activations.
const FLOATS: [Elem; 3] = [Elem::F32, Elem::F16, Elem::Bf16];
const ONE: &[Elem] = &[Elem::F32];
const F16: &[Elem] = &[Elem::F16];
const I32: Stored = Stored::Always(Elem::I32);
const F32: Stored = Stored::Always(Elem::F32);
const BYTES: Stored = Stored::Always(Elem::U8);
const NORMAL: Fill = Fill::Normal { mean: 0.0, deviation: 1.0 };
/// Products of hundreds of them are 1e5.
const WIDE: Fill = Fill::Normal { mean: 0.0, deviation: 100.0 };
/// Products of 64 are 1.
const EIGHTH: Fill = Fill::Constant(0.125);

/// B, H, G, L, S, D, E.
type Sizes = [usize; 7];

/// A case in the making.
struct Make(Box<Case>, Sizes);

impl Making for Make {
    fn case(&mut self) -> &mut Case {
        &mut self.0
    }

    fn done(self) -> Case {
        *self.0
    }
}

impl Make {
    fn new(name: &str, sizes: Sizes) -> Self {
        let [b, h, g, l, s, d, e] = sizes;
        let input =
            |role, shape: &[usize]| Input { role, shape: shape.to_vec(), fill: NORMAL, stored: Stored::Activation };
        Self(
            Box::new(Case {
                name: format!("attention/{name}"),
                op: "attention",
                title: format!("{l} queries of {h} heads, {s} keys of {g}, D = {d}"),
                model: "",
                phase: "",
                attrs: Attrs::default(),
                inputs: vec![input("q", &[b, h, l, d]), input("k", &[b, g, s, d]), input("v", &[b, g, s, e])],
                weights: Vec::new(),
                outputs: vec![Output { role: "y", shape: vec![b, h, l, e], stored: Stored::Activation }],
                storages: vec![Elem::F32],
                real: false,
                skew: 0,
                flops: 2 * (b * h * l * s * (d + e)) as u64,
            }),
            sizes,
        )
    }

    fn input(mut self, role: &'static str, shape: &[usize], stored: Stored, fill: Fill) -> Self {
        self.0.inputs.push(Input { role, shape: shape.to_vec(), fill, stored });
        self
    }

    fn causal(self) -> Self {
        self.attr("causal", true)
    }

    /// With the operations of what queries see alone.
    fn counted(mut self) -> Self {
        let [b, h, _, l, s, d, e] = self.1;
        let [pairs, _] = seen(&self.0.attrs, l, s);
        self.0.flops = 2 * (b * h * (d + e)) as u64 * pairs;
        self
    }

    fn window(self, left: i32, right: i32) -> Self {
        self.attr("window_left", f64::from(left)).attr("window_right", f64::from(right))
    }

    fn softcap(self, cap: f64) -> Self {
        self.attr("softcap", cap)
    }

    /// Queries and keys of at most unit norm, and what their products are multiplied by.
    fn unit(self, gain: f32) -> Self {
        let most = (self.1[5] as f32).sqrt().recip();
        let rows = Fill::Uniform(-most, most);
        self.fill("q", rows).fill("k", rows).input("gain", &[1], F32, Fill::Constant(gain))
    }

    fn sinks(self) -> Self {
        let h = self.1[1];
        self.input("sinks", &[h], Stored::Activation, NORMAL)
    }

    fn alibi(self) -> Self {
        let h = self.1[1];
        self.input("alibi", &[h], F32, Fill::Steps { first: 0.5, step: -0.5 / h as f32 })
    }

    fn kv_len(self, fill: Fill) -> Self {
        let b = self.1[0];
        self.input("kv_len", &[b], I32, fill)
    }

    /// Heads mixed by matrices of such roles, those of MiniViT without a bias.
    fn mixed(mut self, roles: &[&'static str]) -> Self {
        let h = self.1[1];
        for role in roles {
            let shape = if role.ends_with("bias") { vec![h] } else { vec![h, h] };
            self = self.input(role, &shape, Stored::Activation, Fill::Normal { mean: 0.0, deviation: 0.5 });
        }
        self
    }

    fn lse(mut self) -> Self {
        let [b, h, _, l, ..] = self.1;
        self.0.outputs.push(Output { role: "lse", shape: vec![b, h, l], stored: F32 });
        self
    }

    /// q and y by tokens.
    fn tokens_first(mut self) -> Self {
        self.0.inputs[0].shape.swap(1, 2);
        self.0.outputs[0].shape.swap(1, 2);
        self.attr("order", "tokens")
    }

    /// Keys and values by tokens.
    fn place_tokens(mut self) -> Self {
        self.0.inputs[1].shape.swap(1, 2);
        self.0.inputs[2].shape.swap(1, 2);
        self.attr("place", "tokens")
    }

    /// Keys and values on pages; there is room for as many as fill them.
    fn paged(mut self, page: usize) -> Self {
        let [b, _, g, _, s, d, e] = self.1;
        let pages = s.div_ceil(page);
        self.1[4] = pages * page;
        self.0.inputs[1].shape = vec![b * pages + 1, g, page, d];
        self.0.inputs[2].shape = vec![b * pages + 1, g, page, e];
        self.attr("place", "paged").attr("page", page as f64).input("table", &[b, pages], I32, Fill::Shuffled)
    }

    /// Keys and values as codes.
    fn kv(mut self, k: KvFormat, v: KvFormat) -> Self {
        self.0.inputs[1].stored = Stored::Kv(k);
        self.0.inputs[2].stored = Stored::Kv(v);
        let heads = self.1[2] as f64;
        self.attr("k", k.name()).attr("v", v.name()).attr("kv_heads", heads)
    }
}

/// What a case has beside queries, keys and values: a method of [`Make`], as data.
#[derive(Clone, Copy)]
enum With {
    Causal,
    Window(i32, i32),
    Unit(f32),
    Sinks,
    Alibi,
    Lse,
    TokensFirst,
    PlaceTokens,
    Paged(usize),
    Kv(KvFormat, KvFormat),
    KvLen(Fill),
    Mixed(&'static [&'static str]),
    /// A number of the op.
    Number(&'static str, f64),
    /// An input.
    Has(&'static str, &'static [usize], Stored, Fill),
    /// Another filling of an input.
    Filled(&'static str, Fill),
}

use With::{
    Alibi, Causal, Filled, Has, Kv, KvLen, Lse, Mixed, Number, Paged, PlaceTokens, Sinks, TokensFirst, Unit, Window,
};

/// Name, sizes, what else it has, storages, and what hurts.
type Row = (&'static str, Sizes, &'static [With], &'static [Elem], &'static str);

fn case_of((name, sizes, with, storages, hurts): Row) -> Case {
    let mut case = Make::new(name, sizes);
    for with in with {
        case = match *with {
            Causal => case.causal(),
            Window(left, right) => case.window(left, right),
            Unit(gain) => case.unit(gain),
            Sinks => case.sinks(),
            Alibi => case.alibi(),
            Lse => case.lse(),
            TokensFirst => case.tokens_first(),
            PlaceTokens => case.place_tokens(),
            Paged(page) => case.paged(page),
            Kv(k, v) => case.kv(k, v),
            KvLen(fill) => case.kv_len(fill),
            Mixed(roles) => case.mixed(roles),
            Number(name, v) => case.attr(name, v),
            Has(role, shape, stored, fill) => case.input(role, shape, stored, fill),
            Filled(role, fill) => case.fill(role, fill),
        };
    }
    case.storages(storages).hurts(hurts)
}

/// Shapes that hurt: ratios of heads of 1, 3, 4 and 8, rows that are no quads, one query and one key.
const SHAPES: [Sizes; 12] = [
    [1, 1, 1, 1, 1, 8, 8],
    [2, 4, 4, 7, 13, 8, 24],
    [1, 6, 2, 33, 33, 24, 24],
    [2, 3, 1, 1, 70, 33, 33],
    [1, 8, 2, 5, 64, 64, 64],
    [1, 8, 1, 1, 67, 64, 80],
    [1, 2, 2, 37, 37, 80, 33],
    [2, 4, 1, 3, 31, 128, 128],
    [1, 4, 4, 1, 65, 128, 64],
    [1, 3, 1, 17, 29, 256, 256],
    [1, 2, 1, 2, 34, 512, 512],
    [1, 16, 2, 9, 40, 40, 72],
];

/// Every two of: a shape, the order of q, the place of keys, masks, lengths, and so on.
fn covered() -> Vec<Case> {
    let levels = [SHAPES.len(), 2, 3, 4, 2, 2, 3, 4, 2, 2, 2, 2, 2, 2, 3, 2, 2, 3, 2];
    let make = |(number, at): (usize, Vec<usize>)| {
        let sizes = SHAPES[at[0]];
        let mut case = Make::new(&format!("pairs-{number}"), sizes).storages(&[FLOATS[at[17]]]);
        if at[1] == 1 {
            case = case.tokens_first();
        }
        case = match at[2] {
            0 => case,
            1 => case.place_tokens(),
            _ => case.paged([1, 3, 16][number % 3]),
        };
        let [b, h, g, l, s, ..] = case.1;
        let positions = Fill::Uniform(0.0, s as f32 + 1.0);
        let mut keys = s;
        if at[10] == 1 {
            keys = s / 2 + 1;
            case = case.input("list", &[b, keys], I32, Fill::Uniform(-1.0, s as f32 - 1.0));
        }
        let bytes = Stored::Always(Elem::U8);
        case = match at[3] {
            0 => case,
            1 => case.input("mask", &[b, 1, l, keys], Stored::Activation, Fill::Hiding),
            2 => case.input("mask", &[h, 1, keys], F32, NORMAL),
            _ => case.input("mask", &[b, 1, 1, keys], bytes, Fill::Uniform(0.0, 1.4)),
        };
        if at[4] == 1 {
            case = case.kv_len(Fill::Uniform(0.0, keys as f32)).attr("longest", keys as f64);
        }
        if at[5] == 1 {
            case = case.causal();
        }
        case = match at[6] {
            0 => case,
            1 => case.attr("causal_offset", (s / 2) as f64),
            _ => case.input("causal_offset", &[b], I32, Fill::Uniform(-1.0, s as f32)),
        };
        case = match at[7] {
            0 => case,
            1 => case.window(5, -1),
            2 => case.window(-1, 3),
            _ => case.window(20, 0),
        };
        if at[8] == 1 {
            case = case.input("prefix", &[b], I32, Fill::Uniform(-1.0, s as f32 / 2.0));
        }
        if at[9] == 1 {
            case = case.input("positions", &[b, l], I32, positions);
        }
        if at[11] == 1 {
            case = case.sinks();
        }
        if at[12] == 1 {
            case = case.alibi();
        }
        if at[13] == 1 {
            case = case.softcap(5.0);
        }
        case = match at[14] {
            0 => case,
            1 => case.attr("scale", 0.3),
            _ => case.input("gain", &[1], F32, Fill::Constant(1.5)),
        };
        if at[15] == 1 {
            case = case.input("kv_head", &[h], I32, Fill::Uniform(0.0, g as f32 - 1.0));
        }
        if at[16] == 1 {
            case = case.lse();
        }
        case.0.skew = at[18];
        case.hurts("two features")
    };
    pairs(&levels).into_iter().enumerate().map(make).collect()
}

/// Queries that lie one after the other, and keys as well or on pages.
fn ragged() -> Vec<Case> {
    let starts = |step: usize| Fill::Steps { first: 0.0, step: step as f32 };
    let make = |name: &str, [b, h, g, l, s, d, e]: Sizes, keys: bool| {
        let mut case = Make::new(name, [b, h, g, l, s, d, e]);
        case.0.inputs[0].shape = vec![b * l, h, d];
        case.0.outputs[0].shape = vec![b * l, h, e];
        let case = case.input("q_starts", &[b + 1], I32, starts(l));
        if !keys {
            return case;
        }
        let mut case = case.attr("place", "tokens").input("k_starts", &[b + 1], I32, starts(s));
        case.0.inputs[1].shape = vec![b * s, g, d];
        case.0.inputs[2].shape = vec![b * s, g, e];
        case
    };
    let lse = |mut case: Make| {
        let [b, h, _, l, ..] = case.1;
        case.0.outputs.push(Output { role: "lse", shape: vec![b * l, h], stored: F32 });
        case
    };
    let listed = |case: Make| {
        let tokens = &[-1.0, 0.0, 1.0, 2.0, 4.0, 0.0, 8.0, 9.0, 3.0, 1.0, -1.0, 0.0, 14.0, 2.0, 27.0, 5.0, 15.0, 1.0];
        let case = case.fill("k_starts", Fill::These(&[0.0, 3.0, 12.0, 27.0]));
        case.input("list", &[3, 6], I32, Fill::These(tokens))
    };
    vec![
        lse(make("ragged", [3, 4, 2, 5, 5, 16, 16], true).causal()).storages(&[Elem::F16]).hurts("ragged"),
        // One query, none, more rows than a tile has, and as many as half of one.
        lse(make("ragged-tiles", [4, 2, 1, 28, 33, 24, 40], true).causal())
            .fill("q_starts", Fill::These(&[0.0, 1.0, 1.0, 81.0, 112.0]))
            .fill("k_starts", Fill::These(&[0.0, 5.0, 12.0, 93.0, 132.0]))
            .storages(&FLOATS)
            .hurts("ragged"),
        make("ragged-window-sinks", [4, 6, 2, 9, 9, 33, 24], true).causal().window(4, -1).sinks().hurts("ragged"),
        make("ragged-paged", [3, 8, 2, 7, 40, 64, 64], false)
            .causal()
            .input("causal_offset", &[3], I32, Fill::Uniform(0.0, 33.0))
            .paged(16)
            .kv_len(Fill::Uniform(7.0, 40.0))
            .storages(&[Elem::F16])
            .hurts("ragged"),
        make("ragged-mixed", [3, 4, 2, 7, 9, 16, 24], true)
            .causal()
            .fill("q_starts", Fill::These(&[0.0, 13.0, 13.0, 21.0]))
            .fill("k_starts", Fill::These(&[0.0, 15.0, 20.0, 27.0]))
            .mixed(BOTH)
            .hurts("ragged"),
        // More entries than tokens, tokens of the next sequence, and of none.
        listed(lse(make("ragged-listed", [3, 4, 2, 7, 9, 16, 24], true)))
            .alibi()
            .storages(&[Elem::F16])
            .hurts("ragged"),
        make("ragged-codes", [3, 4, 2, 7, 9, 40, 24], true)
            .causal()
            .alibi()
            .kv(KvFormat::Q8_0, KvFormat::E4m3)
            .storages(&[Elem::F16])
            .hurts("ragged"),
        listed(make("ragged-mixed-listed", [3, 4, 2, 7, 9, 16, 24], true)).mixed(BOTH).hurts("ragged"),
        make("ragged-positions", [2, 2, 1, 6, 20, 24, 24], false)
            .causal()
            .input("positions", &[12], I32, Fill::Uniform(0.0, 20.0))
            .hurts("ragged"),
    ]
}

/// Features that models have together, and values that hurt.
const CHOSEN: &[Row] = &[
    (
        "gemma2-like",
        [1, 8, 4, 40, 40, 256, 256],
        &[Causal, Window(16, -1), Number("softcap", 50.0)],
        F16,
        "three features",
    ),
    (
        "gemma3-like-decode",
        [2, 8, 4, 1, 70, 256, 256],
        &[
            Causal,
            Window(31, -1),
            Has("causal_offset", &[2], I32, Fill::Uniform(30.0, 69.0)),
            KvLen(Fill::Constant(70.0)),
        ],
        F16,
        "three features",
    ),
    ("gpt-oss-like", [1, 16, 2, 37, 37, 64, 64], &[Causal, Window(15, -1), Sinks, Lse], F16, "three features"),
    (
        "gpt-oss-like-decode",
        [1, 64, 8, 1, 130, 64, 64],
        &[Causal, Window(127, -1), Number("causal_offset", 129.0), Sinks],
        &[Elem::Bf16],
        "three features",
    ),
    (
        "llama-like-cache",
        [2, 8, 2, 5, 70, 128, 128],
        &[
            Causal,
            TokensFirst,
            Has("causal_offset", &[2], I32, Fill::Steps { first: 20.0, step: 37.0 }),
            KvLen(Fill::Steps { first: 25.0, step: 37.0 }),
            Number("longest", 62.0),
        ],
        &FLOATS,
        "three features",
    ),
    ("vit-like", [1, 3, 3, 197, 197, 64, 64], &[TokensFirst], F16, "three features"),
    ("bloom-like", [1, 4, 4, 33, 33, 64, 64], &[Causal, Alibi], ONE, "three features"),
    (
        "paligemma-like",
        [1, 8, 1, 33, 33, 80, 80],
        &[Causal, Has("prefix", &[1], I32, Fill::Constant(20.0))],
        ONE,
        "three features",
    ),
    (
        "skipped-tokens",
        [1, 4, 2, 9, 50, 64, 64],
        &[
            Causal,
            Has("list", &[1, 30], I32, Fill::Steps { first: 1.0, step: 1.5 }),
            Has("positions", &[1, 9], I32, Fill::Steps { first: 3.0, step: 5.0 }),
            KvLen(Fill::Constant(28.0)),
        ],
        ONE,
        "three features",
    ),
    // Fewer queries than there is room for: none, some, all; in tiles and in parts.
    (
        "kept-queries",
        [4, 4, 2, 40, 40, 64, 64],
        &[
            Causal,
            Has("q_len", &[4], I32, Fill::Steps { first: 0.0, step: 13.5 }),
            KvLen(Fill::Steps { first: 0.0, step: 13.5 }),
            Filled("q", Fill::NanFrom(27)),
            Lse,
        ],
        ONE,
        "three features",
    ),
    (
        "kept-queries-decode",
        [3, 8, 2, 1, 70, 64, 64],
        &[
            Has("q_len", &[3], I32, Fill::Steps { first: 1.0, step: -0.6 }),
            KvLen(Fill::Constant(70.0)),
            Has("prefix", &[3], I32, Fill::Constant(9.0)),
            Sinks,
            Lse,
        ],
        F16,
        "three features",
    ),
    // Queries with NaN and with both infinities.
    ("nan-queries", [2, 4, 2, 9, 33, 24, 24], &[Causal, Filled("q", Fill::Special), Lse], &FLOATS, "NaN"),
    (
        "nan-queries-softcap-mask",
        [1, 4, 2, 9, 33, 24, 24],
        &[Number("softcap", 5.0), Filled("q", Fill::NanRows), Has("mask", &[9, 33], F32, Fill::Hiding), Sinks, Lse],
        ONE,
        "NaN",
    ),
    (
        "nan-beyond",
        [2, 8, 2, 3, 40, 64, 64],
        &[KvLen(Fill::Constant(27.0)), Filled("k", Fill::NanFrom(27)), Filled("v", Fill::NanFrom(27))],
        &FLOATS,
        "NaN",
    ),
    (
        "nan-in-the-future",
        [1, 4, 1, 40, 70, 64, 64],
        &[Causal, Number("causal_offset", 10.0), Filled("k", Fill::NanFrom(50)), Filled("v", Fill::NanFrom(50))],
        ONE,
        "NaN",
    ),
    // In values that some rows of a tile see.
    (
        "nan-for-some",
        [1, 4, 1, 40, 70, 64, 64],
        &[Causal, Number("causal_offset", 10.0), Filled("v", Fill::NanFrom(30)), Lse],
        &[Elem::F32, Elem::F16],
        "NaN",
    ),
    (
        "nan-hidden",
        [1, 4, 1, 12, 70, 64, 64],
        &[
            Has("mask", &[70], BYTES, Fill::Steps { first: 1.02, step: -0.02 }),
            Filled("k", Fill::NanFrom(35)),
            Filled("v", Fill::NanFrom(35)),
        ],
        ONE,
        "NaN",
    ),
    (
        "all-hidden",
        [1, 4, 2, 9, 33, 40, 40],
        &[Has("mask", &[9, 33], BYTES, Fill::Constant(0.0)), Lse],
        ONE,
        "nothing is seen",
    ),
    (
        "all-hidden-sinks",
        [1, 4, 2, 9, 33, 40, 40],
        &[
            Has("mask", &[1], F32, Fill::Constant(f32::NEG_INFINITY)),
            Sinks,
            Filled("sinks", Fill::These(&[0.5, f32::NEG_INFINITY])),
            Lse,
        ],
        ONE,
        "nothing is seen",
    ),
    (
        "lowest-mask",
        [1, 4, 2, 9, 33, 40, 40],
        &[Has("mask", &[9, 33], F32, Fill::Constant(f32::MIN)), Lse],
        ONE,
        "the lowest number",
    ),
    ("before-all-keys", [1, 4, 4, 9, 5, 40, 40], &[Causal, Number("causal_offset", -3.0), Lse], ONE, "nothing is seen"),
    ("no-keys", [1, 4, 2, 3, 0, 40, 40], &[Lse], ONE, "nothing is seen"),
    ("no-queries", [1, 4, 2, 0, 9, 40, 40], &[], ONE, "no queries"),
    (
        "large-logits",
        [1, 2, 1, 6, 67, 64, 64],
        &[Number("scale", 1.0), Filled("q", WIDE), Filled("k", WIDE), Lse],
        &FLOATS,
        "logits of 1e5",
    ),
    (
        "large-logits-in-one-part",
        [128, 8, 4, 1, 70, 16, 16],
        &[Number("scale", 1.0), Filled("q", WIDE), Filled("k", WIDE)],
        &[Elem::F16],
        "logits that outgrow those of the 32 keys before",
    ),
    (
        "many-parts",
        [1, 2, 1, 1, 1100, 16, 256],
        &[Lse],
        ONE,
        "more parts of the keys than a lane asks for at once when they are added",
    ),
    // More heads share keys than attention/split takes: few tiles, whose keys are parted; the second of them has no keys in most parts.
    (
        "one-key-head",
        [2, 40, 1, 1, 300, 64, 64],
        &[Filled("q", Fill::Special), KvLen(Fill::Steps { first: 300.0, step: -259.0 }), Sinks, Lse],
        F16,
        "many heads of one key",
    ),
    (
        "large-logits-sinks",
        [1, 2, 1, 6, 67, 64, 64],
        &[
            Number("scale", 1.0),
            Filled("q", WIDE),
            Filled("k", WIDE),
            Sinks,
            Filled("sinks", Fill::These(&[1.0, f32::INFINITY])),
            Lse,
        ],
        ONE,
        "logits of 1e5",
    ),
    (
        "large-logits-softcap",
        [1, 2, 1, 6, 67, 64, 64],
        &[Number("scale", 1.0), Filled("q", WIDE), Filled("k", WIDE), Number("softcap", 30.0)],
        ONE,
        "logits of 1e5",
    ),
    (
        "growing",
        [1, 4, 1, 40, 140, 24, 24],
        &[Causal, Number("causal_offset", 95.0), Filled("v", Fill::GrowingRows)],
        &[Elem::Bf16],
        "values that outgrow those before",
    ),
    ("equal-logits", [1, 2, 1, 6, 129, 64, 64], &[Filled("k", Fill::Constant(0.0)), Lse], ONE, "equal logits"),
    ("wide", [1, 4, 1, 17, 70, 72, 500], &[Causal, Number("causal_offset", 50.0), Lse], ONE, "wide rows"),
    ("long", [1, 4, 1, 2, 1500, 24, 24], &[Causal, Number("causal_offset", 1400.0)], ONE, "many keys"),
];

/// Logits with a bound: about it, past it, and where it is of no use.
const BOUNDED_LOGITS: &[Row] = &[
    (
        "bounded",
        [2, 8, 2, 9, 70, 24, 40],
        &[Causal, Number("causal_offset", 40.0), Window(33, -1), Unit(45.0), Number("bound", 45.0), Sinks, Lse],
        ONE,
        "a bound of the logits",
    ),
    (
        "bounded-parts",
        [2, 8, 2, 1, 300, 64, 64],
        &[Unit(50.0), Number("bound", 50.0), KvLen(Fill::Steps { first: 290.0, step: -259.0 }), Lse],
        &[Elem::Bf16],
        "a bound of the logits",
    ),
    (
        "bounded-one-key-head",
        [1, 40, 1, 1, 300, 64, 64],
        &[Unit(50.0), Number("bound", 50.0), Filled("q", Fill::NanRows), Lse],
        ONE,
        "a bound of the logits",
    ),
    // By the softcap alone.
    (
        "bounded-softcap",
        [1, 8, 2, 3, 100, 64, 64],
        &[Number("scale", 8.0), Number("softcap", 50.0), Kv(KvFormat::Q8_0, KvFormat::Q8_0), Sinks, Lse],
        ONE,
        "a bound of the logits",
    ),
    // The sink is all that there is, and its exponential none that f32 has.
    (
        "bounded-all-hidden-sinks",
        [1, 4, 2, 9, 33, 40, 40],
        &[
            Has("mask", &[33], BYTES, Fill::Constant(0.0)),
            Unit(45.0),
            Number("bound", 45.0),
            Sinks,
            Filled("sinks", Fill::These(&[-120.0, -95.0, f32::NEG_INFINITY, 60.0])),
            Lse,
        ],
        ONE,
        "nothing is seen",
    ),
    (
        "bounded-reached",
        [1, 2, 1, 6, 67, 64, 64],
        &[Unit(50.0), Number("bound", 50.0), Filled("q", EIGHTH), Filled("k", EIGHTH), Lse],
        ONE,
        "a bound of the logits",
    ),
    // Logits of −60, −72 and 72; the last queries see nothing.
    (
        "bounded-wrongly",
        [1, 2, 1, 6, 67, 4, 64],
        &[
            Unit(-60.0),
            Number("bound", 1.0),
            Filled("q", Fill::These(&[0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, -0.6, -0.6, -0.6, -0.6])),
            Filled("k", Fill::Constant(0.5)),
            Has("mask", &[6, 67], BYTES, Fill::Steps { first: 1.5, step: -0.002 }),
            Lse,
        ],
        &[Elem::F32, Elem::F16],
        "a bound of the logits",
    ),
    (
        "bounded-nan",
        [2, 4, 2, 9, 67, 24, 24],
        &[Unit(20.0), Number("bound", 20.0), Filled("q", Fill::NanRows), Lse],
        ONE,
        "NaN",
    ),
    (
        "bounded-low",
        [1, 2, 1, 5, 33, 24, 24],
        &[Unit(20.0), Number("bound", 20.0), Has("mask", &[33], F32, Fill::Constant(-1000.0))],
        ONE,
        "a bound of the logits that a mask lowers",
    ),
];

/// Keys and values as codes.
fn coded() -> Vec<Case> {
    let wide = Fill::Normal { mean: 0.0, deviation: 30.0 };
    let mut cases = Vec::new();
    for (name, k, v) in [
        ("q8_0", KvFormat::Q8_0, KvFormat::Q8_0),
        ("q4_0", KvFormat::Q4_0, KvFormat::Q4_0),
        ("e4m3", KvFormat::E4m3, KvFormat::E4m3),
        ("q8_0-q4_0", KvFormat::Q8_0, KvFormat::Q4_0),
    ] {
        let case = Make::new(&format!("{name}-decode"), [2, 8, 2, 1, 70, 128, 128]).causal().kv(k, v);
        let case = case.attr("causal_offset", 60.0).storages(&[Elem::F32, Elem::F16]);
        cases.push(case.kv_len(Fill::Uniform(1.0, 70.0)).hurts("codes"));
        // Rows that are no whole blocks.
        let case = Make::new(&format!("{name}-paged"), [1, 3, 1, 9, 37, 40, 72]).paged(4).causal().kv(k, v);
        cases.push(case.lse().storages(&[Elem::F16]).hurts("codes"));
    }
    // Rows of one block of 32 numbers, of two, of four and of eight.
    let (q8_0, q4_0) = (KvFormat::Q8_0, KvFormat::Q4_0);
    let more = [
        Make::new("q8_0-tiles", [1, 8, 2, 40, 140, 60, 64])
            .causal()
            .attr("causal_offset", 95.0)
            .kv(q8_0, q8_0)
            .fill("v", Fill::GrowingRows)
            .lse()
            .hurts("scales that outgrow those before"),
        Make::new("q4_0-narrow", [1, 4, 1, 40, 200, 32, 28])
            .causal()
            .attr("causal_offset", 140.0)
            .kv(q4_0, q4_0)
            .fill("v", Fill::GrowingRows)
            .lse()
            .hurts("scales at the end of f16"),
        Make::new("q4_0-q8_0-parts", [2, 8, 2, 1, 600, 128, 128])
            .kv(q4_0, q8_0)
            .kv_len(Fill::Steps { first: 600.0, step: -31.0 })
            .softcap(5.0)
            .sinks()
            .lse()
            .hurts("codes"),
        Make::new("q8_0-wide", [1, 4, 2, 3, 90, 256, 250]).window(40, 0).kv(q8_0, q4_0).fill("k", wide).hurts("codes"),
    ];
    cases.extend(more.map(|case| case.storages(&[Elem::F16, Elem::Bf16])));
    // Codes with what tells which keys are seen; few queries, that go by no tiles, and many.
    let (some, bytes) = (Fill::Uniform(-1.0, 49.0), Stored::Always(Elem::U8));
    let with_more = [
        Make::new("q8_0-q4_0-masked", [1, 4, 2, 3, 40, 64, 64])
            .kv(q8_0, q4_0)
            .input("mask", &[3, 40], F32, Fill::Hiding)
            .alibi(),
        Make::new("q4_0-listed", [1, 6, 2, 5, 50, 64, 40])
            .kv(q4_0, q4_0)
            .input("list", &[1, 30], I32, some)
            .input("kv_head", &[6], I32, Fill::Uniform(0.0, 1.0))
            .input("mask", &[6, 1, 30], bytes, Fill::Uniform(0.0, 1.4)),
        Make::new("e4m3-q8_0-listed", [1, 4, 1, 5, 50, 33, 72])
            .kv(KvFormat::E4m3, q8_0)
            .input("list", &[1, 40], I32, some)
            .input("mask", &[5, 40], F32, Fill::Hiding)
            .alibi(),
    ];
    cases.extend(with_more.map(|case| case.lse().storages(&[Elem::F16]).hurts("codes")));
    // Numbers of 32 bits, of 16 and codes together.
    let mut three = Make::new("f16-q4_0-of-f32", [1, 4, 2, 5, 40, 64, 64]).causal().attr("causal_offset", 35.0).lse();
    (three.0.inputs[1].stored, three.0.inputs[2].stored) = (Stored::Always(Elem::F16), Stored::Kv(q4_0));
    cases.push(three.attr("v", q4_0.name()).attr("kv_heads", 2.0).hurts("codes"));
    cases
}

const BEFORE: &[&str] = &["mix_before"];
const AFTER_BIASED: &[&str] = &["mix_after", "mix_after_bias"];
const BOTH: &[&str] = &["mix_before", "mix_after"];
const ALL: &[&str] = &["mix_before", "mix_before_bias", "mix_after", "mix_after_bias"];

/// Heads that are mixed: with masks that differ from head to head, groups, lengths, codes and whatever else there is.
const MIXED: &[Row] = &[
    // Tiles of two, eight and four queries; where there are fewer, those of one fill a device better.
    ("mixed-deit-like", [1, 3, 3, 151, 33, 64, 64], &[TokensFirst, PlaceTokens, Mixed(BOTH)], F16, "heads mixed"),
    (
        "mixed-swin-like",
        [11, 4, 4, 49, 49, 32, 32],
        &[Has("mask", &[11, 1, 49, 49], Stored::Activation, Fill::Hiding), Mixed(ALL), Lse],
        ONE,
        "heads mixed",
    ),
    (
        "mixed-before-only",
        [2, 6, 2, 131, 150, 18, 33],
        &[
            Causal,
            Number("causal_offset", 20.0),
            Window(17, -1),
            Number("softcap", 5.0),
            Alibi,
            Sinks,
            Mixed(BEFORE),
            Lse,
        ],
        ONE,
        "heads mixed",
    ),
    // Some heads see a key that others do not, on other rows of keys and values; and a row that sees nothing.
    (
        "mixed-masks-of-heads",
        [1, 4, 2, 9, 37, 24, 40],
        &[Has("mask", &[4, 9, 37], F32, Fill::Hiding), Mixed(AFTER_BIASED), Sinks, Lse],
        &[Elem::Bf16],
        "heads mixed",
    ),
    (
        "mixed-decode-codes",
        [2, 8, 2, 1, 70, 64, 64],
        &[
            Paged(16),
            Kv(KvFormat::E4m3, KvFormat::Q8_0),
            KvLen(Fill::Steps { first: 33.0, step: 37.0 }),
            Mixed(ALL),
            Lse,
        ],
        F16,
        "heads mixed",
    ),
    // Heads share what is wrong with one; queries do not.
    (
        "mixed-nan-queries",
        [1, 4, 2, 9, 33, 24, 24],
        &[Causal, Filled("q", Fill::Special), Mixed(AFTER_BIASED), Lse],
        ONE,
        "NaN",
    ),
    (
        "mixed-nan-beyond",
        [2, 64, 8, 3, 40, 16, 20],
        &[
            KvLen(Fill::Constant(27.0)),
            Has("q_len", &[2], I32, Fill::Steps { first: 3.0, step: -1.5 }),
            Filled("k", Fill::NanFrom(27)),
            Filled("v", Fill::NanFrom(27)),
            Mixed(ALL),
        ],
        ONE,
        "NaN",
    ),
    (
        "mixed-all-hidden",
        [1, 4, 2, 3, 33, 40, 40],
        &[Has("mask", &[4, 1, 33], BYTES, Fill::Constant(0.0)), Mixed(ALL), Lse],
        ONE,
        "nothing is seen",
    ),
    (
        "mixed-listed",
        [1, 5, 5, 9, 50, 64, 64],
        &[
            Causal,
            Has("list", &[1, 40], I32, Fill::Steps { first: -1.0, step: 1.3 }),
            Has("positions", &[1, 9], I32, Fill::Steps { first: 3.0, step: 5.0 }),
            Has("prefix", &[1], I32, Fill::Constant(4.0)),
            Has("kv_head", &[5], I32, Fill::Steps { first: 4.0, step: -1.0 }),
            Mixed(BOTH),
        ],
        ONE,
        "heads mixed",
    ),
    // More heads than a tile has rows.
    ("mixed-many-heads", [1, 80, 8, 2, 5, 8, 8], &[Causal, Mixed(BOTH), Lse], ONE, "heads mixed"),
];

/// Layers of real models: name, model, H, G, D and the window.
const MODELS: [(&str, &str, usize, usize, usize, i32); 3] = [
    ("llama3-8b", "Llama-3-8B", 32, 8, 128, -1),
    ("qwen3-0.6b", "Qwen3-0.6B", 16, 8, 128, -1),
    ("gemma3-4b", "Gemma-3-4B", 8, 4, 256, 1024),
];

/// How a cache of theirs is stored.
const CACHES: [KvFormat; 3] = [KvFormat::F16, KvFormat::Q8_0, KvFormat::Q4_0];

/// The one that is there with a bound of its logits as well.
const BOUNDED: &str = "attention/qwen3-0.6b-decode-8192";

fn real() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, model, h, g, d, window) in MODELS {
        let windowed = |case: Make| if window < 0 { case } else { case.window(window, -1) };
        for l in [512, 2048, 8192] {
            let mut case = Make::new(&format!("{name}-prefill-{l}"), [1, h, g, l, l, d, d]).causal();
            case = case.storages(&[Elem::F16]);
            let mut case = windowed(case).counted().real(model, "prefill");
            case.title = format!("prefill {l}");
            cases.push(case);
        }
        for (s, format) in [1024, 8192, 32_768].iter().flat_map(|s| CACHES.map(|f| (*s, f))) {
            let of = if format == KvFormat::F16 { String::new() } else { format!("-{}", format.name()) };
            let case = Make::new(&format!("{name}-decode-{s}{of}"), [1, h, g, 1, s, d, d]);
            let case = case.causal().attr("causal_offset", (s - 1) as f64).storages(&[Elem::F16]);
            let case = if of.is_empty() { case } else { case.kv(format, format) };
            let mut case = windowed(case).counted().real(model, "decode");
            case.title = format!("decode, {s} keys in {}", format.name());
            cases.push(case);
        }
    }
    // The same as without a bound, which their products are far from.
    if let Some(mut bounded) = cases.iter().find(|case| case.name == BOUNDED).cloned() {
        bounded.name += "-bounded";
        bounded.title += ", bounded";
        bounded.attrs = bounded.attrs.with("bound", 50.0);
        cases.push(bounded);
    }
    let vit = Make::new("vit-b16", [1, 12, 12, 197, 197, 64, 64]).tokens_first().place_tokens();
    let mut vit = vit.storages(&[Elem::F16]).real("ViT-B/16", "prefill");
    vit.title = "197 patches".into();
    cases.push(vit);
    // The heads of Mini-DeiT-B are mixed by two matrices a layer.
    let deit = Make::new("mini-deit-b", [1, 12, 12, 197, 197, 64, 64]).tokens_first().place_tokens().mixed(BOTH);
    let mut deit = deit.storages(&[Elem::F16]).real("Mini-DeiT-B", "prefill");
    (deit.title, deit.flops) = ("197 patches, heads mixed".into(), deit.flops + 2 * 2 * 12 * 12 * 197 * 197);
    cases.push(deit);
    cases
}

pub(super) fn cases() -> Vec<Case> {
    let rows = |rows: &[Row]| rows.iter().map(|row| case_of(*row)).collect::<Vec<_>>();
    [covered(), ragged(), rows(CHOSEN), rows(BOUNDED_LOGITS), coded(), rows(MIXED), real()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_leaves_keys_unread_and_pairs_uncounted() {
        let cases = real();
        let of = |name: &str| {
            cases
                .iter()
                .find(|case| case.name == format!("attention/{name}"))
                .map(|case| (case.bytes(Elem::F16), case.flops))
        };
        // 8,192 keys of 4 heads of 256 numbers, of which the window and the query itself leave 1,025; q and y are 8 rows.
        let (q_and_y, pairs) = (2 * 8 * 256 * 2, 1025 * 8 * 2 * 512);
        assert_eq!(of("gemma3-4b-decode-8192"), Some((2 * 1025 * 4 * 256 * 2 + q_and_y, pairs)));
        assert_eq!(of("gemma3-4b-decode-8192-q8_0"), Some((2 * 1025 * 4 * 272 + q_and_y, pairs)));
        assert_eq!(of("gemma3-4b-decode-1024"), Some((2 * 1024 * 4 * 256 * 2 + q_and_y, 1024 * 8 * 2 * 512)));
        // Each of 2,048 queries sees itself and up to 1,024 before it.
        let pairs = 1025 * 1026 / 2 + 1023 * 1025;
        assert_eq!(of("gemma3-4b-prefill-2048"), Some((25_165_824, pairs * 8 * 2 * 512)));
        assert_eq!(of("llama3-8b-prefill-512"), Some((10_485_760, 512 * 513 / 2 * 32 * 2 * 256)));
        assert_eq!(of("vit-b16").map(|of| of.1), Some(2 * 12 * 197 * 197 * 128));
    }
}
