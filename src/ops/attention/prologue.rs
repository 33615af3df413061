//! What comes before attention, in one pass: from a QKV projection to queries, and to keys and values in a cache.

use super::Order;
use super::rope::{past, tables};
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::kv::{KEYS, KvAt, KvLayout, KvPlace, KvRows, Place, VALUES};
use crate::kv_cache::KvLayer;
use crate::ops::counted;
use crate::ops::little::{ABSENT, Little, Words};
use crate::ops::norm::number;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, words_first};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Const, Groups, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// Where the projections of the tokens are. What is absent is not made.
#[derive(Clone, Copy, Debug)]
pub enum Projection<'a> {
    /// Side by side for each token: the queries of all heads, then the keys, then the values: `[B, L, (H + G)·D + G·E]`.
    Packed(&'a Tensor),
    /// Each by itself: `[B, L, heads·size]` or `[B, L, heads, size]`; `[B, heads, L, size]` where the order is heads first.
    Apart {
        /// Queries.
        q: Option<&'a Tensor>,
        /// Keys.
        k: Option<&'a Tensor>,
        /// Values.
        v: Option<&'a Tensor>,
    },
}

/// What a norm divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// `max(‖x‖₂, eps)`.
    L2,
    /// `sqrt(mean x² + eps)`.
    Rms,
    /// `sqrt(var x + eps)`, after the mean was subtracted.
    Layer,
}

/// What a norm takes its sums over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormAxis {
    /// Each head by itself.
    Head,
    /// All heads of a token together (OLMo2).
    Projection,
}

/// A norm of queries and of new keys: `h·(weight + offset) + bias`, with h what the kind makes of a row.
#[derive(Clone, Copy, Debug)]
pub struct QkNorm<'a> {
    /// Which.
    pub kind: NormKind,
    /// Over what.
    pub axis: NormAxis,
    /// F32, f16 or bf16, `[D]` or `[H, D]` where the axis is a head, else `[H·D]`; absent: 1 for all.
    pub q_weight: Option<&'a Tensor>,
    /// The same with G for H.
    pub k_weight: Option<&'a Tensor>,
    /// As `q_weight`; absent: 0 for all.
    pub q_bias: Option<&'a Tensor>,
    /// As `k_weight`.
    pub k_bias: Option<&'a Tensor>,
    /// Keeps rows of zeros from a division by 0.
    pub eps: f32,
    /// Is added to the weights: 1 for Gemma, whose weights are about 0.
    pub offset: f32,
}

impl QkNorm<'_> {
    /// Over each head, without weights.
    pub fn new(kind: NormKind, eps: f32) -> Self {
        let (axis, weight, bias) = (NormAxis::Head, None, None);
        Self { kind, axis, q_weight: weight, k_weight: weight, q_bias: bias, k_bias: bias, eps, offset: 0.0 }
    }
}

/// Which row of the tables a token has.
#[derive(Clone, Copy, Debug)]
pub enum Angles<'a> {
    /// Tables of a row for each token: `[L, ·]` for all of the batch, or `[B, L, ·]`; of ragged tokens `[T, ·]`.
    Tokens,
    /// The row that its position says: I32, `[B, L]` or `[T]`. The device knows them alone, and one outside the table is taken as the
    /// nearest in it; [`Dispatcher::positions`](crate::Dispatcher::positions) judges those that the host knows.
    Positions(&'a Tensor),
    /// The row with the number of the place where it is appended: the plain case of a cache that holds all tokens so far. One past the
    /// table is an error where the host knows the place ([`Start`]); else it is taken as the last.
    Appended,
}

/// The turn of queries and of new keys.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// F32, f16 or bf16, `[rows, rotary_dim/2]` or as [`Angles`] says.
    pub cos: &'a Tensor,
    /// Shape of `cos`.
    pub sin: &'a Tensor,
    /// Which row is whose.
    pub angles: Angles<'a>,
    /// Pairs are neighbours; else a pair is `(i, i + rotary_dim/2)`.
    pub interleaved: bool,
    /// The turn comes before the norm; else after it.
    pub before_norm: bool,
}

/// Where new tokens are appended.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// After so many, in each element of the batch.
    At(usize),
    /// After as many as this says for each: I32, `[B]`. Below 0 is 0.
    Lengths(&'a Tensor),
    /// Where the layer of a cache has made room: its `starts`, which the host mostly knows as well.
    Layer(&'a KvLayer<'a>),
}

