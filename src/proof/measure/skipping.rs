//! What token skipping saves: a decoder layer with some of its tokens, beside the same layer with all of them.

use std::collections::BTreeMap;

use super::roof::noise;
use super::{Effort, Stopwatch, measure};
use crate::decoder::{
    DecoderLayer, Flavour, LayerScratch, LayerWeights, Qkv, Router, Skipping, SkippingScratch, Tokens,
};
use crate::dispatch::{Dispatcher, Recording};
use crate::error::Result;
use crate::formats::{Dtype, Format, Packed, Part};
use crate::ops::attention::prologue::{Angles, Turn};
use crate::ops::attention::tables::RopeTable;
use crate::ops::depth::{Choose, Gate, Route, Select};
use crate::tensor::{Elem, Tensor};
use crate::weight::Weight;

/// The sizes of a model's layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSizes {
    /// Its name.
    pub model: &'static str,
    /// What it is.
    pub flavour: Flavour,
    /// C: numbers of a token.
    pub width: usize,
    /// F: those between gate and down.
    pub hidden: usize,
    /// Layers of the model.
    pub layers: usize,
}

impl LayerSizes {
    /// The matrices of a layer, `[N,K]`.
    pub(super) fn matrices(&self) -> [(&'static str, usize, usize); 7] {
        let Self { flavour: f, width: c, hidden, .. } = *self;
        let (q, kv) = (f.heads * f.head_dim, f.groups * f.head_dim);
        [
            ("q", q, c),
            ("k", kv, c),
            ("v", kv, c),
            ("output", c, q),
            ("gate", hidden, c),
            ("up", hidden, c),
            ("down", c, hidden),
        ]
    }
}

/// The layers that are timed.
pub fn layer_sizes() -> [LayerSizes; 2] {
    [
        LayerSizes { model: "Qwen3-0.6B", flavour: Flavour::qwen3(16, 8, 128), width: 1024, hidden: 3072, layers: 28 },
        LayerSizes { model: "Llama-3-8B", flavour: Flavour::llama(32, 8, 128), width: 4096, hidden: 14336, layers: 32 },
    ]
}

/// The numbers of tokens at which they are.
pub const SKIPPING_TOKENS: [usize; 2] = [2048, 8192];

/// The parts of them that are kept.
pub const SKIPPING_KEPT: [f32; 5] = [0.125, 0.25, 0.5, 0.75, 1.0];

/// Tokens of the selection that is timed by itself.
pub const SELECTION_TOKENS: usize = 65_536;

/// A layer with some of its tokens beside the same with all.
#[derive(Clone, Debug, PartialEq)]
pub struct Saving {
    /// The model.
    pub model: &'static str,
    /// The format of its weights.
    pub format: Format,
    /// Tokens.
    pub tokens: usize,
    /// Microseconds of the layer without routing.
    pub dense_us: f64,
    /// Of scores, gates and selection.
    pub routing_us: f64,
    /// Of the same for [`SELECTION_TOKENS`].
    pub selection_us: f64,
    /// The part that is kept, and the microseconds of the routed layer, all of it.
    pub routed: Vec<(f32, f64)>,
}

impl Saving {
    /// How much longer a routed layer took than the part of the dense layer that it keeps, and routing: 1 is proportional. Attention is quadratic in
    /// what is kept, so that it may be less.
    pub fn excess(&self, (kept, us): (f32, f64)) -> f64 {
        us / (f64::from(kept) * self.dense_us + self.routing_us)
    }

    /// The selection of many tokens as a part of this layer at as many, of which attention is not even taken as quadratic.
    pub fn selection_part(&self) -> f64 {
        self.selection_us / (self.dense_us * SELECTION_TOKENS as f64 / self.tokens as f64)
    }
}

/// The weights of a layer.
struct Weights {
    /// Queries, keys and values below each other, and the others in the order of [`LayerSizes::matrices`].
    matrices: Vec<Weight>,
    norm: Tensor,
    of_heads: Tensor,
    router: Tensor,
}

impl Weights {
    fn new(gpu: &Dispatcher, sizes: &LayerSizes, format: Format) -> Result<Self> {
        let LayerSizes { flavour: f, width: c, .. } = *sizes;
        let [q, k, v, output, gate, up, down] = sizes.matrices().map(|(_, n, k)| (n, k));
        let all = [(q.0 + k.0 + v.0, c), output, gate, up, down];
        let matrices = all.into_iter().map(|(n, k)| matrix(gpu, format, n, k)).collect::<Result<Vec<_>>>()?;
        let ones = |n: usize| gpu.upload(&vec![1.0; n], [n], Elem::F32);
        let router = gpu.upload(&numbers(c), [c], Elem::F32)?;
        Ok(Self { matrices, norm: ones(c)?, of_heads: ones(f.head_dim)?, router })
    }

