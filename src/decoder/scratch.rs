//! What stands between the ops of a layer.

use super::{DecoderLayer, OP, Qkv};
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result, shape_error};
use crate::kv::KvRows;
use crate::tensor::{Elem, Tensor};

/// The tensors between the ops of a layer: made once, and shared by all layers of one size, which run one after the other.
///
/// In bytes of their storage, T tokens take `T·(C + (2H + 4G)·D + F)` numbers and `T·C` of the residual stream, 4·G·D fewer where
/// projections are packed: 0.5 GB for 8,192 tokens of Llama-3-8B in f16.
#[derive(Debug)]
pub struct LayerScratch {
    stream: Elem,
    pub(super) normed: Tensor,
    pub(super) projected: Tensor,
    pub(super) k: Tensor,
    pub(super) v: Tensor,
    pub(super) queries: Tensor,
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
    pub(super) h: Tensor,
    pub(super) gated: Tensor,
}

impl LayerScratch {
    /// For so many tokens, those of all samples together, of layers like this one. `stream` is how the residual stream is stored, `inner`
    /// all else.
    ///
    /// # Errors
    /// A storage that is no float; no memory, or a lost device.
    pub fn new(gpu: &Dispatcher, layer: &DecoderLayer<'_>, tokens: usize, stream: Elem, inner: Elem) -> Result<Self> {
        for (operand, elem) in [("the residual stream", stream), ("what is between ops", inner)] {
            if !elem.is_float() {
                return Err(Error::Storage { op: OP, operand, have: elem.name(), want: "f32, f16 or bf16" });
            }
        }
        let [projected, k, queries, width, hidden] = sizes(layer);
        let kv = layer.flavour.groups * layer.flavour.head_dim;
        let rows = |width: usize, elem| {
            let elements = tokens.checked_mul(width).ok_or_else(|| shape_error!(OP, "{tokens} tokens by {width}"))?;
            gpu.zeros([elements], elem)
        };
        Ok(Self {
            stream,
            normed: rows(width, inner)?,
            projected: rows(projected, inner)?,
            k: rows(k, inner)?,
            v: rows(k, inner)?,
            queries: rows(queries, inner)?,
            keys: rows(kv, inner)?,
            values: rows(kv, inner)?,
            h: rows(width, stream)?,
            gated: rows(hidden, inner)?,
        })
    }

    /// There is room for so many tokens of a layer whose residual stream is stored so.
    pub(super) fn fits(&self, layer: &DecoderLayer<'_>, stream: Elem, tokens: usize) -> Result<()> {
        if stream != self.stream {
            return Err(Error::Storage { op: OP, operand: "x", have: stream.name(), want: self.stream.name() });
        }
        let have = [&self.projected, &self.k, &self.queries, &self.normed, &self.gated];
        for (have, need) in have.into_iter().zip(sizes(layer)) {
            let (have, need) = (have.elements(), tokens.saturating_mul(need));
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

/// Numbers of a token: projections, keys of those that are apart, queries, residual stream, feed-forward layer.
fn sizes(layer: &DecoderLayer<'_>) -> [usize; 5] {
    let (q, kv) = (layer.flavour.heads * layer.flavour.head_dim, layer.flavour.groups * layer.flavour.head_dim);
    let [projected, k] = match layer.weights.qkv {
        Qkv::Packed(_) => [q + 2 * kv, 0],
        Qkv::Apart { .. } => [q, kv],
    };
    [projected, k, q, layer.width(), layer.hidden()]
}