/// From a QKV projection to what attention reads: split, bias, norm of queries and keys, rotary embedding, and keys and values written
/// where a cache wants them, in its format; for prefill and decode alike. That is one dispatch where the device binds all buffers at once, else two;
/// and before it one for additions, weights and biases that lie in more than one buffer, and one for positions, lengths, tables and `cu` that do.
///
/// ```text
/// x = projection + add           x = norm(x), then turn(x); or turn(x), then norm(x)           q and k; v: x = x / sqrt(mean x² + eps)
/// y = q                          keys[row of token start + l] = k                              values[the same] = v
/// ```
///
/// Everything between is f32: a key is rounded once, to the storage of the cache, and a query to that of `y`, where F32 keeps it as
/// it is. A token for which the cache has no room, or a page that there is not, is not written anywhere; its query still is.
///
/// Sources: QKNorm, Henry et al., "Query-Key Normalization for Transformers" (arXiv 2010.04245); norms over a head and their order
/// as `transformers` has them in Qwen3, Gemma3, OLMo2, Cohere, StableLM and Hunyuan; rotary embedding as in
/// [`Rope`](super::rope::Rope).
///
/// # Errors
/// H that is not a multiple of G, operands whose shapes do not follow from each other, a storage that one cannot have, numbers out of their range,
/// neither queries nor keys nor values, a position past the table ([`Error::Position`]) where the host knows it, or more than a binding of the device
/// takes.
#[derive(Clone, Copy, Debug)]
pub struct Prologue<'a> {
    /// F32, f16 or bf16.
    pub from: Projection<'a>,
    /// The order of the projections that are apart.
    pub from_order: Order,
    /// H.
    pub heads: usize,
    /// G.
    pub groups: usize,
    /// Is added to queries before all else: `[H·D]`.
    pub q_add: Option<&'a Tensor>,
    /// `[G·D]`.
    pub k_add: Option<&'a Tensor>,
    /// `[G·E]`. Who keeps the three, weights and biases of norms in one buffer binds it once.
    pub v_add: Option<&'a Tensor>,
    /// The norm of queries and new keys.
    pub norm: Option<QkNorm<'a>>,
    /// New values are divided by the root of their mean square and this, head by head (Gemma3n). Where there is a norm of
    /// queries too, its eps must be the same.
    pub value_norm: Option<f32>,
    /// The turn of queries and new keys.
    pub rope: Option<Turn<'a>>,
    /// Receives the queries: F32, f16 or bf16, `[B, H, L, D]`, or `[B, L, H, D]` or `[B, L, H·D]`, as `order` says.
    pub y: Option<&'a Tensor>,
    /// The order of `y`.
    pub order: Order,
    /// Receive the keys.
    pub keys: Option<&'a KvRows>,
    /// Receive the values.
    pub values: Option<&'a KvRows>,
    /// Which row is whose.
    pub place: Place<'a>,
    /// Where tokens are appended.
    pub start: Start<'a>,
    /// Where each sequence of a ragged batch begins: I32, `[B + 1]`, the last the number of all tokens: what is past it is not appended.
    /// Projections and queries are then `[T, ·]`, tokens first.
    pub cu: Option<&'a Tensor>,
    /// How many of the tokens there are, where only the device knows: what [`Select::grids`](crate::ops::depth::Select::grids)
    /// received. Of those past them nothing is made, or what comes of what is in the projections there.
    pub grids: Option<&'a Tensor>,
}

impl<'a> Prologue<'a> {
    /// Without norm and turn, appended at 0, heads first: what is made of a packed projection.
    pub fn new(
        qkv: &'a Tensor,
        (heads, groups): (usize, usize),
        y: &'a Tensor,
        keys: &'a KvRows,
        values: &'a KvRows,
    ) -> Self {
        Self {
            y: Some(y),
            keys: Some(keys),
            values: Some(values),
            ..Self::of(Projection::Packed(qkv), (heads, groups))
        }
    }

    /// The same of any projection, of which nothing is made yet.
    pub fn of(from: Projection<'a>, (heads, groups): (usize, usize)) -> Self {
        Self {
            from,
            from_order: Order::TokensFirst,
            heads,
            groups,
            q_add: None,
            k_add: None,
            v_add: None,
            norm: None,
            value_norm: None,
            rope: None,
            y: None,
            order: Order::HeadsFirst,
            keys: None,
            values: None,
            place: Place::Heads,
            start: Start::At(0),
            cu: None,
            grids: None,
        }
    }
}