    fn layer(&self, flavour: Flavour) -> DecoderLayer<'_> {
        let [qkv, output, gate, up, down] = std::array::from_fn(|i| &self.matrices[i]);
        let qkv = Qkv::Packed(qkv.into());
        let of_heads = flavour.qk_norm.map(|_| &self.of_heads);
        let weights = LayerWeights::new((&self.norm, &self.norm), (qkv, output), [gate, up, down]);
        DecoderLayer { flavour, weights: LayerWeights { q_norm: of_heads, k_norm: of_heads, ..weights } }
    }
}

/// A matrix: a few rows of numbers, again and again, which take a kernel as long as any.
pub(super) fn matrix(gpu: &Dispatcher, format: Format, n: usize, k: usize) -> Result<Weight> {
    let values: Vec<f32> = numbers(32 * k).into_iter().map(|v| v / (k as f32).sqrt()).collect();
    let sample = match format {
        Format::Dense => {
            let part = Part::new(Dtype::F16, &[32, k], Elem::F16.encode(&values));
            Packed::new(format, 32, k, BTreeMap::from([("w".to_owned(), part)]))?
        }
        _ => Packed::encode(format, 32, k, &values)?,
    };
    gpu.weight_repeated(&sample, n)
}

/// Between −1 and 1.
pub(super) fn numbers(n: usize) -> Vec<f32> {
    noise(n).into_iter().map(|w| w.cast_signed() as f32 / 2f32.powi(31)).collect()
}

/// A layer of made-up weights, and made-up tokens of one sample, of which it may skip some: the way of all of them through it, or of those
/// that a router keeps, is recorded once and replayed. Weights and all between ops are stored in f16.
pub struct SkippedLayer {
    gpu: Dispatcher,
    flavour: Flavour,
    weights: Weights,
    x: Tensor,
    y: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor,
    /// Which tokens may be skipped, where not all may.
    target: Option<Tensor>,
    candidates: usize,
    scratch: LayerScratch,
    of_skipping: SkippingScratch,
}

impl SkippedLayer {
    /// Of so many tokens, the first of which are candidates, with the residual stream in this storage.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn new(
        gpu: &Dispatcher,
        sizes: &LayerSizes,
        format: Format,
        [tokens, candidates]: [usize; 2],
        stream: Elem,
    ) -> Result<Self> {
        let LayerSizes { flavour, width, .. } = *sizes;
        let weights = Weights::new(gpu, sizes, format)?;
        let layer = weights.layer(flavour);
        let (cos, sin) = gpu.rope_table(&RopeTable::new(500_000.0, flavour.head_dim), tokens, Elem::F32)?;
        let positions: Vec<i64> = (0..tokens as i64).collect();
        let flags: Vec<f32> = (0..tokens).map(|t| f32::from(u8::from(t < candidates))).collect();
        let target = (candidates < tokens).then(|| gpu.upload(&flags, [1, tokens], Elem::U8)).transpose()?;
        Ok(Self {
            x: gpu.upload(&numbers(tokens * width), [1, tokens, width], stream)?,
            y: gpu.zeros([1, tokens, width], stream)?,
            positions: gpu.positions(&positions, [1, tokens], tokens)?,
            scratch: LayerScratch::new(gpu, &layer, tokens, stream, Elem::F16)?,
            of_skipping: SkippingScratch::new(gpu, &layer, [1, tokens, tokens], stream)?,
            gpu: gpu.clone(),
            flavour,
            weights,
            cos,
            sin,
            target,
            candidates: candidates.min(tokens),
        })
    }

    /// The way from x to y: of all tokens without a router, or of those that a router with such a gate keeps.
    ///
    /// # Errors
    /// As [`DecoderLayer::record_routed`].
    fn recorded(&self, kept: Option<(Choose, Gate)>) -> Result<Recording> {
        let (layer, angles) = (self.weights.layer(self.flavour), Angles::Positions(&self.positions));
        let turn = Turn { cos: &self.cos, sin: &self.sin, angles, interleaved: false, before_norm: false };
        let tokens = Tokens { turn: Some(turn), ..Tokens::new(&self.x, &self.y) };
        self.gpu.keep(|rec| match kept {
            None => layer.record(rec, &self.scratch, &tokens, None),
            Some((choose, gate)) => {
                let router = Router { gate, ..Router::new(&self.weights.router, choose) };
                let candidates = [self.candidates];
                let (target, candidates) = (self.target.as_ref(), Some(&candidates[..]));
                let skipping = Skipping { target, candidates, ..Skipping::new(router, &self.of_skipping) };
                layer.record_routed(rec, &self.scratch, &tokens, &skipping, None).map(drop)
            }
        })
    }

    /// Microseconds of the layer: median, 20th and 80th percentile. Of all tokens without a router, or of those that are kept, with
    /// router, selection and the end of the layer.
    ///
    /// # Errors
    /// What the dispatcher says.
    pub async fn time(&self, kept: Option<Choose>, effort: &Effort) -> Result<[f64; 3]> {
        let recorded = self.recorded(kept.map(|choose| (choose, Gate::TANH_NORM)))?;
        measure(&mut Stopwatch::new(&self.gpu)?, effort, &mut |rec| rec.replay(&recorded)).await
    }

    /// How many numbers of y differ in their bits between all tokens without a router and those that a router with gates of 1 keeps, and of
    /// how many: none where it keeps all and the stream is F32.
    ///
    /// # Errors
    /// What the dispatcher says.
    pub async fn differences(&self, choose: Choose) -> Result<[usize; 2]> {
        let one = Gate { alpha: 0.0, ..Gate::TANH_NORM };
        let mut made = [Vec::new(), Vec::new()];
        for (y, kept) in made.iter_mut().zip([None, Some((choose, one))]) {
            let recorded = self.recorded(kept)?;
            // What is not written is no number that anybody made.
            self.y.write(&vec![f32::NAN; self.y.elements()])?;
            let mut rec = self.gpu.record()?;
            rec.replay(&recorded)?;
            rec.submit()?;
            *y = self.y.read().await?;
        }
        let differ = made[0].iter().zip(&made[1]).filter(|(a, b)| a.is_nan() || a.to_bits() != b.to_bits());
        Ok([differ.count(), made[0].len()])
    }
}

