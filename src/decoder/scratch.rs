//! What stands between the ops of a layer.

use super::{DecoderLayer, Flavour, OP};
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result, shape_error};
use crate::kv::KvRows;
use crate::tensor::{Elem, Tensor};

/// Projections that are apart begin at multiples of so many numbers, which kernels load and bind best.
pub(super) const ALIGN: usize = 128;

/// The room that this takes.
const SPARE: usize = 2 * ALIGN;

/// The tensors between the ops of a layer: made once, and shared by all layers of one size, which run one after the other.
///
/// In bytes of their storage, T tokens take `T·(C + (2H + 4G)·D + F)` numbers and `T·C` of the residual stream: 0.5 GB for 8,192 tokens of
/// Llama-3-8B in f16. Layers with packed projections and with such that are apart share one, as those of a file in several formats do.
#[derive(Debug)]
pub struct LayerScratch {
    stream: Elem,
    pub(super) normed: Tensor,
    pub(super) projected: Tensor,
    pub(super) queries: Tensor,
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
    pub(super) h: Tensor,
    pub(super) gated: Tensor,
}

impl LayerScratch {
    /// For so many tokens, those of all samples together, of layers like this one. `stream` is how the residual stream is stored, `inner`
    /// all else. Each layer adds to the stream, where some models have a few numbers thousands of times as large as the others (Sun et al.,
    /// "Massive Activations in Large Language Models", arXiv 2402.17762): f32 or bf16 has room for them, f16 ends at 65,504.
    ///
    /// # Errors
    /// A storage that is no float; no memory, or a lost device.
    pub fn new(gpu: &Dispatcher, layer: &DecoderLayer<'_>, tokens: usize, stream: Elem, inner: Elem) -> Result<Self> {
        for (operand, elem) in [("the residual stream", stream), ("what is between ops", inner)] {
            if !elem.is_float() {
                return Err(Error::Storage { op: OP, operand, have: elem.name(), want: "f32, f16 or bf16" });
            }
        }
        let [projected, queries, kv, width, hidden] = sizes(layer)?;
        let room = tokens.checked_mul(projected).and_then(|n| n.checked_add(SPARE));
        let room = room.ok_or_else(|| shape_error!(OP, "{tokens} rows by {projected}"))?;
        let projected = gpu.zeros([room], inner)?;
        let [normed, queries, keys, values, gated, h] = rows(
            gpu,
            tokens,
            [(width, inner), (queries, inner), (kv, inner), (kv, inner), (hidden, inner), (width, stream)],
        )?;
        Ok(Self { stream, normed, projected, queries, keys, values, h, gated })
    }

    /// There is room for so many tokens of a layer whose residual stream is stored so.
    pub(super) fn fits(&self, layer: &DecoderLayer<'_>, stream: Elem, tokens: usize) -> Result<()> {
        if stream != self.stream {
            return Err(Error::Storage { op: OP, operand: "x", have: stream.name(), want: self.stream.name() });
        }
        let mut have = [&self.projected, &self.queries, &self.keys, &self.normed, &self.gated].map(Tensor::elements);
        have[0] -= SPARE;
        for (have, need) in have.into_iter().zip(sizes(layer)?) {
            let need = tokens.saturating_mul(need);
            if need > have {
                let detail = format!("{tokens} tokens want {need} numbers, but the scratch has room for {have}");
                return Err(Error::Shape { op: OP, detail });
            }
        }
        Ok(())
    }

    /// Where keys and values of tokens go that no cache keeps: `[B, G, L, D]`.
    pub(super) fn keys_and_values(&self, shape: [usize; 4]) -> Result<[KvRows; 2]> {
        let of = |tensor: &Tensor| KvRows::of(&tensor.view(0, shape)?);
        Ok([of(&self.keys)?, of(&self.values)?])
    }
}

/// Tensors of so many rows, each with its width and its storage.
pub(super) fn rows<const N: usize>(gpu: &Dispatcher, rows: usize, of: [(usize, Elem); N]) -> Result<[Tensor; N]> {
    let tensor = |(width, elem): (usize, Elem)| {
        let elements = rows.checked_mul(width).ok_or_else(|| shape_error!(OP, "{rows} rows by {width}"))?;
        gpu.zeros([elements], elem)
    };
    let made = of.iter().copied().map(tensor).collect::<Result<Vec<_>>>()?;
    Ok(std::array::from_fn(|i| made[i].clone()))
}

/// Numbers of a token: projections, queries, keys, residual stream, feed-forward layer.
fn sizes(layer: &DecoderLayer<'_>) -> Result<[usize; 5]> {
    let Flavour { heads, groups, head_dim, .. } = layer.flavour;
    let of = |heads: usize| heads.checked_mul(head_dim);
    let all = || {
        let (q, kv) = (of(heads)?, of(groups)?);
        Some((q, kv, kv.checked_mul(2)?.checked_add(q)?))
    };
    let told =
        || shape_error!(OP, "{heads} heads and {groups} groups of {head_dim} numbers are more than can be counted");
    let (q, kv, all) = all().ok_or_else(told)?;
    Ok([all, q, kv, layer.width(), layer.hidden()])
}