params! {
    /// The params of the kernels of the prologue; see `lib/prologue.wgsl`, where each is explained.
    PrologueParams {
        /// Keys.
        keys: KvAt,
        /// Values.
        values: KvAt,
        /// Where rows are.
        place: KvPlace,
        /// The grid's x.
        fold: u32,
        /// All tokens.
        tokens: u32,
        /// Tokens of an element of the batch.
        each: u32,
        /// Elements of the batch.
        batch: u32,
        /// H.
        heads: u32,
        /// G.
        groups: u32,
        /// D.
        d: u32,
        /// E.
        e: u32,
        /// The first row of a token.
        first: u32,
        /// Rows of a token.
        count: u32,
        /// The first query.
        q0: u32,
        /// The first key.
        k0: u32,
        /// The first value.
        v0: u32,
        /// Distances.
        q_batch: u32,
        /// Distances.
        q_token: u32,
        /// Distances.
        q_head: u32,
        /// Distances.
        k_batch: u32,
        /// Distances.
        k_token: u32,
        /// Distances.
        k_head: u32,
        /// Distances.
        v_batch: u32,
        /// Distances.
        v_token: u32,
        /// Distances.
        v_head: u32,
        /// The first query that is made.
        y0: u32,
        /// Distances.
        y_batch: u32,
        /// Distances.
        y_token: u32,
        /// Distances.
        y_head: u32,
        /// Pairs that turn.
        half: u32,
        /// The first cosine.
        cos0: u32,
        /// The first sine.
        sin0: u32,
        /// Tokens or rows of the tables.
        period: u32,
        /// Where tokens are appended.
        start: u32,
        /// As in the op.
        eps: f32,
        /// As in the op.
        offset: f32,
        /// A word among the weights.
        q_add: u32,
        /// A word among the weights.
        k_add: u32,
        /// A word among the weights.
        v_add: u32,
        /// A word among the weights.
        q_weight: u32,
        /// A word among the weights.
        k_weight: u32,
        /// A word among the weights.
        q_bias: u32,
        /// A word among the weights.
        k_bias: u32,
        /// From one head's to the next.
        q_weight_head: u32,
        /// From one head's to the next.
        k_weight_head: u32,
        /// From one head's to the next.
        q_bias_head: u32,
        /// From one head's to the next.
        k_bias_head: u32,
        /// A word among the places.
        positions: u32,
        /// A word among the places.
        lengths: u32,
        /// A word among the places.
        cu: u32,
        /// Nothing.
        pad0: u32,
    }
}

/// How far batch elements, tokens and heads are apart, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Strides {
    first: u64,
    batch: u64,
    token: u64,
    head: u64,
}

/// The norm, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NormNumbers {
    kind: NormKind,
    full: bool,
    offset: u32,
    /// Weights of q and k, then biases: by head.
    by_head: [bool; 4],
}

/// The turn, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TurnNumbers {
    cos: Layout,
    sin: Layout,
    half: u64,
    period: u64,
    angles: u32,
    interleaved: bool,
    before_norm: bool,
}

/// A prologue with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PrologueProblem {
    batch: u64,
    each: u64,
    tokens: u64,
    heads: u64,
    groups: u64,
    d: u64,
    e: u64,
    packed: bool,
    /// Queries, keys and values, or all in the first.
    from: [Option<Layout>; 3],
    strides: [Strides; 3],
    y: Option<Layout>,
    y_strides: Strides,
    keys: Option<KvLayout>,
    values: Option<KvLayout>,
    norm: Option<NormNumbers>,
    value_norm: bool,
    eps: u32,
    turn: Option<TurnNumbers>,
    place: Option<[u32; 8]>,
    paged: bool,
    start: u64,
    has_lengths: bool,
    ragged: bool,
    weights: Little,
    places: Little,
    grids: Option<Layout>,
}

const OP: &str = "qkv_prologue";

/// Of a token, the row with the number of its place.
const APPENDED: u32 = 2;

/// Places of operands in the list.
const FROM: usize = 0;
const Y: usize = 3;
const COS: usize = 6;
const WEIGHTS: usize = 8;
const PLACES: usize = 15;
const GRIDS: usize = 19;

/// B and L of a projection or of queries, by the order of their dimensions; of ragged ones 1 and T.
fn tokens_of(
    name: &'static str,
    tensor: &Tensor,
    order: Order,
    ragged: bool,
    heads: usize,
    width: usize,
) -> Result<(usize, usize)> {
    let shape = tensor.shape();
    let found = match *shape.dims() {
        [t, w] if ragged && w == heads * width => Some((1, t)),
        [t, h, w] if ragged && [h, w] == [heads, width] => Some((1, t)),
        [b, l, w] if !ragged && order == Order::TokensFirst && w == heads * width => Some((b, l)),
        [b, l, h, w] if !ragged && order == Order::TokensFirst && [h, w] == [heads, width] => Some((b, l)),
        [b, h, l, w] if !ragged && order == Order::HeadsFirst && [h, w] == [heads, width] => Some((b, l)),
        _ => None,
    };
    found.ok_or_else(|| {
        let kind = match (ragged, order) {
            (true, _) => "[T, heads·size]",
            (false, Order::TokensFirst) => "[B, L, heads·size]",
            (false, Order::HeadsFirst) => "[B, heads, L, size]",
        };
        shape_error!(OP, "{name} has shape {shape}, which is not {kind} of {heads} heads of {width}")
    })
}

fn strides(order: Order, heads: usize, tokens: usize, width: usize) -> Strides {
    let (h, l, w) = (heads as u64, tokens as u64, width as u64);
    match order {
        Order::HeadsFirst => Strides { first: 0, batch: h * l * w, token: w, head: l * w },
        Order::TokensFirst => Strides { first: 0, batch: h * l * w, token: h * w, head: w },
    }
}