/// Times a layer with all of its tokens and with parts of them, in f16, each from x to y; and routing by itself. What it computes is
/// judged elsewhere (`tests/decoder.rs`); time does not depend on the numbers.
///
/// # Errors
/// What the dispatcher says.
pub async fn skipping(
    gpu: &Dispatcher,
    sizes: &LayerSizes,
    format: Format,
    tokens: usize,
    effort: &Effort,
) -> Result<Saving> {
    let LayerSizes { model, width, .. } = *sizes;
    let storage = Elem::F16;
    let layer = SkippedLayer::new(gpu, sizes, format, [tokens; 2], storage)?;
    let [dense_us, ..] = layer.time(None, effort).await?;
    let mut routed = Vec::with_capacity(SKIPPING_KEPT.len());
    for kept in SKIPPING_KEPT {
        let [us, ..] = layer.time(Some(Choose::Ratio(kept)), effort).await?;
        routed.push((kept, us));
    }
    let (weights, mut stopwatch) = (&layer.weights, Stopwatch::new(gpu)?);
    let many = Selection::new(gpu, SELECTION_TOKENS, width, storage)?;
    let few = Selection::new(gpu, tokens, width, storage)?;
    let mut times = [0.0; 2];
    for (us, selection) in times.iter_mut().zip([&few, &many]) {
        [*us, ..] = measure(&mut stopwatch, effort, &mut |rec| {
            let Selection { x, score, gate, count, index, place } = selection;
            rec.run(Route { gate: Some(gate), by: Gate::TANH_NORM, ..Route::new(x, &weights.router, score) })?;
            let select = Select::new(score, Choose::Ratio(0.5), count);
            rec.run(Select { index: Some(index), place: Some(place), ..select })
        })
        .await?;
    }
    let [routing_us, selection_us] = times;
    Ok(Saving { model, format, tokens, dense_us, routing_us, selection_us, routed })
}

/// The tensors of a selection.
struct Selection {
    x: Tensor,
    score: Tensor,
    gate: Tensor,
    count: Tensor,
    index: Tensor,
    place: Tensor,
}

impl Selection {
    fn new(gpu: &Dispatcher, tokens: usize, width: usize, storage: Elem) -> Result<Self> {
        let of = |elem| gpu.zeros([1, tokens], elem);
        let x = gpu.upload(&numbers(tokens * width), [1, tokens, width], storage)?;
        let count = gpu.zeros([1], Elem::U32)?;
        let (score, gate, index, place) = (of(Elem::F32)?, of(Elem::F32)?, of(Elem::U32)?, of(Elem::U32)?);
        Ok(Self { x, score, gate, count, index, place })
    }
}
