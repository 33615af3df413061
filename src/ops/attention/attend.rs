//! Scaled dot-product attention.

use crate::caps::{Caps, DeviceKind, MatrixUnits};
use crate::error::{Error, Result, shape_error};
use crate::kv::{KEYS, KvAt, KvFormat, KvLayout, KvPlace, KvRows, Place, VALUES};
use crate::ops::attention::Order;
use crate::ops::little::{ABSENT, Little, Words};
use crate::ops::norm::want_elem;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// Attention: `y = softmax(softcap(scale·q·kᵀ) − alibi·|p − t| + mask)·v`, with sinks `exp(sink)` more in the sum of the softmax.
///
/// A query of head h reads the keys and values of head `h / (H/G)`. The position p of query l is `l + offset`; that of a key is its
/// token t, its number among the keys of its element of the batch. A key is seen where `t < kv_len`, where causal `t ≤ p`, where a window
/// is given `p − left ≤ t ≤ p + right`, and where the mask allows it. What is not seen may hold NaN. A query that sees
/// nothing gives zeros, and −∞ as its lse. A NaN in a query, or a logit of +∞, makes NaN of its row of y and of no other.
///
/// Heads may be mixed (talking heads): logits before the mask, `l'[h] = Σ_i before[h,i]·l[i] + bias[h]`, and weights after the softmax. Then
/// the heads of a query share what is wrong with one of them, and a key that some head sees is read for all; one that no head sees stays
/// unseen, whatever the bias. lse is that of the softmax.
///
/// Sums are f32. `softcap(l) = softcap·tanh(l / softcap)`. Features go with each other, but that `q_starts` goes with neither a mask nor `q_len`,
/// and `k_starts` only with [`Place::Tokens`].
///
/// Where no logit is further from 0 than 50, the softmax needs no largest logit: exp of each is a number, and so is their sum. So no maximum is
/// looked for, no sum shrinks when it grows, and a barrier less is waited for with every tile of keys. The host tells it (`bound`), as of
/// QKNorm, where queries and keys have unit norm and no logit is above |g|; or `softcap` does. With `alibi` or a mask of floats, which may
/// put all logits of a row far below 0, and with mixed heads, `bound` changes nothing; nor does it by matrix units, whose f16 weights have no
/// room for e^50.
///
/// Matrix units take f16. Where q, keys and values are stored in 16 bits or less and a device has such units, they are used for many queries, but for
/// mixed heads, and for D or E above 256 (512 where a unit has 8 rows): f16 and bf16 pass exactly, in the range of f16 by powers of two; what is
/// decoded from codes, and the weights of the softmax, are rounded by 2^-11 of themselves. Where one of the three is f32 they are used by the plan's
/// name only, such as `tiled_coop/64x64`.
///
/// ```
/// use gristmill::ops::attention::Attention;
/// use gristmill::{Caps, Elem, KvRows, Op as _, Problem as _, Tensor};
///
/// // Llama-3-8B: 32 heads on 8 of keys and values.
/// let (q, y) = (Tensor::outline([1, 32, 512, 128], Elem::F16)?, Tensor::outline([1, 32, 512, 128], Elem::F16)?);
/// let (k, v) = (Tensor::outline([1, 8, 512, 128], Elem::F16)?, Tensor::outline([1, 8, 512, 128], Elem::F16)?);
/// let (k, v) = (KvRows::of(&k)?, KvRows::of(&v)?);
/// let attention = Attention { causal: true, ..Attention::new(&q, &k, &v, &y) };
/// assert!(!attention.problem()?.plans(&Caps::baseline())?.is_empty());
/// # Ok::<(), gristmill::Error>(())
/// ```
///
/// Sources: Vaswani et al., "Attention Is All You Need" (arXiv 1706.03762); grouped heads, Ainslie et al. (arXiv 2305.13245); the online
/// softmax, Milakov and Gimelshein (arXiv 1805.02867); ALiBi, Press et al. (arXiv 2108.12409); softcap, Gemma 2 (arXiv 2408.00118);
/// sinks, gpt-oss (arXiv 2508.10925); gain, Henry et al., "Query-Key Normalization" (arXiv 2010.04245); mixes, Shazeer et al.,
/// "Talking-Heads Attention" (arXiv 2003.02436) and Zhang et al., "MiniViT" (arXiv 2204.07154).
///
/// # Errors
/// H that is not a multiple of G (without `kv_head`), shapes that G, the batch or each other belie, D or E of 0, features that do not go together, a
/// `longest` above the keys that there is room for, a softcap or bound below 0, an operand of another shape or storage than is said at it. Plans:
/// more mixed heads than there is workgroup memory for; every device has some for 1024.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Any floating storage; `[B,H,L,D]` or `[B,L,H,D]` by `order`, or `[T,H,D]` where `q_starts` is given.
    pub q: &'a Tensor,
    /// The keys, D wide: those of a tensor `[B,G,S,D]`, or where `place` is [`Place::Tokens`] `[B,S,G,D]`; or any rows, with `kv_heads`.
    pub k: &'a KvRows,
    /// The values, E wide, and else as the keys.
    pub v: &'a KvRows,
    /// Any floating storage; the shape of q, but E wide.
    pub y: &'a Tensor,
    /// Receives the logarithm of the sum of exp over the logits, sink included. F32, `[B,H,L]`, or `[T,H]` where `q_starts` is given.
    pub lse: Option<&'a Tensor>,
    /// The order of the dimensions of q and y.
    pub order: Order,
    /// Where keys and values are among their rows. A block table has a page for every token that is looked at; in the place of what is no page
    /// some page is read.
    pub place: Place<'a>,
    /// G, where the shape of the keys does not tell it.
    pub kv_heads: Option<usize>,
    /// Float: added to the logits, −∞ hides. U8: 0 hides. 1 to 4 dimensions that broadcast to `[B,H,L,S]` from the last. Not with
    /// `q_starts`.
    pub mask: Option<&'a Tensor>,
    /// I32, `[B]`: the keys of each element of the batch, the first ones. More than there is room for are as many as there is room for.
    pub kv_len: Option<&'a Tensor>,
    /// I32, `[B]`: the queries of each element of the batch, the first ones. Those past them see nothing, and their keys are not read:
    /// so a prompt of which the device has kept some tokens is attended to without padding. Not with `q_starts`.
    pub q_len: Option<&'a Tensor>,
    /// The largest number in `kv_len`, where the host knows it: what lies beyond is not even looked at. It may be too large, not too
    /// small.
    pub longest: Option<usize>,
    /// A query sees tokens up to its position.
    pub causal: bool,
    /// The position of query 0.
    pub offset: i32,
    /// I32, `[B]`: takes the place of `offset`. Where it changes with every token, plans stay the same.
    pub offsets: Option<&'a Tensor>,
    /// I32, `[B,L]`, or `[T]` where `q_starts` is given: the positions of queries that do not follow each other.
    pub positions: Option<&'a Tensor>,
    /// How many tokens before its position a query sees.
    pub window_left: Option<u32>,
    /// How many tokens after its position a query sees.
    pub window_right: Option<u32>,
    /// I32, `[B]`: tokens below it are seen by all queries, whatever `causal` and the window say; not so the mask and `kv_len`.
    pub prefix: Option<&'a Tensor>,
    /// I32 or U32, `[B,N]`: the tokens that are keys, in any order, in the place of all. A number that is no token is no key, such as
    /// −1; N takes the place of S in `mask` and `kv_len`.
    pub list: Option<&'a Tensor>,
    /// Any floating storage, `[H]`: a logit of each head that has no value.
    pub sinks: Option<&'a Tensor>,
    /// Any floating storage, `[H]`: the slope of each head.
    pub alibi: Option<&'a Tensor>,
    /// 0: none. Up to 50 it is a `bound` too where values are stored as f16, q8_0 or q4_0.
    pub softcap: f32,
    /// How far from 0 logits are at most, as far as the host knows: |g| where queries and keys have unit norm and `gain` is g; `|scale|·‖q‖·‖k‖`
    /// where it knows both norms. What rounding adds does not count. Above 50 it is not used: weights of e^50 have room for values up to 1e9, which
    /// must hold where a bound is told, and those of e^-50 lose nothing of values above 1e-9. A bound that is wrong gives no wrong number: a
    /// row with a logit further than 64 from 0 is as it should be, or NaN.
    pub bound: Option<f32>,
    /// `1/sqrt(D)` where it is not given.
    pub scale: Option<f32>,
    /// Any floating storage, `[1]`: takes the place of the scale.
    pub gain: Option<&'a Tensor>,
    /// I32 or U32, `[H]`: which head of keys and values each head of queries has, in the place of `h / (H/G)`.
    pub kv_head: Option<&'a Tensor>,
    /// I32, `[B + 1]`: the first query of each element of the batch, where all lie one after the other; at its end T.
    pub q_starts: Option<&'a Tensor>,
    /// I32, `[B + 1]`: the first key of each element of the batch, where all lie one after the other: rows `[T,G]`, and `place` is
    /// [`Place::Tokens`].
    pub k_starts: Option<&'a Tensor>,
    /// Mixes the logits of heads: after scale, softcap and ALiBi, before the mask. So what a mask of floats adds, such as a bias of relative positions,
    /// is not mixed.
    pub mix_before: Option<HeadMix<'a>>,
    /// Mixes what the softmax makes of them.
    pub mix_after: Option<HeadMix<'a>>,
}