impl Prologue<'_> {
    /// D and E, from where they are known. Where there are no values, E is 0.
    fn sizes(&self) -> Result<(usize, usize)> {
        let last = |t: &Tensor, heads: usize, order: Order| {
            let shape = t.shape();
            let dims = shape.dims();
            let whole = dims.last().copied().unwrap_or(0);
            let split = order == Order::HeadsFirst || dims.len() == if self.cu.is_some() { 3 } else { 4 };
            if split { whole } else { whole / heads.max(1) }
        };
        let d = match (self.keys, self.y) {
            (Some(keys), _) => keys.width(),
            (None, Some(y)) => last(y, self.heads, self.order),
            (None, None) => 0,
        };
        let turning = self.heads.checked_add(self.groups).and_then(|heads| heads.checked_mul(d));
        let e = match self.from {
            // What is left of a token after queries and keys.
            Projection::Packed(x) if self.values.is_none() => {
                let whole = x.shape().dims().last().copied().unwrap_or(0);
                whole.saturating_sub(turning.unwrap_or(whole)) / self.groups.max(1)
            }
            _ => self.values.map_or(0, KvRows::width),
        };
        // The numbers of a token, which what follows computes with.
        let all = turning.and_then(|n| n.checked_add(self.groups.checked_mul(e)?));
        if all.is_none_or(|n| u32::try_from(n).is_err()) {
            let value = format!("{} and {} of {d} and {e} numbers", self.heads, self.groups);
            let rule = "the numbers of a token must be fewer than 2^32";
            return Err(Error::Value { op: OP, name: "heads", value, rule });
        }
        Ok((d, e))
    }

    fn norm_numbers(&self, d: usize) -> Result<Option<NormNumbers>> {
        let Some(norm) = self.norm else { return Ok(None) };
        number(OP, "eps", norm.eps, |v| v >= 0.0, "it must be a number of at least 0")?;
        number(OP, "offset", norm.offset, |_| true, "it must be a number")?;
        let full = norm.axis == NormAxis::Projection;
        let mut by_head = [false; 4];
        let all = [
            ("q_weight", norm.q_weight, self.heads),
            ("k_weight", norm.k_weight, self.groups),
            ("q_bias", norm.q_bias, self.heads),
            ("k_bias", norm.k_bias, self.groups),
        ];
        for ((name, tensor, heads), by_head) in all.into_iter().zip(&mut by_head) {
            let Some(tensor) = tensor else { continue };
            want_float(OP, name, tensor)?;
            *by_head = match *tensor.shape().dims() {
                [n] if full && n == heads * d => true,
                [n] if !full && n == d => false,
                [h, n] if [h, n] == [heads, d] => true,
                _ => {
                    let (shape, want) = (tensor.shape(), if full { "[heads·D]" } else { "[D] or [heads, D]" });
                    return Err(shape_error!(OP, "{name} has shape {shape}, not {want} of {heads} heads of {d}"));
                }
            };
        }
        Ok(Some(NormNumbers { kind: norm.kind, full, offset: norm.offset.to_bits(), by_head }))
    }

    fn turn_numbers(&self, batch: usize, each: usize, d: usize) -> Result<Option<TurnNumbers>> {
        let Some(turn) = self.rope else { return Ok(None) };
        let positions = if let Angles::Positions(p) = turn.angles { Some(p) } else { None };
        let (half, period) = match turn.angles {
            Angles::Appended => {
                // Any row may be asked for: a table of rows, as with positions.
                let shape = turn.cos.shape();
                let [rows, _] = *shape.dims() else {
                    return Err(shape_error!(OP, "cos has shape {shape}, which is not a table of rows"));
                };
                tables(OP, (turn.cos, turn.sin), None, (1, rows))?
            }
            _ => tables(OP, (turn.cos, turn.sin), positions, (batch, each))?,
        };
        if period == 0 && batch * each > 0 {
            return Err(shape_error!(OP, "cos has shape {}, without a row", turn.cos.shape()));
        }
        if 2 * half > d {
            let (name, value) = ("rotary_dim", (2 * half).to_string());
            return Err(Error::Value { op: OP, name, value, rule: "it must not be above the size of a head" });
        }
        Ok(Some(TurnNumbers {
            cos: turn.cos.layout(),
            sin: turn.sin.layout(),
            half: half as u64,
            period: period as u64,
            angles: match turn.angles {
                Angles::Tokens => 0,
                Angles::Positions(_) => 1,
                Angles::Appended => APPENDED,
            },
            interleaved: turn.interleaved,
            before_norm: turn.before_norm && self.norm.is_some(),
        }))
    }

    fn weights(&self) -> [Option<&Tensor>; 7] {
        let [q_weight, k_weight, q_bias, k_bias] =
            self.norm.map_or([None; 4], |n| [n.q_weight, n.k_weight, n.q_bias, n.k_bias]);
        [self.q_add, self.k_add, self.v_add, q_weight, k_weight, q_bias, k_bias]
    }

    fn places(&self) -> [Option<&Tensor>; 4] {
        let positions = match self.rope {
            Some(Turn { angles: Angles::Positions(p), .. }) => Some(p),
            _ => None,
        };
        [positions, self.lengths(), self.place.table(), self.cu]
    }

    /// Where tokens are appended, as the device knows it.
    fn lengths(&self) -> Option<&Tensor> {
        match self.start {
            Start::At(_) => None,
            Start::Lengths(lengths) => Some(lengths),
            Start::Layer(layer) => Some(&layer.starts),
        }
    }

    /// Of B sequences with L tokens each, or ragged with L together: where the last token is surely appended, as far as the host knows.
    fn last(&self, batch: usize, each: usize) -> Option<usize> {
        // Of the tokens that only the device counts there may be none.
        if self.grids.is_some() || batch * each == 0 {
            return None;
        }
        let alike = self.cu.is_none() || batch == 1;
        match self.start {
            // Of several sequences one has no less than their mean.
            Start::At(start) => Some(start.saturating_add(if alike { each } else { each.div_ceil(batch) }) - 1),
            Start::Layer(layer) if alike => layer.last(each),
            Start::Lengths(_) | Start::Layer(_) => None,
        }
    }
}

impl Op for Prologue<'_> {
    type Problem = PrologueProblem;

    fn problem(&self) -> Result<PrologueProblem> {
        let Self { heads, groups, .. } = *self;
        if heads == 0 || groups == 0 || heads % groups != 0 {
            return Err(shape_error!(OP, "{heads} heads of queries do not share {groups} heads of keys"));
        }
        let (d, e) = self.sizes()?;
        if (self.y.is_some() || self.keys.is_some()) && d == 0 {
            return Err(shape_error!(OP, "D is 0"));
        }
        let ragged = self.cu.is_some();
        // Each projection: its operand, how many heads it has, how wide they are, whether it is wanted.
        let kinds = [
            ("q", heads, d, self.y.is_some()),
            ("k", groups, d, self.keys.is_some()),
            ("v", groups, e, self.values.is_some()),
        ];
        if kinds.iter().all(|(.., wanted)| !wanted) {
            return Err(shape_error!(OP, "neither queries nor keys nor values are asked for"));
        }
        let (mut all, mut from, mut from_strides) = (None, [None; 3], [Strides::default(); 3]);
        let agree = |all: &mut Option<(usize, usize)>, name: &str, found: (usize, usize)| match *all {
            Some(before) if before != found => {
                let ((b, l), (c, m)) = (before, found);
                Err(shape_error!(OP, "{name} has {c} · {m} tokens, but there are {b} · {l}"))
            }
            _ => {
                *all = Some(found);
                Ok(())
            }
        };
        match self.from {
            Projection::Packed(x) => {
                want_float(OP, "the projection", x)?;
                let whole = (heads + groups) * d + groups * e;
                let found = tokens_of("the projection", x, Order::TokensFirst, ragged, 1, whole)?;
                agree(&mut all, "the projection", found)?;
                from[0] = Some(x.layout());
                let mut first = 0;
                for (i, (_, heads, width, _)) in kinds.into_iter().enumerate() {
                    let (token, head) = (whole as u64, width as u64);
                    from_strides[i] = Strides { first, batch: token * found.1 as u64, token, head };
                    first += (heads * width) as u64;
                }
            }
            Projection::Apart { q, k, v } => {
                for (i, ((name, heads, width, wanted), x)) in kinds.into_iter().zip([q, k, v]).enumerate() {
                    if x.is_some() != wanted {
                        let (have, lack) = if wanted { ("wanted", "given") } else { ("given", "wanted") };
                        return Err(shape_error!(OP, "{name} is {have}, but not {lack}"));
                    }
                    let Some(x) = x else { continue };
                    want_float(OP, name, x)?;
                    let order = if ragged { Order::TokensFirst } else { self.from_order };
                    let found = tokens_of(name, x, order, ragged, heads, width)?;
                    agree(&mut all, name, found)?;
                    from[i] = Some(x.layout());
                    from_strides[i] = strides(order, heads, found.1, width);
                }
            }
        }
        let order = if ragged { Order::TokensFirst } else { self.order };
        if let Some(y) = self.y {
            want_float(OP, "y", y)?;
            agree(&mut all, "y", tokens_of("y", y, order, ragged, heads, d)?)?;
        }
        let (_, each) = all.unwrap_or((0, 0));
        let mut batch = all.unwrap_or((0, 0)).0;
        let tokens = batch * each;
        let want_i32 = |name: &'static str, tensor: &Tensor, n: Option<usize>| {
            if tensor.elem() != Elem::I32 {
                return Err(Error::Storage { op: OP, operand: name, have: tensor.elem().name(), want: "i32" });
            }
            match n {
                Some(n) if tensor.elements() != n => {
                    Err(shape_error!(OP, "{name} has shape {}, but must have {n} numbers", tensor.shape()))
                }
                _ => Ok(()),
            }
        };
        if let Some(cu) = self.cu {
            want_i32("cu", cu, None)?;
            batch = cu.elements().saturating_sub(1);
            if batch == 0 && tokens > 0 {
                return Err(shape_error!(OP, "cu has shape {}, which is of no sequence", cu.shape()));
            }
        }
        if let Some(lengths) = self.lengths() {
            want_i32("lengths", lengths, Some(batch))?;
        }
        let rope_batch = if ragged { 1 } else { batch };
        // What has no pairs does not turn.
        let turn = self.turn_numbers(rope_batch, each, d)?.filter(|t| t.half > 0);
        if let (Some(TurnNumbers { angles: APPENDED, period, .. }), Some(last)) = (turn, self.last(batch, each)) {
            if last as u64 >= period {
                return Err(past(OP, period as usize, last));
            }
        }
        let adds =
            [("q_add", self.q_add, heads * d), ("k_add", self.k_add, groups * d), ("v_add", self.v_add, groups * e)];
        for (name, add, n) in adds {
            let Some(add) = add else { continue };
            want_float(OP, name, add)?;
            if add.elements() != n {
                return Err(shape_error!(OP, "{name} has shape {}, but must have {n} numbers", add.shape()));
            }
        }
        let norm = self.norm_numbers(d)?;
        let eps = match (self.norm, self.value_norm) {
            (Some(norm), Some(eps)) if norm.eps != eps => {
                let rule = "it must be that of the norm of queries and keys";
                return Err(Error::Value { op: OP, name: "value_norm", value: eps.to_string(), rule });
            }
            (None, Some(eps)) => {
                number(OP, "value_norm", eps, |v| v >= 0.0, "it must be a number of at least 0").map(|()| eps)?
            }
            (norm, _) => norm.map_or(0.0, |n| n.eps),
        };
        let mut place = None;
        for (name, rows, width) in [("keys", self.keys, d), ("values", self.values, e)] {
            let Some(rows) = rows else { continue };
            if rows.width() != width {
                return Err(shape_error!(OP, "{name} have rows of {}, but heads of {width}", rows.width()));
            }
            let found = self.place.of(OP, rows.rows() as u64, batch, groups)?;
            let found: [u32; 8] = bytemuck::cast(found);
            if place.is_some_and(|before| before != found) {
                return Err(shape_error!(OP, "keys and values have different numbers of rows"));
            }
            place = Some(found);
        }
        Ok(PrologueProblem {
            batch: batch as u64,
            each: each as u64,
            tokens: tokens as u64,
            heads: heads as u64,
            groups: groups as u64,
            d: d as u64,
            e: e as u64,
            packed: matches!(self.from, Projection::Packed(_)),
            from,
            strides: from_strides,
            y: self.y.map(Tensor::layout),
            y_strides: strides(order, heads, each, d),
            keys: self.keys.map(KvRows::layout),
            values: self.values.map(KvRows::layout),
            norm,
            value_norm: self.value_norm.is_some(),
            eps: eps.to_bits(),
            turn,
            place,
            paged: self.place.table().is_some(),
            start: if let Start::At(start) = self.start { start as u64 } else { 0 },
            has_lengths: self.lengths().is_some(),
            ragged,
            weights: Little::of(WEIGHTS, &self.weights()),
            places: Little::of(PLACES, &self.places()),
            grids: counted::check(OP, self.grids)?,
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let [q, k, v] = match self.from {
            Projection::Packed(x) => [Some(x), None, None],
            Projection::Apart { q, k, v } => [q, k, v],
        };
        let (cos, sin) = (self.rope.map(|r| r.cos), self.rope.map(|r| r.sin));
        let mut all = vec![("q", q), ("k", k), ("v", v), ("y", self.y)];
        all.extend([("keys", self.keys.map(KvRows::tensor)), ("values", self.values.map(KvRows::tensor))]);
        all.extend([("cos", cos), ("sin", sin)]);
        let names = ["q_add", "k_add", "v_add", "q_weight", "k_weight", "q_bias", "k_bias"];
        all.extend(names.into_iter().zip(self.weights()));
        all.extend(["positions", "lengths", "table", "cu"].into_iter().zip(self.places()));
        all.push(("grids", self.grids));
        all
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kernel {
    Team,
    Full,
    Naive,
}

/// Lanes of a workgroup.
const LANE_COUNT: u64 = 128;

impl Problem for PrologueProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        if self.tokens == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        self.check(caps)?;
        let mut plans = Vec::new();
        let full = self.norm.is_some_and(|n| n.full);
        let kernel = if full { Kernel::Full } else { Kernel::Team };
        let f16 = |l: Option<Layout>| l.is_some_and(|l| l.elem == Elem::F16);
        let any = self.from.into_iter().any(f16) || f16(self.y);
        // Sums of a whole projection and of the heads of values are not taken together.
        let fits = self.chunks() <= 8 && !(full && self.value_norm);
        for means in Means::all(caps, any).into_iter().filter(|_| fits) {
            // Without a norm there is nothing to sum up.
            if self.norm.is_none() && !self.value_norm && means.subgroup.is_some() {
                continue;
            }
            let (name, why) = match kernel {
                Kernel::Full => ("full", "a workgroup has a token's queries, keys or values"),
                _ => ("team", "a team of lanes has a row"),
            };
            plans.push(self.plan(caps, means, kernel, means.name(name), why)?);
        }
        let why = "one lane a row, by the formula";
        plans.push(self.plan(caps, Means::BASELINE, Kernel::Naive, "naive".into(), why)?);
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

impl PrologueProblem {
    /// Quads of a row, to whole blocks of 32 numbers.
    fn quads(&self) -> u64 {
        self.d.max(self.e).div_ceil(32) * 8
    }

    /// Lanes of a row.
    fn team(&self) -> u64 {
        self.quads().next_power_of_two().min(64)
    }

    fn chunks(&self) -> u64 {
        self.quads().div_ceil(self.team())
    }

    fn plan(&self, caps: &Caps, means: Means, kernel: Kernel, name: String, why: &'static str) -> Result<Plan> {
        let (mut steps, mut scratch_bytes) = (Vec::new(), Vec::new());
        let weights = self.weights.gather(OP, caps, &mut steps, &mut scratch_bytes)?;
        let places = self.places.gather(OP, caps, &mut steps, &mut scratch_bytes)?;
        // Queries, keys, values: all in one step if the device binds so many buffers.
        let wanted = [self.y.is_some(), self.keys.is_some(), self.values.is_some()];
        let one = self.step(caps, means, kernel, wanted, &weights, &places)?;
        // The last plan runs anywhere.
        let most = if kernel == Kernel::Naive { Caps::baseline().storage_buffers } else { caps.storage_buffers };
        if one.binds.len() <= most as usize {
            steps.push(one);
        } else {
            for wanted in [[wanted[0], false, false], [false, wanted[1], wanted[2]]] {
                if wanted.contains(&true) {
                    steps.push(self.step(caps, means, kernel, wanted, &weights, &places)?);
                }
            }
        }
        let mut plan = Plan::new(OP, name, why, steps, scratch_bytes);
        counted::count(&mut plan, GRIDS, self.grids);
        Ok(plan)
    }

    /// The runs of kinds in what is wanted: a step has neighbours only.
    fn rows(&self, wanted: [bool; 3]) -> (u64, u64) {
        let counts = [self.heads, self.groups, self.groups];
        let first = wanted.iter().position(|w| *w).unwrap_or(0);
        let last = wanted.iter().rposition(|w| *w).unwrap_or(0);
        (counts[..first].iter().sum(), counts[first..=last].iter().sum())
    }

    fn step(
        &self,
        caps: &Caps,
        means: Means,
        kernel: Kernel,
        wanted: [bool; 3],
        weights: &Words,
        places: &Words,
    ) -> Result<Step> {
        let (first, count) = self.rows(wanted);
        let even = |l: Layout| (l.offset_bytes / l.elem.bytes() as u64).is_multiple_of(4);
        let quads = kernel != Kernel::Naive
            && (self.d.is_multiple_of(4) && self.e.is_multiple_of(4))
            && self.from.iter().chain([&self.y]).flatten().all(|l| even(*l));
        let native_f16 = means.native_f16;
        let file = match kernel {
            Kernel::Team => "attention/prologue",
            Kernel::Full => "attention/prologue_full",
            Kernel::Naive => "attention/prologue_naive",
        };
        let mut step = Builder::new(file, Loads { quads, native_f16 });
        let norm = self.norm.filter(|_| wanted[0] || wanted[1]);
        let value_norm = self.value_norm && wanted[2];
        let turn = self.turn.filter(|_| wanted[0] || wanted[1]);
        step.set("NORM", Const::Bool(norm.is_some()));
        step.set("VALUE_NORM", Const::Bool(value_norm));
        step.set("ROPE", Const::U32(turn.map_or(0, |t| if t.before_norm { 1 } else { 2 })));
        step.set("INTERLEAVED", Const::Bool(turn.is_some_and(|t| t.interleaved)));
        step.set("ANGLES", Const::U32(turn.map_or(0, |t| t.angles)));
        step.set("PACKED", Const::Bool(self.packed));
        step.set("RAGGED", Const::Bool(self.ragged));
        step.set("PAGED", Const::Bool(self.paged && (wanted[1] || wanted[2])));
        step.set("LENGTHS", Const::Bool(self.has_lengths));
        let mut params = PrologueParams {
            place: self.place.map_or_else(KvPlace::default, bytemuck::cast),
            tokens: self.tokens as u32,
            each: self.each as u32,
            batch: self.batch as u32,
            heads: self.heads as u32,
            groups: self.groups as u32,
            d: self.d as u32,
            e: self.e as u32,
            first: first as u32,
            count: count as u32,
            start: u32::try_from(self.start).unwrap_or(u32::MAX),
            eps: f32::from_bits(self.eps),
            offset: norm.map_or(0.0, |n| f32::from_bits(n.offset)),
            ..Default::default()
        };
        // Of a packed projection the first operand has all.
        let from = |i: usize| if wanted[i] || (i == 0 && self.packed) { self.from[i] } else { None };
        let mut heads = [0; 3];
        for (i, slot) in ["q", "k", "v"].into_iter().enumerate() {
            let part = from(i).map(|layout| Part::whole(FROM + i, layout));
            heads[i] = step.read(slot, i as u32 + 1, part, "slot/read/zero");
        }
        if self.packed {
            heads = [heads[0]; 3];
        }
        let at = |i: usize| {
            let s = self.strides[i];
            [heads[i] + s.first as u32, s.batch as u32, s.token as u32, s.head as u32]
        };
        [params.q0, params.q_batch, params.q_token, params.q_head] = at(0);
        [params.k0, params.k_batch, params.k_token, params.k_head] = at(1);
        [params.v0, params.v_batch, params.v_token, params.v_head] = at(2);
        let y = self.y.filter(|_| wanted[0]);
        params.y0 = step.write("y", 4, y.map(|layout| Part::whole(Y, layout)));
        let s = self.y_strides;
        [params.y_batch, params.y_token, params.y_head] = [s.batch as u32, s.token as u32, s.head as u32];
        match self.keys.filter(|_| wanted[1]) {
            Some(rows) => params.keys = rows.write(&mut step, KEYS, 5, Y + 1, native_f16),
            None => step.fill(KEYS.slot, "slot/kv_write/none"),
        }
        match self.values.filter(|_| wanted[2]) {
            Some(rows) => params.values = rows.write(&mut step, VALUES, 6, Y + 2, native_f16),
            None => step.fill(VALUES.slot, "slot/kv_write/none"),
        }
        let of_tables = Loads {
            quads: kernel != Kernel::Naive
                && turn.is_some_and(|t| t.half.is_multiple_of(4) && even(t.cos) && even(t.sin))
                && !turn.is_some_and(|t| t.interleaved),
            native_f16,
        };
        let of_turn = |operand, layout: Option<Layout>| layout.map(|layout| Part::whole(operand, layout));
        params.cos0 = step.read_as("cosines", 7, of_turn(COS, turn.map(|t| t.cos)), "slot/read/zero", of_tables);
        params.sin0 = step.read_as("sines", 8, of_turn(COS + 1, turn.map(|t| t.sin)), "slot/read/zero", of_tables);
        params.half = turn.map_or(0, |t| t.half as u32);
        params.period = turn.map_or(1, |t| t.period.max(1) as u32);
        weights.bind(&mut step, "weights", 9);
        places.bind(&mut step, "places", 10);
        let at = &weights.at;
        [params.q_add, params.k_add, params.v_add] = [at[0], at[1], at[2]];
        [params.q_weight, params.k_weight, params.q_bias, params.k_bias] =
            if norm.is_some() { [at[3], at[4], at[5], at[6]] } else { [ABSENT; 4] };
        let by = |i: usize| if norm.is_some_and(|n| n.by_head[i]) { self.d as u32 } else { 0 };
        [params.q_weight_head, params.k_weight_head, params.q_bias_head, params.k_bias_head] =
            [by(0), by(1), by(2), by(3)];
        let at = &places.at;
        [params.positions, params.lengths, params.cu] = [at[0], at[1], at[3]];
        params.place.table = at[2];
        step.fill(
            "stat",
            match norm.map(|n| n.kind) {
                Some(NormKind::L2) => "slot/stat/l2",
                Some(NormKind::Layer) => "slot/stat/center",
                Some(NormKind::Rms) | None => "slot/stat/rms",
            },
        );
        // Parts of a token, and how many of them a workgroup has.
        let (times, each) = match kernel {
            Kernel::Naive => {
                step.set("FULL", Const::Bool(norm.is_some_and(|n| n.full)));
                (count, 64)
            }
            Kernel::Team | Kernel::Full => {
                let team = self.team();
                // 16 KiB of workgroup memory are for the rows and for the sums of lanes.
                let rows = (LANE_COUNT / team).min(12 * 1024 / (16 * team * self.chunks())).max(1);
                let rows = 1 << rows.ilog2();
                let full = kernel == Kernel::Full;
                step.set("TEAM", Const::U32(team as u32));
                step.set("CHUNKS", Const::U32(self.chunks() as u32));
                step.set("ROWS", Const::U32(rows as u32));
                step.set("LANE_COUNT", Const::U32((team * rows) as u32));
                step.set("LANES", Const::U32(if full { team * rows } else { team } as u32));
                means.reduce(&mut step);
                let kinds = wanted.iter().rposition(|w| *w).unwrap_or(0) - wanted.iter().position(|w| *w).unwrap_or(0);
                if full { (kinds as u64 + 1, 1) } else { (count, rows) }
            }
        };
        let groups = Groups { first: 0, most: self.tokens, tile: 1, times, each };
        let grid = grid(OP, caps, groups.of(self.tokens))?;
        params.fold = grid[0];
        Ok(Step { groups: Some(groups), ..step.step(&params, grid) })
    }

    /// Everything fits a binding of the device.
    fn check(&self, caps: &Caps) -> Result<()> {
        for layout in self.from.iter().chain([&self.y]).flatten() {
            let (_, need, _) = layout.bind(0, layout.elements);
            if need > caps.storage_binding_bytes {
                let have = caps.storage_binding_bytes;
                return Err(Error::Limit { op: OP, limit: "storage_binding_bytes", need, have });
            }
        }
        self.keys.iter().chain(&self.values).try_for_each(|rows| rows.check(OP, caps))
    }
}