/// Heads mixed: `y[h] = Σ_i matrix[h,i]·x[i] + bias[h]`, of a query and a key.
#[derive(Clone, Copy, Debug)]
pub struct HeadMix<'a> {
    /// Any floating storage, `[H,H]`.
    pub matrix: &'a Tensor,
    /// Any floating storage, `[H]`.
    pub bias: Option<&'a Tensor>,
}

impl<'a> Attention<'a> {
    /// Every query sees every key.
    pub fn new(q: &'a Tensor, k: &'a KvRows, v: &'a KvRows, y: &'a Tensor) -> Self {
        Self {
            q,
            k,
            v,
            y,
            lse: None,
            order: Order::HeadsFirst,
            place: Place::Heads,
            kv_heads: None,
            mask: None,
            kv_len: None,
            q_len: None,
            longest: None,
            causal: false,
            offset: 0,
            offsets: None,
            positions: None,
            window_left: None,
            window_right: None,
            prefix: None,
            list: None,
            sinks: None,
            alibi: None,
            softcap: 0.0,
            bound: None,
            scale: None,
            gain: None,
            kv_head: None,
            q_starts: None,
            k_starts: None,
            mix_before: None,
            mix_after: None,
        }
    }
}

const OP: &str = "attention";

// The places of the operands; the little ones follow.
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const MASK: usize = 3;
const Y: usize = 4;
const LSE: usize = 5;
const LITTLE: usize = 6;

/// As in `lib/attention.wgsl`.
const FAR: u32 = (1 << 29) - 1;

/// Logits that are no further from 0 need no largest. f32 goes from e^-87 to e^88: e^50 leaves room for values of 1e9 of 10^7 keys, and for
/// codes of keys that are longer than what they stand for; e^-50 for values of 1e-9 that lose nothing.
const BOUND_MOST: f32 = 50.0;

params! {
    /// The params of the kernels that import `lib/attention.wgsl`, where each is explained.
    AttentionParams {
        /// The keys.
        keys: KvAt,
        /// The values.
        values: KvAt,
        /// Where a token's row is.
        place: KvPlace,
        /// The grid's x.
        fold: u32,
        /// Queries times heads.
        rows: u32,
        /// Elements of the batch.
        batch: u32,
        /// Heads of queries.
        heads: u32,
        /// Heads of keys.
        kv_heads: u32,
        /// Queries of each element of the batch.
        queries: u32,
        /// Rows of q and y from one head to the next.
        head_rows: u32,
        /// From one query to the next.
        token_rows: u32,
        /// First element of q.
        q0: u32,
        /// Of y.
        y0: u32,
        /// Of lse.
        lse0: u32,
        /// Of the mask.
        mask0: u32,
        /// Its elements from one element of the batch to the next.
        mask_batch: u32,
        /// From one head to the next.
        mask_head: u32,
        /// From one query to the next.
        mask_query: u32,
        /// From one key to the next.
        mask_key: u32,
        /// What logits are multiplied by.
        scale: f32,
        /// Where logits end.
        softcap: f32,
        /// Position of query 0.
        offset: i32,
        /// The window before.
        left: i32,
        /// And after.
        right: i32,
        /// Keys.
        kv_len: u32,
        /// Positions of query 0.
        offsets: u32,
        /// Keys that all see.
        prefix: u32,
        /// Positions.
        positions: u32,
        /// Sinks.
        sinks: u32,
        /// Slopes.
        alibi: u32,
        /// The gain.
        gain: u32,
        /// Tokens.
        list: u32,
        /// So many.
        list_len: u32,
        /// First queries.
        q_starts: u32,
        /// First keys.
        k_starts: u32,
        /// Heads of heads.
        kv_head: u32,
        /// Parts of the keys.
        splits: u32,
        /// 0.
        nothing: u32,
        /// Queries.
        q_len: u32,
        /// The mix of logits.
        mix_before: u32,
        /// What it adds.
        mix_before_bias: u32,
        /// The mix of weights.
        mix_after: u32,
        /// What it adds.
        mix_after_bias: u32,
    }
}

/// The lanes of a workgroup of `attention/split`.
const SPLIT_LANES: u32 = 128;

/// The workgroup memory that it may take on every device; where there is more than twice that, half, so that two workgroups have room.
const SPLIT_BYTES: u32 = 16 << 10;

/// More rows that share keys go by other kernels: each tile reads the keys again.
const SPLIT_ROWS_MOST: u64 = 32;

/// Workgroups of `attention/split` that fill a device: 4 of 128 lanes on each of 128 multiprocessors, which is about what all of them have room
/// for at once.
const SPLIT_FILLED: u64 = 512;

/// Parts of the keys at most, as many as `attention/merge` has room for.
const SPLITS_MOST: u64 = 256;

/// Keys of a part at least: `attention/split` takes so many at a time.
const SPLIT_KEYS: u64 = 32;

/// Lanes of `attention/merge`.
const MERGE_LANES: u32 = 256;

/// The shape of `attention/split`, whose constants these are.
#[derive(Clone, Copy)]
struct SplitShape {
    rows: u32,
    quads: u32,
    lanes: u32,
    columns: u32,
    lane_count: u32,
    blocks: bool,
    pairs: bool,
    together: u32,
}

/// Fewer rows that share keys leave most of a tile of `attention/tiled` empty.
const TILED_ROWS_LEAST: u64 = 9;

/// The shape of `attention/tiled`, whose constants these are.
#[derive(Clone, Copy)]
struct TiledShape {
    rows: u32,
    keys: u32,
    lane_count: u32,
}

impl TiledShape {
    /// The one for values so wide: a lane keeps at most 16 quads of y.
    fn of(width: u64) -> Option<Self> {
        match width {
            0..=128 => Some(Self { rows: 64, keys: 32, lane_count: 128 }),
            129..=256 => Some(Self { rows: 64, keys: 32, lane_count: 256 }),
            257..=512 => Some(Self { rows: 32, keys: 64, lane_count: 256 }),
            _ => None,
        }
    }
}

/// Tiles that fill a device: one for each of 128 multiprocessors.
const TILES_FILLED: u64 = 128;

/// A shape of `attention/tiled_coop`, whose constants these are.
#[derive(Clone, Copy)]
struct Matrices {
    name: &'static str,
    rows: u32,
    keys: u32,
    /// Subgroups that share rows.
    parts: u32,
}

/// The best first, where there are rows enough. Those with more parts are for wider rows: what registers hold of them is a part's.
const MATRICES: [Matrices; 6] = [
    Matrices { name: "tiled_coop/128x32", rows: 128, keys: 32, parts: 1 },
    Matrices { name: "tiled_coop/64x32/2", rows: 64, keys: 32, parts: 2 },
    Matrices { name: "tiled_coop/32x32/4", rows: 32, keys: 32, parts: 4 },
    Matrices { name: "tiled_coop/64x32", rows: 64, keys: 32, parts: 1 },
    Matrices { name: "tiled_coop/32x16/4", rows: 32, keys: 16, parts: 4 },
    Matrices { name: "tiled_coop/32x16/2", rows: 32, keys: 16, parts: 2 },
];

/// Keys of a part at least, where those of tiles of many rows are parted: four tiles, so that what is done once for a part is little beside them.
const TILES_KEYS: u64 = 128;

/// Numbers of a query, and of a value, of which a subgroup keeps its rows in registers, times the size of its matrix units: AMD's of 16 have
/// an operand twice.
const MATRICES_WIDEST: u32 = 64 * 16;

impl Matrices {
    /// Rows of a subgroup, where units of this size are in subgroups of so many lanes: 16, or 8 where every row would not have a lane.
    fn sub_rows(&self, units: MatrixUnits) -> Option<u32> {
        let fits =
            |rows: &u32| *rows <= self.rows && rows.is_multiple_of(units.size) && units.subgroup * self.parts >= *rows;
        [16, 8].into_iter().find(fits)
    }

    fn lanes(&self, units: MatrixUnits) -> Option<u32> {
        Some(self.rows / self.sub_rows(units)? * self.parts * units.subgroup)
    }

    /// Numbers of a query and a value, rounded up to whole matrices of all parts.
    fn widths(&self, units: MatrixUnits, d: u64, e: u64) -> Option<[u32; 2]> {
        let most = u64::from(MATRICES_WIDEST / units.size * self.parts);
        let widths = [d, e].map(|width| width.next_multiple_of((self.parts * units.size).into()));
        widths.iter().all(|width| *width <= most).then(|| widths.map(|width| width as u32))
    }

    fn fits(&self, caps: &Caps, units: MatrixUnits, [d, e]: [u64; 2]) -> bool {
        let (Some(lanes), Some([d, e])) = (self.lanes(units), self.widths(units, d, e)) else { return false };
        let slice = self.keys.max(self.parts * units.size) + 8;
        let of_row = 2 * slice + 4 * self.parts * (self.keys + 4) + 12;
        let of_tiles = 2 * self.keys * (d + 8) + 2 * e * (self.keys + 8);
        let bytes = of_tiles + self.rows * of_row + 32 + 112; // what mends, and what reduce/subgroup has where it needs none
        bytes <= caps.workgroup_bytes && lanes <= caps.invocations && lanes / self.rows <= units.subgroup
    }
}

/// Rows whose logits, of 32 keys each, `attention/mixed` has workgroup memory for.
const MIXED_ROWS_MOST: u32 = 64;

/// Quads of y that a lane of it keeps.
const MIXED_QUADS_MOST: u64 = 16;

/// Lanes of a workgroup of it.
const MIXED_LANES: u32 = 256;

/// Queries that it may have: each of the lanes that have the same key while heads are mixed has one.
const MIXED_QUERIES: [u32; 4] = [1, 2, 4, 8];

/// Logits that `attention/mixed_naive` has at a time, of so many keys at most.
const MIXED_NAIVE_LOGITS: u32 = 1024;
const MIXED_NAIVE_KEYS: u32 = 64;

/// The shape of `attention/mixed`, whose constants these are.
#[derive(Clone, Copy)]
struct MixedShape {
    queries: u32,
    columns: u32,
    taken: u32,
}

/// A mask, and its elements from one to the next in each dimension of `[B,H,L,S]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mask {
    layout: Layout,
    strides: [u32; 4],
}

/// Attention with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttentionProblem {
    batch: u32,
    heads: u32,
    kv_heads: u32,
    /// Of each element of the batch; of all, where they differ.
    queries: u32,
    /// Keys that there may be of an element of the batch: `longest`, rounded up, so that few problems differ in it.
    keys: u32,
    order: Order,
    /// A [`KvPlace`], as numbers that can be hashed.
    place: [u32; 8],
    q: Layout,
    k: KvLayout,
    v: KvLayout,
    mask: Option<Mask>,
    y: Layout,
    lse: Option<Layout>,
    little: Little,
    causal: bool,
    offset: i32,
    window: Option<[u32; 2]>,
    softcap: u32,
    /// No logit is further from 0 than [`BOUND_MOST`].
    bounded: bool,
    scale: u32,
    /// Which of the little operands are there, and tokens of the list.
    told: [bool; LITTLES],
    list_len: Option<u32>,
}

/// How many little operands there may be, and the place of each among them.
const LITTLES: usize = 17;
const KV_LEN: usize = 0;
const OFFSETS: usize = 1;
const PREFIX: usize = 2;
const POSITIONS: usize = 3;
const SINKS: usize = 4;
const ALIBI: usize = 5;
const GAIN: usize = 6;
const LIST: usize = 7;
const Q_STARTS: usize = 8;
const K_STARTS: usize = 9;
const KV_HEAD: usize = 10;
const TABLE: usize = 11;
const Q_LEN: usize = 12;
const MIX_BEFORE: usize = 13;
const MIX_BEFORE_BIAS: usize = 14;
const MIX_AFTER: usize = 15;
const MIX_AFTER_BIAS: usize = 16;

impl<'a> Attention<'a> {
    fn littles(&self) -> [Operand<'a>; LITTLES] {
        [
            ("kv_len", self.kv_len),
            ("offsets", self.offsets),
            ("prefix", self.prefix),
            ("positions", self.positions),
            ("sinks", self.sinks),
            ("alibi", self.alibi),
            ("gain", self.gain),
            ("list", self.list),
            ("q_starts", self.q_starts),
            ("k_starts", self.k_starts),
            ("kv_head", self.kv_head),
            ("table", self.place.table()),
            ("q_len", self.q_len),
            ("mix_before", self.mix_before.map(|m| m.matrix)),
            ("mix_before_bias", self.mix_before.and_then(|m| m.bias)),
            ("mix_after", self.mix_after.map(|m| m.matrix)),
            ("mix_after_bias", self.mix_after.and_then(|m| m.bias)),
        ]
    }

    /// B, H, L and D; of queries that follow each other, T in the place of L.
    fn sizes(&self) -> Result<[usize; 4]> {
        let shape = self.q.shape();
        let sizes = match (shape.dims(), self.q_starts, self.order) {
            (&[t, h, d], Some(starts), _) => [starts.elements().saturating_sub(1), h, t, d],
            (&[b, h, l, d], None, Order::HeadsFirst) | (&[b, l, h, d], None, Order::TokensFirst) => [b, h, l, d],
            (_, Some(_), _) => return Err(shape_error!(OP, "q has shape {shape}, but with q_starts it is [T, H, D]")),
            _ => return Err(shape_error!(OP, "q has shape {shape}, but it must have four dimensions")),
        };
        if sizes[3] == 0 {
            return Err(shape_error!(OP, "q has shape {shape}: D is 0"));
        }
        if let (Some(starts), [0, _, tokens, _]) = (self.q_starts, sizes)
            && tokens > 0
        {
            return Err(shape_error!(OP, "q_starts has shape {}, which is of no sequence", starts.shape()));
        }
        Ok(sizes)
    }

    /// G, by what is said or by the shape of the keys, which must have the elements of the batch that q has.
    fn kv_heads(&self, batch: usize) -> Result<usize> {
        let shape = self.k.tensor().shape();
        let heads = match (shape.dims(), &self.place) {
            (&[_, g, _, _], Place::Heads | Place::Paged { .. }) | (&[_, _, g, _], Place::Tokens) => Some(g),
            (&[_, g, _], Place::Tokens) if self.k_starts.is_some() => Some(g),
            _ => None,
        };
        let dense = self.k.format().elem().is_some();
        let heads = heads.filter(|_| dense);
        let Some(told) = self.kv_heads.or(heads) else {
            return Err(shape_error!(OP, "kv_heads must be said where k has shape {shape}"));
        };
        if heads.is_some_and(|heads| heads != told) {
            return Err(shape_error!(OP, "k has shape {shape}, but kv_heads is {told}"));
        }
        if let (true, &[_, _, rows, _], &Place::Paged { page, .. }) = (dense, shape.dims(), &self.place)
            && rows != page
        {
            return Err(shape_error!(OP, "k has shape {shape}, but pages have {page} tokens"));
        }
        let (dims, of_v) = (shape.dims(), self.v.tensor().shape());
        let has_batch = dims.len() == 4 && dense && self.place.table().is_none() && self.k_starts.is_none();
        if has_batch && dims[0] != batch {
            return Err(shape_error!(OP, "k has shape {shape}, but q has a batch of {batch}"));
        }
        let both = heads.is_some() && self.v.format().elem().is_some() && of_v.rank() == dims.len();
        if both && of_v.dims()[..dims.len() - 1] != dims[..dims.len() - 1] {
            return Err(shape_error!(OP, "v has shape {of_v}, but k has {shape}"));
        }
        Ok(told)
    }

    /// No logit is further from 0 than [`BOUND_MOST`], and nothing is done to it that may put it further.
    fn bounded(&self) -> bool {
        let mixed = self.mix_before.is_some() || self.mix_after.is_some();
        let moved = mixed || self.alibi.is_some() || self.mask.is_some_and(|mask| mask.elem().is_float());
        // Values whose storage ends far below 1e9.
        let short = matches!(self.v.format(), KvFormat::F16 | KvFormat::Q8_0 | KvFormat::Q4_0);
        let capped = short && self.softcap > 0.0 && self.softcap <= BOUND_MOST;
        !moved && (capped || self.bound.is_some_and(|bound| bound <= BOUND_MOST))
    }

    fn mask(&self, sizes: [usize; 4]) -> Result<Option<Mask>> {
        let Some(mask) = self.mask else { return Ok(None) };
        if mask.elem() != Elem::U8 && !mask.elem().is_float() {
            let (have, want) = (mask.elem().name(), "f32, f16, bf16 or u8");
            return Err(Error::Storage { op: OP, operand: "mask", have, want });
        }
        let shape = mask.shape();
        let dims = shape.dims();
        let from = 4usize.saturating_sub(dims.len());
        let fits =
            !dims.is_empty() && dims.len() <= 4 && dims.iter().zip(&sizes[from..]).all(|(d, n)| *d == 1 || d == n);
        if !fits || self.q_starts.is_some() {
            return Err(shape_error!(
                OP,
                "mask has shape {shape}, but it must broadcast to {sizes:?}, without q_starts"
            ));
        }
        // What a kernel counts in 32 bits.
        if mask.elements() > u32::MAX as usize {
            return Err(shape_error!(OP, "mask has shape {shape}, but no more than 2^32 - 1 numbers are possible"));
        }
        let mut strides = [0; 4];
        let mut next = 1;
        for (stride, size) in strides[from..].iter_mut().zip(dims).rev() {
            *stride = if *size == 1 { 0 } else { next as u32 };
            next *= size;
        }
        Ok(Some(Mask { layout: mask.layout(), strides }))
    }
}

/// A little operand has so many numbers, and is stored as it must be.
fn want_little(name: &'static str, tensor: Option<&Tensor>, floats: bool, dims: &[usize]) -> Result<()> {
    let Some(tensor) = tensor else { return Ok(()) };
    let index = matches!(tensor.elem(), Elem::I32) || tensor.elem() == Elem::U32 && ["list", "kv_head"].contains(&name);
    if floats {
        want_float(OP, name, tensor)?;
    } else if !index {
        return Err(Error::Storage { op: OP, operand: name, have: tensor.elem().name(), want: "i32" });
    }
    if tensor.shape().dims() != dims {
        return Err(shape_error!(OP, "{name} has shape {}, but it must be {dims:?}", tensor.shape()));
    }
    Ok(())
}

impl Op for Attention<'_> {
    type Problem = AttentionProblem;

    fn problem(&self) -> Result<AttentionProblem> {
        want_float(OP, "q", self.q)?;
        want_float(OP, "y", self.y)?;
        let [batch, heads, queries, d] = self.sizes()?;
        let (k, v) = (self.k, self.v);
        if k.width() != d {
            return Err(shape_error!(OP, "k has {} numbers in a row, but q has D = {d}", k.width()));
        }
        if v.rows() != k.rows() {
            return Err(shape_error!(OP, "v has {} rows, but k has {}", v.rows(), k.rows()));
        }
        let kv_heads = self.kv_heads(batch)?;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) && self.kv_head.is_none() {
            return Err(shape_error!(OP, "q has H = {heads}, which is not a multiple of G = {kv_heads}"));
        }
        let mut want = self.q.shape().dims().to_vec();
        if let Some(last) = want.last_mut() {
            *last = v.width();
        }
        if self.y.shape().dims() != want {
            return Err(shape_error!(OP, "y has shape {}, but it must be {want:?}", self.y.shape()));
        }
        let ragged = self.q_starts.is_some();
        if let Some(lse) = self.lse {
            want_elem(OP, "lse", lse, Elem::F32, "f32")?;
            let want = if ragged { vec![queries, heads] } else { vec![batch, heads, queries] };
            if lse.shape().dims() != want {
                return Err(shape_error!(OP, "lse has shape {}, but it must be {want:?}", lse.shape()));
            }
        }
        if ragged && self.q_len.is_some() {
            return Err(shape_error!(OP, "q_len and q_starts both tell how many queries there are"));
        }
        if self.k_starts.is_some() && !matches!(self.place, Place::Tokens) {
            return Err(shape_error!(OP, "with k_starts, keys are in the order of tokens"));
        }
        let of_keys = if self.k_starts.is_some() { 1 } else { batch };
        let place = self.place.of(OP, k.rows() as u64, of_keys, kv_heads)?;
        let list_len = match self.list.map(|l| (l.shape(), l.shape().rank())) {
            None => None,
            Some((shape, 2)) => Some(shape.dims()[1]),
            Some((shape, _)) => return Err(shape_error!(OP, "list has shape {shape}, but it must be [B, N]")),
        };
        let keys = list_len.unwrap_or(place.room as usize);
        for (name, size) in [("queries", queries), ("keys", keys), ("rooms for keys", place.room as usize)] {
            if size > FAR as usize {
                return Err(shape_error!(OP, "there are {size} {name}, but no more than {FAR} are possible"));
            }
        }
        let of_queries = if ragged { vec![queries] } else { vec![batch, queries] };
        let of_list = [batch, list_len.unwrap_or(0)];
        for (name, tensor, floats, dims) in [
            ("kv_len", self.kv_len, false, &[batch][..]),
            ("q_len", self.q_len, false, &[batch]),
            ("offsets", self.offsets, false, &[batch]),
            ("prefix", self.prefix, false, &[batch]),
            ("positions", self.positions, false, &of_queries),
            ("sinks", self.sinks, true, &[heads]),
            ("alibi", self.alibi, true, &[heads]),
            ("gain", self.gain, true, &[1]),
            ("list", self.list, false, &of_list),
            ("kv_head", self.kv_head, false, &[heads]),
            ("q_starts", self.q_starts, false, &[batch + 1]),
            ("k_starts", self.k_starts, false, &[batch + 1]),
            ("mix_before", self.mix_before.map(|m| m.matrix), true, &[heads, heads]),
            ("mix_before_bias", self.mix_before.and_then(|m| m.bias), true, &[heads]),
            ("mix_after", self.mix_after.map(|m| m.matrix), true, &[heads, heads]),
            ("mix_after_bias", self.mix_after.and_then(|m| m.bias), true, &[heads]),
        ] {
            want_little(name, tensor, floats, dims)?;
        }
        let longest = match self.longest {
            Some(longest) if longest > keys => {
                let (value, rule) = (format!("{longest} of {keys}"), "there are fewer keys");
                return Err(Error::Value { op: OP, name: "longest", value, rule });
            }
            Some(longest) if self.kv_len.is_some() => longest.next_power_of_two().min(keys),
            _ => keys,
        };
        let scale = self.scale.unwrap_or((1.0 / (d as f64).sqrt()) as f32);
        let bound = self.bound.unwrap_or(0.0);
        for (name, value, ok) in
            [("scale", scale, true), ("softcap", self.softcap, self.softcap >= 0.0), ("bound", bound, bound >= 0.0)]
        {
            if !ok || !value.is_finite() {
                let rule = "it must be a finite number, and a softcap or a bound at least 0";
                return Err(Error::Value { op: OP, name, value: value.to_string(), rule });
            }
        }
        if self.offset.unsigned_abs() > FAR {
            let (value, rule) = (self.offset.to_string(), "it must be within 536870911 of 0");
            return Err(Error::Value { op: OP, name: "offset", value, rule });
        }
        let littles = self.littles().map(|(_, t)| t);
        let window = [self.window_left, self.window_right];
        Ok(AttentionProblem {
            batch: batch as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            queries: queries as u32,
            keys: longest as u32,
            order: if ragged { Order::TokensFirst } else { self.order },
            place: bytemuck::cast(place),
            q: self.q.layout(),
            k: k.layout(),
            v: v.layout(),
            mask: self.mask([batch, heads, queries, keys])?,
            y: self.y.layout(),
            lse: self.lse.map(Tensor::layout),
            told: littles.map(|t| t.is_some_and(|t| t.elements() > 0)),
            little: Little::of(LITTLE, &littles),
            causal: self.causal,
            offset: self.offset,
            window: window.iter().any(Option::is_some).then(|| window.map(|n| n.unwrap_or(FAR).min(FAR))),
            // A zero without its sign.
            softcap: self.softcap.abs().to_bits(),
            bounded: self.bounded(),
            scale: scale.to_bits(),
            list_len: list_len.map(|n| n as u32),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let mut list = vec![
            ("q", Some(self.q)),
            ("k", Some(self.k.tensor())),
            ("v", Some(self.v.tensor())),
            ("mask", self.mask),
            ("y", Some(self.y)),
            ("lse", self.lse),
        ];
        list.extend(self.littles());
        list
    }
}

impl Problem for AttentionProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        if self.q.elements == 0 {
            return Ok(vec![Plan::new(OP, "empty", "there are no queries", Vec::new(), Vec::new())]);
        }
        self.fits(caps)?;
        if self.told[MIX_BEFORE] || self.told[MIX_AFTER] {
            let mut plans = self.mixed_plans(caps)?;
            plans.push(self.mixed_naive(caps)?);
            return Ok(plans);
        }
        let mut plans = self.split_plans(caps)?;
        let (matrices, at) = (self.matrices_plans(caps)?, plans.len());
        plans.extend(self.tiled_plans(caps)?);
        let at = if self.is_for_matrices() { at } else { plans.len() };
        plans.splice(at..at, matrices);
        // The last runs everywhere.
        plans.push(self.naive(caps)?);
        Ok(plans)
    }
}

/// A plan in the making: its first steps, which gather little operands, and what they give.
struct Begun {
    steps: Vec<Step>,
    scratch_bytes: Vec<u64>,
    words: Words,
}

impl AttentionProblem {
    fn rows(&self) -> u64 {
        self.q.elements / self.k.width
    }

    /// Every operand fits a binding of the device, and rows can be counted.
    fn fits(&self, caps: &Caps) -> Result<()> {
        self.k.check(OP, caps)?;
        self.v.check(OP, caps)?;
        let have = caps.storage_binding_bytes;
        for layout in [Some(self.q), Some(self.y), self.mask.map(|m| m.layout)].into_iter().flatten() {
            let (_, need, _) = layout.bind(0, layout.elements);
            if need > have {
                return Err(Error::Limit { op: OP, limit: "storage_binding_bytes", need, have });
            }
        }
        Ok(())
    }

    fn begin(&self, caps: &Caps) -> Result<Begun> {
        let (mut steps, mut scratch_bytes) = (Vec::new(), Vec::new());
        let words = self.little.gather(OP, caps, &mut steps, &mut scratch_bytes)?;
        Ok(Begun { steps, scratch_bytes, words })
    }

    fn plan_of(begun: Begun, name: &str, why: &'static str) -> Plan {
        Plan::new(OP, name, why, begun.steps, begun.scratch_bytes)
    }

    /// A kernel with the features that are asked for and the params that all kernels share, without operands.
    fn kernel(&self, kernel: &'static str, words: &Words) -> (Builder, AttentionParams) {
        // Operands are read by loads of their own.
        let mut step = Builder::new(kernel, Loads { quads: false, native_f16: false });
        let float_mask = self.mask.is_some_and(|m| m.layout.elem.is_float());
        for (name, on) in [
            ("KV_LEN", self.told[KV_LEN]),
            ("Q_LEN", self.told[Q_LEN]),
            ("CAUSAL", self.causal),
            ("WINDOW", self.window.is_some()),
            ("OFFSETS", self.told[OFFSETS]),
            ("POSITIONS", self.told[POSITIONS]),
            ("PREFIX", self.told[PREFIX]),
            ("MASK", float_mask),
            ("MASK_BOOL", self.mask.is_some() && !float_mask),
            ("SOFTCAP", self.softcap != 0),
            ("ALIBI", self.told[ALIBI]),
            ("GAIN", self.told[GAIN]),
            ("SINKS", self.told[SINKS]),
            ("BOUNDED", self.bounded),
            ("KV_HEAD", self.told[KV_HEAD]),
            ("PAGED", self.told[TABLE]),
            ("LISTED", self.list_len.is_some()),
            ("RAGGED_Q", self.told[Q_STARTS]),
            ("RAGGED_K", self.told[K_STARTS]),
        ] {
            step.set(name, Const::Bool(on));
        }
        let at = |little: usize| words.at.get(little).copied().unwrap_or(ABSENT);
        let [left, right] = self.window.unwrap_or([FAR; 2]).map(|n| n as i32);
        let tokens_first = self.order == Order::TokensFirst;
        let params = AttentionParams {
            place: KvPlace { table: at(TABLE), ..bytemuck::cast(self.place) },
            rows: self.rows() as u32,
            batch: self.batch,
            heads: self.heads,
            kv_heads: self.kv_heads,
            queries: self.queries,
            head_rows: if tokens_first { 1 } else { self.queries },
            token_rows: if tokens_first { self.heads } else { 1 },
            scale: f32::from_bits(self.scale),
            softcap: f32::from_bits(self.softcap),
            offset: self.offset,
            left,
            right,
            kv_len: at(KV_LEN),
            offsets: at(OFFSETS),
            prefix: at(PREFIX),
            positions: at(POSITIONS),
            sinks: at(SINKS),
            alibi: at(ALIBI),
            gain: at(GAIN),
            list: at(LIST),
            list_len: self.list_len.unwrap_or(0),
            q_starts: at(Q_STARTS),
            k_starts: at(K_STARTS),
            kv_head: at(KV_HEAD),
            q_len: at(Q_LEN),
            mix_before: at(MIX_BEFORE),
            mix_before_bias: at(MIX_BEFORE_BIAS),
            mix_after: at(MIX_AFTER),
            mix_after_bias: at(MIX_AFTER_BIAS),
            splits: 1,
            ..Default::default()
        };
        words.bind(&mut step, "little", 7);
        (step, params)
    }

    /// Rows of q or y of so many numbers begin at multiples of four.
    fn loads(layout: Layout, width: u64, native_f16: bool) -> Loads {
        let first = layout.offset_bytes / layout.elem.bytes() as u64;
        Loads { quads: width.is_multiple_of(4) && first.is_multiple_of(4), native_f16 }
    }

    /// Binds q, keys, values and the mask.
    fn inputs(&self, step: &mut Builder, params: &mut AttentionParams, native_f16: bool) {
        let loads = Self::loads(self.q, self.k.width, native_f16);
        params.q0 = step.read_as("q", 1, Some(Part::whole(Q, self.q)), "", loads);
        if self.k.rows == 0 {
            // No binding is as small as that.
            for slot in [KEYS, VALUES] {
                step.fill(slot.slot, "slot/kv/dense");
                step.fill(slot.read, "slot/read/zero");
            }
            params.keys.width = self.k.width as u32;
            params.values.width = self.v.width as u32;
        } else {
            params.keys = self.k.read(step, KEYS, 2, K, native_f16);
            params.values = self.v.read(step, VALUES, 3, V, native_f16);
        }
        let any = Loads { quads: false, native_f16 };
        match self.mask {
            // Bytes are as signed ones: they are 0 or not.
            Some(Mask { layout, .. }) if layout.elem == Elem::U8 => {
                step.fill("mask", "slot/read/i8_any");
                params.mask0 = step.bind(4, Part::whole(MASK, layout), Access::Read);
            }
            mask => {
                let part = mask.map(|m| Part::whole(MASK, m.layout));
                params.mask0 = step.read_as("mask", 4, part, "slot/read/zero", any);
            }
        }
        let [batch, head, query, key] = self.mask.map_or([0; 4], |m| m.strides);
        (params.mask_batch, params.mask_head, params.mask_query, params.mask_key) = (batch, head, query, key);
    }

    /// Binds y and lse.
    fn outputs(&self, step: &mut Builder, params: &mut AttentionParams, native_f16: bool) {
        let loads = Self::loads(self.y, self.v.width, native_f16);
        params.y0 = step.write_as("y", 5, Part::whole(Y, self.y), loads);
        params.lse0 = step.write("lse", 6, self.lse.map(|l| Part::whole(LSE, l)));
    }

    /// Keys that a tile of rows may see at most, as far as the host can tell.
    fn reach(&self) -> u64 {
        let keys = u64::from(self.keys);
        let elsewhere = [PREFIX, POSITIONS, LIST].iter().any(|little| self.told[*little]);
        let Some([left, right]) = self.window.filter(|_| !elsewhere) else { return keys };
        let right = if self.causal { 0 } else { right };
        keys.min(u64::from(left) + u64::from(right) + u64::from(self.queries))
    }

    /// Heads that read the same keys.
    fn group(&self) -> u64 {
        if self.told[KV_HEAD] { 1 } else { u64::from(self.heads / self.kv_heads) }
    }

    /// Rows that read the same keys: heads of a group, and the queries of each; where elements of the batch differ, as many as they have on
    /// the average.
    fn sharing(&self) -> u64 {
        let queries = if self.told[Q_STARTS] { self.queries.div_ceil(self.batch.max(1)) } else { self.queries };
        self.group() * u64::from(queries)
    }

    /// Tiles of so many rows that share keys, of the whole batch; where elements of it differ, as many as there may be.
    fn tiles(&self, rows: u32) -> u64 {
        let (rows, batch) = (u64::from(rows), u64::from(self.batch));
        let of_group = match self.told[Q_STARTS] {
            true => self.group() * u64::from(self.queries) / rows + batch,
            false => batch * self.sharing().div_ceil(rows),
        };
        u64::from(self.heads) / self.group() * of_group
    }

    /// Some operand is f16, the device has it, and reading it as such is worth while.
    fn native_f16(&self, caps: &Caps) -> bool {
        let stored = [Some(self.q.elem), Some(self.y.elem), self.k.format.elem(), self.v.format.elem()];
        caps.f16 && caps.kind != DeviceKind::Cpu && stored.contains(&Some(Elem::F16))
    }

    /// The shape of `attention/split`, where it takes this problem.
    fn split_shape(&self, caps: &Caps) -> Option<SplitShape> {
        let (quads, columns) = ((self.k.width.div_ceil(32) * 8) as u32, self.v.width.div_ceil(4) as u32);
        // Two quads of a value a lane: loads of 16 bytes of f16, one scale of codes, one weight for both. Of more rows, sums fill the registers.
        let pairs = self.sharing() <= 4 && self.v.width.is_multiple_of(8);
        let columns = if pairs { columns / 2 } else { columns };
        let lane_count = SPLIT_LANES.min(caps.invocations);
        // At most as many keys at the same time as a tile has.
        let columns = columns.next_power_of_two().max(lane_count / SPLIT_KEYS as u32);
        if self.sharing() > SPLIT_ROWS_MOST || columns > lane_count {
            return None;
        }
        // A device stores quantised keys to read less of them: a lane that has a block loads its scale once.
        let blocks = self.k.format.elem().is_none();
        let lanes = if blocks { quads / 8 } else { quads }.next_power_of_two().min(8);
        // A row's queries, logits, row and scale; 32 keys; what lanes sum, in the kernel and over subgroups or by halving.
        let bytes = |rows: u32, together: u32| rows * (quads * 16 + 128 + 40) + 192 + lane_count * (together * 16 + 28);
        let mut most = (lane_count / lanes).min(16).min(self.sharing() as u32).next_power_of_two();
        let room = SPLIT_BYTES.max(caps.workgroup_bytes / 2);
        while most > 1 && bytes(most, 1) > room {
            most /= 2;
        }
        if bytes(most, 1) > room {
            return None;
        }
        let rows = most;
        // Quads of values of a lane, of which lanes sum two at a time where they can: with four, compilers for RDNA3 took 24 registers more.
        let of_lane = rows * if pairs { 2 } else { 1 };
        let two = of_lane.min(lane_count / columns) >= 2 && bytes(rows, 2) <= room;
        let together = if two { 2 } else { 1 };
        Some(SplitShape { rows, quads, lanes, columns, lane_count, blocks, pairs, together })
    }

    /// Bytes of what is made of a part of the keys of all rows.
    fn part_bytes(&self) -> u64 {
        self.rows() * (self.v.width.div_ceil(4) + 1) * 16
    }

    /// Parts of the keys of each tile: enough workgroups to fill a device, but each part has at least so many keys, and what is made of all fits
    /// a binding.
    fn splits(&self, caps: &Caps, tiles: u64, filled: u64, keys: u64) -> u64 {
        let wanted = filled.div_ceil(tiles).min(self.reach().div_ceil(keys));
        wanted.min(caps.storage_binding_bytes / self.part_bytes()).clamp(1, SPLITS_MOST)
    }

    /// Parts of the keys of each tile of many rows, where there are few tiles: no more than this.
    fn tile_splits(&self, caps: &Caps, tiles: u64, few: u64) -> u64 {
        if tiles <= few { self.splits(caps, tiles, TILES_FILLED, TILES_KEYS) } else { 1 }
    }

    /// Plans for few queries.
    fn split_plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let Some(shape) = self.split_shape(caps) else { return Ok(Vec::new()) };
        let all = Means::few(caps, self.native_f16(caps));
        all.into_iter().map(|means| self.split(caps, means, shape)).collect()
    }

    fn split(&self, caps: &Caps, means: Means, shape: SplitShape) -> Result<Plan> {
        let mut begun = self.begin(caps)?;
        let SplitShape { rows, quads, lanes, columns, lane_count, blocks, pairs, together } = shape;
        let tiles = self.tiles(rows);
        let splits = self.splits(caps, tiles, SPLIT_FILLED, SPLIT_KEYS);
        let (mut step, mut params) = self.kernel("attention/split", &begun.words);
        self.inputs(&mut step, &mut params, means.native_f16);
        for (name, value) in
            [("ROWS", rows), ("QUADS", quads), ("LANES", lanes), ("COLUMNS", columns), ("LANE_COUNT", lane_count)]
        {
            step.set(name, Const::U32(value));
        }
        step.set("BLOCKS", Const::Bool(blocks));
        step.set("PAIRS", Const::Bool(pairs));
        step.set("TOGETHER", Const::U32(together));
        step.fill("agree", caps.target.agree());
        means.reduce(&mut step);
        self.parted(caps, means, &mut begun, (step, params), [tiles, splits])?;
        Ok(Self::plan_of(
            begun,
            &means.name("split"),
            "few queries: keys and values are streamed once for all rows of a tile",
        ))
    }

    /// Ends a plan: this kernel for each tile and each part of its keys, and, where there are parts, one that adds what they make.
    fn parted(
        &self,
        caps: &Caps,
        means: Means,
        begun: &mut Begun,
        (mut step, mut params): (Builder, AttentionParams),
        [tiles, splits]: [u64; 2],
    ) -> Result<()> {
        params.splits = splits as u32;
        let parts_bytes = self.part_bytes() * splits;
        let scratch = begun.scratch_bytes.len();
        if splits == 1 {
            step.fill("parts", "slot/parts/none");
            self.outputs(&mut step, &mut params, means.native_f16);
        } else {
            step.fill("y", "slot/write/none");
            step.fill("lse", "slot/write/none");
            step.fill("parts", "slot/parts/write");
            step.scratch(8, scratch, parts_bytes, Access::Write);
            begun.scratch_bytes.push(parts_bytes);
        }
        let of_parts = grid(OP, caps, tiles * splits)?;
        params.fold = of_parts[0];
        begun.steps.push(step.step(&params, of_parts));
        if splits == 1 {
            return Ok(());
        }
        let (mut step, mut params) = self.kernel("attention/merge", &begun.words);
        step.fill("mask", "slot/read/zero");
        params.splits = splits as u32;
        params.values.width = self.v.width as u32;
        self.outputs(&mut step, &mut params, means.native_f16);
        step.scratch(8, scratch, parts_bytes, Access::Read);
        step.set("COLUMNS", Const::U32((self.v.width.div_ceil(4) as u32).next_power_of_two()));
        step.set("LANE_COUNT", Const::U32(MERGE_LANES.min(caps.invocations)));
        means.reduce(&mut step);
        let grid = grid(OP, caps, self.rows())?;
        params.fold = grid[0];
        begun.steps.push(step.step(&params, grid));
        Ok(())
    }

    /// Plans for many queries.
    fn tiled_plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let shape = TiledShape::of(self.v.width).filter(|shape| shape.lane_count <= caps.invocations);
        let Some(shape) = shape else { return Ok(Vec::new()) };
        if self.sharing() < TILED_ROWS_LEAST {
            return Ok(Vec::new());
        }
        let all = Means::without_sums(caps, self.native_f16(caps));
        all.into_iter().map(|means| self.tiled(caps, means, shape)).collect()
    }

    fn tiled(&self, caps: &Caps, means: Means, shape: TiledShape) -> Result<Plan> {
        let mut begun = self.begin(caps)?;
        let TiledShape { rows, keys, lane_count } = shape;
        let (mut step, mut params) = self.kernel("attention/tiled", &begun.words);
        self.inputs(&mut step, &mut params, means.native_f16);
        let slices = self.v.width.div_ceil(u64::from(keys)) as u32;
        for (name, value) in [("ROWS", rows), ("KEYS", keys), ("SLICES", slices), ("LANE_COUNT", lane_count)] {
            step.set(name, Const::U32(value));
        }
        let tiles = self.tiles(rows);
        // A device without matrix units may be a small one, which is soon filled, and to whose memory parts are much.
        let splits = self.tile_splits(caps, tiles, TILES_FILLED / 8);
        self.parted(caps, means, &mut begun, (step, params), [tiles, splits])?;
        let why = "many queries: a tile of keys and values serves many rows, all heads of a group among them";
        Ok(Self::plan_of(begun, &format!("tiled{}", means.f16()), why))
    }

    /// Whether matrix units may be chosen for the caller: they make operands f16. What is stored in 16 bits or less passes as it is, or loses
    /// less than it has lost; who has f32 wants f32.
    fn is_for_matrices(&self) -> bool {
        self.q.elem != Elem::F32 && ![self.k.format, self.v.format].contains(&KvFormat::F32)
    }

    /// Plans by matrix units, the best first. Where nobody gets them without asking, one is enough, and none on a software device, which takes
    /// seconds to compile it.
    fn matrices_plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let cpu = caps.kind == DeviceKind::Cpu;
        let [d, e] = [self.k.width, self.v.width];
        let asked = self.sharing() >= TILED_ROWS_LEAST && (!cpu || self.is_for_matrices());
        let Some(units) = caps.matrix_units().filter(|_| asked) else { return Ok(Vec::new()) };
        let mut shapes: Vec<_> = MATRICES.iter().filter(|shape| shape.fits(caps, units, [d, e])).collect();
        if cpu {
            // A processor gains nothing by more subgroups; and the one that has units is where tiles of one subgroup are tested.
            shapes.sort_by_key(|shape| shape.parts);
        }
        // The more rows a tile has, the less is read; but they should be there, and tiles or parts of their keys enough for all cores. Where
        // there are not, 64 rows are as quick as 32.
        let parts = (self.reach() / TILES_KEYS).max(1);
        let there = |shape: &Matrices| self.sharing() * 2 > u64::from(shape.rows);
        let fills = |shape: &Matrices| cpu || self.tiles(shape.rows) * parts >= TILES_FILLED;
        let best = shapes.iter().position(|shape| there(shape) && (shape.rows <= 64 || fills(shape)));
        let best = best.unwrap_or_else(|| shapes.len().saturating_sub(1));
        shapes.rotate_left(best);
        if cpu || !self.is_for_matrices() {
            shapes.truncate(1);
        }
        shapes.into_iter().map(|shape| self.matrices(caps, units, shape)).collect()
    }

    fn matrices(&self, caps: &Caps, units: MatrixUnits, shape: &Matrices) -> Result<Plan> {
        let mut begun = self.begin(caps)?;
        let means = Means { subgroup: Some(units.subgroup), native_f16: self.native_f16(caps) };
        let (mut step, mut params) = self.kernel("attention/tiled_coop", &begun.words);
        self.inputs(&mut step, &mut params, means.native_f16);
        let [d, e] = shape.widths(units, self.k.width, self.v.width).unwrap_or_default();
        for (name, value) in [
            ("ROWS", shape.rows),
            ("KEYS", shape.keys),
            ("SUB_ROWS", shape.sub_rows(units).unwrap_or_default()),
            ("PARTS", shape.parts),
            ("D", d),
            ("E", e),
        ] {
            step.set(name, Const::U32(value));
        }
        let f16 = [self.k.format, self.v.format] == [KvFormat::F16; 2];
        step.set("Q_SCALED", Const::Bool(self.q.elem != Elem::F16));
        step.set("SCALED", Const::Bool(!f16));
        step.fill("matrix", units.filling());
        means.reduce(&mut step);
        let tiles = self.tiles(shape.rows);
        // Half of a device at work is better than parts that must be added.
        let splits = self.tile_splits(caps, tiles, TILES_FILLED / 2);
        // Parts have bases of their own, whether logits are bounded or not.
        let unbounded = Self { bounded: false, ..self.clone() };
        unbounded.parted(caps, means, &mut begun, (step, params), [tiles, splits])?;
        let why = "f16 operands, by matrix units: a tile of keys and values serves many rows, all heads of a group among them";
        Ok(Plan { operands: Some(Elem::F16), ..Self::plan_of(begun, shape.name, why) })
    }

    /// Of a kernel of mixed heads.
    fn mixes(&self, step: &mut Builder) {
        step.set("HEADS", Const::U32(self.heads));
        for (name, little) in [
            ("MIX_BEFORE", MIX_BEFORE),
            ("MIX_BEFORE_BIAS", MIX_BEFORE_BIAS),
            ("MIX_AFTER", MIX_AFTER),
            ("MIX_AFTER_BIAS", MIX_AFTER_BIAS),
        ] {
            step.set(name, Const::Bool(self.told[little]));
        }
    }

    /// Tiles of so many queries, of the whole batch.
    fn query_tiles(&self, queries: u32) -> u64 {
        let (all, batch) = (u64::from(self.queries), u64::from(self.batch));
        match self.told[Q_STARTS] {
            true => all / u64::from(queries) + batch,
            false => batch * all.div_ceil(queries.into()),
        }
    }

    /// The shape of `attention/mixed`, where it takes this problem. All queries of a tile share what is read of keys, which takes a workgroup
    /// about as long as what is done for four queries.
    fn mixed_shape(&self) -> Option<MixedShape> {
        let columns = self.v.width.div_ceil(4);
        let shape = |queries: u32| {
            let slots = |taken: u32| u64::from(self.heads) * columns * u64::from(queries / taken);
            // A quad of values serves all queries of a lane, unless that would leave lanes without one.
            let busy = |taken: &u32| *taken <= queries && slots(*taken) * 2 >= MIXED_LANES.into();
            let taken = MIXED_QUERIES.into_iter().rev().find(busy).unwrap_or(1);
            let quads = slots(taken).div_ceil(MIXED_LANES.into()) * u64::from(taken);
            (quads <= MIXED_QUADS_MOST).then_some(MixedShape { queries, columns: columns as u32, taken })
        };
        let most = self.queries.next_power_of_two().min(MIXED_ROWS_MOST / self.heads);
        let shapes = MIXED_QUERIES.into_iter().filter(|queries| *queries <= most).filter_map(shape);
        let time = |queries: u32| self.query_tiles(queries).div_ceil(TILES_FILLED) * u64::from(4 + queries);
        shapes.min_by_key(|shape| time(shape.queries))
    }

    /// Plans for mixed heads.
    fn mixed_plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let Some(shape) = self.mixed_shape().filter(|_| caps.invocations >= MIXED_LANES) else { return Ok(Vec::new()) };
        let all = Means::few(caps, self.native_f16(caps));
        all.into_iter().map(|means| self.mixed(caps, means, shape)).collect()
    }

    fn mixed(&self, caps: &Caps, means: Means, shape: MixedShape) -> Result<Plan> {
        let mut begun = self.begin(caps)?;
        let (mut step, mut params) = self.kernel("attention/mixed", &begun.words);
        self.inputs(&mut step, &mut params, means.native_f16);
        self.outputs(&mut step, &mut params, means.native_f16);
        self.mixes(&mut step);
        let MixedShape { queries, columns, taken } = shape;
        // Without shuffles sums would wait at barriers.
        let lanes = means.subgroup.map_or(1, |size| size.min(8));
        let quads = (self.k.width.div_ceil(4) as u32).next_multiple_of(lanes);
        let quads = if quads / lanes > 8 { quads.next_multiple_of(8 * lanes) } else { quads };
        for (name, value) in [
            ("GROUP", self.group() as u32),
            ("QUERIES", queries),
            ("QUADS", quads),
            ("COLUMNS", columns),
            ("TAKEN", taken),
            ("LANES", lanes),
            ("LANE_COUNT", MIXED_LANES),
        ] {
            step.set(name, Const::U32(value));
        }
        means.reduce(&mut step);
        let grid = grid(OP, caps, self.query_tiles(queries))?;
        params.fold = grid[0];
        begun.steps.push(step.step(&params, grid));
        let why = "mixed heads: all heads of some queries in a workgroup, nothing of all keys kept";
        Ok(Self::plan_of(begun, &means.name("mixed"), why))
    }

    fn mixed_naive(&self, caps: &Caps) -> Result<Plan> {
        let keys = (MIXED_NAIVE_LOGITS / self.heads).clamp(1, MIXED_NAIVE_KEYS);
        let (need, have) = (8 * u64::from(self.heads) * u64::from(keys + 1), caps.workgroup_bytes.into());
        if need > have {
            return Err(Error::Limit { op: OP, limit: "workgroup_bytes", need, have });
        }
        let mut begun = self.begin(caps)?;
        let (mut step, mut params) = self.kernel("attention/mixed_naive", &begun.words);
        self.inputs(&mut step, &mut params, false);
        self.outputs(&mut step, &mut params, false);
        self.mixes(&mut step);
        step.set("KEYS", Const::U32(keys));
        let heads = u64::from(self.heads);
        let slices = (heads * self.v.width.div_ceil(4)).div_ceil(64);
        let grid = grid(OP, caps, self.rows() / heads * slices)?;
        params.fold = grid[0];
        begun.steps.push(step.step(&params, grid));
        Ok(Self::plan_of(begun, "naive", "all heads of a query, by the formula"))
    }

    fn naive(&self, caps: &Caps) -> Result<Plan> {
        let mut begun = self.begin(caps)?;
        let (mut step, mut params) = self.kernel("attention/naive", &begun.words);
        self.inputs(&mut step, &mut params, false);
        self.outputs(&mut step, &mut params, false);
        let grid = grid(OP, caps, self.rows() * self.v.width.div_ceil(256))?;
        params.fold = grid[0];
        begun.steps.push(step.step(&params, grid));
        Ok(Self::plan_of(begun, "naive", "a workgroup a row, by the formula"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_mixes_are_named() -> Result<()> {
        let outline = |shape: &[usize], elem| Tensor::outline(shape, elem);
        let (q, k) = (outline(&[1, 4, 5, 8], Elem::F32)?, KvRows::of(&outline(&[1, 4, 6, 8], Elem::F32)?)?);
        let (matrix, bias) = (outline(&[4, 4], Elem::F16)?, outline(&[4], Elem::Bf16)?);
        let told = |before: Option<HeadMix<'_>>, after: Option<HeadMix<'_>>| {
            let op = Attention { mix_before: before, mix_after: after, ..Attention::new(&q, &k, &k, &q) };
            op.problem().map_or_else(|error| error.to_string(), |_| "right".to_owned())
        };
        let right = HeadMix { matrix: &matrix, bias: Some(&bias) };
        assert_eq!(told(Some(right), Some(right)), "right");
        for (wrong, want) in [
            (HeadMix { matrix: &outline(&[4, 3], Elem::F32)?, bias: None }, "has shape [4, 3], but it must be [4, 4]"),
            (HeadMix { bias: Some(&outline(&[3], Elem::F32)?), ..right }, "_bias has shape [3], but it must be [4]"),
            (HeadMix { matrix: &outline(&[4, 4], Elem::I32)?, bias: None }, "i32"),
            (HeadMix { bias: Some(&outline(&[4], Elem::U8)?), ..right }, "u8"),
        ] {
            for (name, told) in [("mix_before", told(Some(wrong), None)), ("mix_after", told(None, Some(wrong)))] {
                assert!(told.contains(name) && told.contains(want), "{told}");
            }
        }
        Ok(())
    }

    #[test]
    fn what_kv_heads_tells_agrees_with_shapes() -> Result<()> {
        let outline = |shape: &[usize]| Tensor::outline(shape, Elem::F32);
        let told = |k: &[usize], v: &[usize], kv_heads, place| -> Result<String> {
            let (q, k, v) = (outline(&[1, 4, 1, 8])?, KvRows::of(&outline(k)?)?, KvRows::of(&outline(v)?)?);
            let op = Attention { kv_heads, place, ..Attention::new(&q, &k, &v, &q) };
            Ok(op.problem().map_or_else(|error| error.to_string(), |problem| problem.place[6].to_string()))
        };
        let heads = Place::Heads;
        assert_eq!(told(&[1, 2, 6, 8], &[1, 2, 6, 8], Some(2), heads)?, "6");
        assert_eq!(told(&[12, 8], &[12, 8], Some(2), heads)?, "6");
        for kv_heads in [None, Some(2)] {
            assert!(told(&[2, 2, 6, 8], &[2, 2, 6, 8], kv_heads, heads)?.contains("a batch of 1"));
            let told = told(&[1, 2, 6, 8], &[1, 6, 2, 8], kv_heads, heads)?;
            assert!(told.contains("v has shape [1, 6, 2, 8], but k has [1, 2, 6, 8]"), "{told}");
        }
        assert!(told(&[1, 2, 6, 8], &[1, 2, 6, 8], Some(4), heads)?.contains("kv_heads is 4"));
        assert!(told(&[1, 2, 6, 8], &[1, 2, 6, 8], Some(2), Place::Tokens)?.contains("kv_heads is 2"));
        Ok(())
    }

    #[test]
    fn pages_are_as_long_as_they_are_told_to_be() -> Result<()> {
        let (q, k) = (Tensor::outline([1, 4, 1, 8], Elem::F32)?, Tensor::outline([4, 2, 16, 8], Elem::F32)?);
        let (k, table) = (KvRows::of(&k)?, Tensor::outline([1, 4], Elem::I32)?);
        let told = |page| {
            let place = Place::Paged { table: &table, page };
            Attention { place, ..Attention::new(&q, &k, &k, &q) }.problem().map_err(|error| error.to_string())
        };
        assert!(told(16).is_ok());
        assert_eq!(told(8).err().as_deref(), Some("attention: k has shape [4, 2, 16, 8], but pages have 8 tokens"));
        Ok(())
    }

    #[test]
    fn tokens_of_no_sequence_are_an_error() -> Result<()> {
        let told = |tokens: usize, starts: usize| -> Result<String> {
            let (q, k) = (Tensor::outline([tokens, 1, 8], Elem::F32)?, Tensor::outline([4, 1, 8], Elem::F32)?);
            let (k, starts) = (KvRows::of(&k)?, Tensor::outline([starts], Elem::I32)?);
            let (q_starts, k_starts, place) = (Some(&starts), Some(&starts), Place::Tokens);
            let op = Attention { q_starts, k_starts, place, ..Attention::new(&q, &k, &k, &q) };
            Ok(op.problem().map_or_else(|error| error.to_string(), |_| "right".to_owned()))
        };
        for tokens in [1, 3, 40] {
            assert_eq!(told(tokens, 1)?, "attention: q_starts has shape [1], which is of no sequence");
            assert_eq!(told(tokens, 2)?, "right");
        }
        assert_eq!(told(0, 1)?, "right");
        Ok(())
    }

    #[test]
    fn a_mask_of_more_numbers_than_a_kernel_counts_is_an_error() -> Result<()> {
        let outline = |shape: &[usize], elem| Tensor::outline(shape, elem);
        let (q, k) = (outline(&[1, 1, 65_536, 8], Elem::F16)?, outline(&[1, 1, 65_536, 8], Elem::F16)?);
        let (k, mask) = (KvRows::of(&k)?, outline(&[65_536, 65_536], Elem::U8)?);
        let told = Attention { mask: Some(&mask), ..Attention::new(&q, &k, &k, &q) }.problem();
        assert!(told.as_ref().is_err_and(|error| error.to_string().contains("2^32 - 1")), "{told:?}");
        Ok(())
    }

    #[test]
    fn parts_are_as_many_as_a_binding_takes() -> Result<()> {
        let plans = |batch: usize, caps: &Caps| -> Result<Vec<u64>> {
            let (q, table) =
                (Tensor::outline([batch, 32, 1, 128], Elem::F16)?, Tensor::outline([batch, 32], Elem::I32)?);
            let k = KvRows::outline(KvFormat::F16, 4 * 8 * 16, 128)?;
            let place = Place::Paged { table: &table, page: 16 };
            let op = Attention { kv_heads: Some(8), place, ..Attention::new(&q, &k, &k, &q) };
            let plans = op.problem()?.plans(caps)?;
            Ok(plans.iter().flat_map(|plan| &plan.scratch_bytes).copied().collect())
        };
        // So many tiles fill a device by themselves.
        assert!(plans(8192, &Caps::baseline())?.is_empty());
        // 8 parts, of which a binding takes so many.
        let each = 8 * 32 * 33 * 16;
        let of_some = |most: u64| Caps { storage_binding_bytes: most * each, ..Caps::baseline() };
        assert_eq!(plans(8, &Caps::baseline())?, [8 * each]);
        assert_eq!(plans(8, &of_some(5))?, [5 * each]);
        assert!(plans(8, &of_some(1))?.is_empty());
        Ok(())
    }

    #[test]
    fn many_heads_of_few_tokens_fill_a_device() -> Result<()> {
        let steps = |caps: &Caps, name: &str, [heads, groups, queries, d, e]: [usize; 5]| -> Result<Vec<Step>> {
            let outline = |shape: [usize; 4]| Tensor::outline(shape, Elem::F16);
            let (q, y) = (outline([1, heads, queries, d])?, outline([1, heads, queries, e])?);
            let [k, v] = [d, e].map(|width| KvRows::outline(KvFormat::F16, groups << 15, width));
            let op = |k, v| Attention { kv_heads: Some(groups), ..Attention::new(&q, k, v, &y) }.problem()?.plans(caps);
            let plans = op(&k?, &v?)?;
            Ok(plans.into_iter().find(|plan| plan.name.starts_with(name)).map(|plan| plan.steps).unwrap_or_default())
        };
        // Decoding by MQA, Falcon and MLA, and 9 drafted tokens of Llama-3: 1, 2, 4 and 8 tiles of 32,768 keys.
        for sizes in [[64, 1, 1, 128, 128], [71, 1, 1, 64, 64], [128, 1, 1, 576, 512], [32, 8, 9, 128, 128]] {
            let steps = steps(&Caps::baseline(), "tiled", sizes)?;
            let (kernel, grid) = (steps[0].key.kernel, steps[0].grid);
            assert!(kernel == "attention/tiled" && grid[0] * grid[1] >= 128, "{sizes:?}: {kernel} by {grid:?}");
        }
        // The 16 heads of a group of Llama-3.1-405B read each key once, where two workgroups that do have room.
        for (caps, rows) in [(Caps::baseline(), 8), (Caps::nvidia(), 16)] {
            let steps = steps(&caps, "split", [128, 8, 1, 128, 128])?;
            assert!(steps[0].key.consts.contains(&("ROWS", Const::U32(rows))), "{:?}", steps[0].key);
        }
        Ok(())
    }

    /// Whether the plans of this attention, f32 but for the values, take logits as bounded.
    fn bounded(values: Elem, change: impl for<'a> Fn(&mut Attention<'a>, [&'a Tensor; 4])) -> Result<bool> {
        let outline = |shape: &[usize], elem| Tensor::outline(shape, elem);
        let (q, y) = (outline(&[1, 4, 40, 64], Elem::F32)?, outline(&[1, 4, 40, 64], Elem::F32)?);
        let (k, v) = (outline(&[1, 2, 50, 64], Elem::F32)?, outline(&[1, 2, 50, 64], values)?);
        let (k, v) = (KvRows::of(&k)?, KvRows::of(&v)?);
        let little = [
            outline(&[4], Elem::F32)?,
            outline(&[40, 50], Elem::F32)?,
            outline(&[40, 50], Elem::U8)?,
            outline(&[4, 4], Elem::F32)?,
        ];
        let mut attention = Attention::new(&q, &k, &v, &y);
        change(&mut attention, little.each_ref());
        let plans = attention.problem()?.plans(&Caps::baseline())?;
        let steps = plans.iter().flat_map(|plan| &plan.steps).filter(|step| step.key.kernel.starts_with("attention/"));
        let on: Vec<bool> = steps.map(|step| step.key.consts.contains(&("BOUNDED", Const::Bool(true)))).collect();
        assert!(on.iter().all(|is| *is == on[0]), "plans differ");
        Ok(on[0])
    }

    #[test]
    fn a_bound_is_used_where_it_is_told_and_safe() -> Result<()> {
        let (f32, f16) = (Elem::F32, Elem::F16);
        assert!(!bounded(f32, |_, _| ())?);
        assert!(bounded(f32, |a, _| a.bound = Some(50.0))?);
        assert!(!bounded(f32, |a, _| a.bound = Some(50.1))?);
        // A softcap is one by itself, where values cannot be too large.
        assert!(bounded(f16, |a, _| a.softcap = 50.0)?);
        assert!(!bounded(f16, |a, _| a.softcap = 51.0)?);
        assert!(!bounded(f32, |a, _| a.softcap = 50.0)?);
        assert!(!bounded(Elem::Bf16, |a, _| a.softcap = 50.0)?);
        // What may lower all logits of a row.
        assert!(!bounded(f16, |a, [alibi, ..]| (a.bound, a.alibi) = (Some(1.0), Some(alibi)))?);
        assert!(!bounded(f16, |a, [_, floats, ..]| (a.bound, a.mask) = (Some(1.0), Some(floats)))?);
        assert!(!bounded(f16, |a, [_, floats, ..]| (a.softcap, a.mask) = (5.0, Some(floats)))?);
        assert!(!bounded(f16, |a, [_, _, _, matrix]| {
            (a.bound, a.mix_before) = (Some(1.0), Some(HeadMix { matrix, bias: None }));
        })?);
        assert!(bounded(f16, |a, [sinks, _, bytes, _]| {
            (a.bound, a.sinks, a.mask) = (Some(0.0), Some(sinks), Some(bytes));
        })?);
        Ok(())
    }

    #[test]
    fn a_bound_that_cannot_be_is_an_error() {
        for bound in [-1.0, f32::NAN, f32::INFINITY] {
            let told = bounded(Elem::F32, |a, _| a.bound = Some(bound));
            assert!(matches!(told, Err(Error::Value { op: OP, name: "bound", .. })), "{bound}: {told:?}");
        }
    }
}
