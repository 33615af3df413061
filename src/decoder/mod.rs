//! A decoder layer: norm, projections, attention, residual, norm, gated feed-forward, put together from [`crate::ops`].
//!
//! ```text
//! x ─ norm ─ q k v ─ prologue ─ attention ─ output ─(norm)─ + ─ h ─ norm ─ gate up ─ down ─(norm)─ + ─ y
//! └──────────────────────────────────────────────────────────┘ └─────────────────────────────────────┘
//! ```
//!
//! | what | dispatches | fused into them |
//! |---|---|---|
//! | norm | 1 | |
//! | projections | 1 packed, 3 apart | bias |
//! | prologue | 1 | norms of queries and keys, turn, write to the cache |
//! | attention | 1 or 2 | |
//! | output | 1 | bias, residual; a norm after it is one more, which adds the residual |
//! | norm | 1 | |
//! | gate and up | 1 | activation, product |
//! | down | 1 | bias, residual; as with the output |
//!
//! A [`DecoderLayer`] is borrowed weights and a [`Flavour`]; what stands between its ops is a [`LayerScratch`], which all layers of a
//! model share. Recording a layer allocates nothing on the device but, the first time, what scratch its ops want, and reads nothing back. All
//! layers of a model go into one recorder, and so into one submission.
//!
//! | [`LayerWeights`] | Llama, Mistral, Qwen2, Qwen3 | Gemma 2, Gemma 3 | GGUF, each |
//! |---|---|---|---|
//! | `attention_norm` | `input_layernorm` | `input_layernorm` | `attn_norm` |
//! | `qkv` | `self_attn.{q,k,v}_proj` | the same | `attn_{q,k,v}` |
//! | `q_norm`, `k_norm` | Qwen3: `self_attn.{q,k}_norm` | Gemma 3: the same | `attn_{q,k}_norm` |
//! | `output` | `self_attn.o_proj` | the same | `attn_output` |
//! | `attention_end` | | `post_attention_layernorm` | `post_attention_norm` |
//! | `mlp_norm` | `post_attention_layernorm` | `pre_feedforward_layernorm` | `ffn_norm` |
//! | `gate`, `up`, `down` | `mlp.{gate,up,down}_proj` | the same | `ffn_{gate,up,down}` |
//! | `mlp_end` | | `post_feedforward_layernorm` | `post_ffw_norm` |
//!
//! What a file does not say, and what gives wrong words without an error:
//!
//! - **A GGUF file of the architecture `llama`** (Llama, Mistral) has the rows of queries and keys in another order than safetensors: neighbours turn
//!   together, [`Turn::interleaved`]. Those of `qwen2`, `qwen3`, `gemma2` and `gemma3` turn by halves, as all safetensors of this table do.
//! - **A GGUF file of Gemma** has 1 in the weights of its norms already: [`Flavour::norm_offset`] is 0.
//! - **Before the first layer** Gemma multiplies embeddings by `sqrt(C)`. **After the last** the norm is that of the layers, with their offset; Gemma 2
//!   then ends logits at 30, `30·tanh(logit/30)`.
//!
//! Source: transformers' models of these names, and for GGUF `convert_hf_to_gguf.py` and `llama_model_rope_type` of llama.cpp.

use crate::adapters::AdapterSet;
use crate::dispatch::{Encoder, Recorder};
use crate::error::{Result, shape_error};
use crate::kv_cache::KvLayer;
use crate::ops::attention::prologue::{Angles, NormAxis, NormKind, Turn};
use crate::ops::linear::Activation;
use crate::ops::{Op, Operand, Planned};
use crate::tensor::Tensor;
use crate::weight::Weight;

mod scratch;
mod skipping;
mod through;

pub use scratch::LayerScratch;
pub use skipping::{Router, Skipping, SkippingScratch};
use through::Through;

const OP: &str = "decoder layer";

/// What a layer is, apart from its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flavour {
    /// H: heads of queries.
    pub heads: usize,
    /// G: heads of keys and values.
    pub groups: usize,
    /// D: numbers of a head.
    pub head_dim: usize,
    /// Of all norms.
    pub eps: f32,
    /// Is added to the weights of all norms: 1 for Gemma.
    pub norm_offset: f32,
    /// Norms round to the storage of the residual stream before the weight, as Llama's and Qwen's code does.
    pub cast_before_weight: bool,
    /// The norm of queries and keys.
    pub qk_norm: Option<(NormKind, NormAxis)>,
    /// What logits are multiplied by; `1/sqrt(D)` where it is not given.
    pub scale: Option<f32>,
    /// Where logits end; 0: nowhere.
    pub softcap: f32,
    /// How many tokens before its own a query sees: one less than the sliding window of checkpoints, which counts the token itself.
    pub window: Option<u32>,
    /// The feed-forward layer's activation.
    pub activation: Activation,
}

impl Flavour {
    /// Llama, Mistral, Qwen2: eps 1e-5, as of Llama 2 and 3.
    pub fn llama(heads: usize, groups: usize, head_dim: usize) -> Self {
        Self {
            heads,
            groups,
            head_dim,
            eps: 1e-5,
            norm_offset: 0.0,
            cast_before_weight: true,
            qk_norm: None,
            scale: None,
            softcap: 0.0,
            window: None,
            activation: Activation::Silu,
        }
    }

    /// Qwen3: an RMS norm over each head of queries and keys, eps 1e-6.
    pub fn qwen3(heads: usize, groups: usize, head_dim: usize) -> Self {
        let qk_norm = Some((NormKind::Rms, NormAxis::Head));
        Self { eps: 1e-6, qk_norm, ..Self::llama(heads, groups, head_dim) }
    }

    /// Gemma 2: weights of norms about 0, softcap 50. The scale of a checkpoint is `1/sqrt(query_pre_attn_scalar)`, and every other layer has
    /// a window.
    pub fn gemma2(heads: usize, groups: usize, head_dim: usize) -> Self {
        Self { qk_norm: None, softcap: 50.0, ..Self::gemma3(heads, groups, head_dim) }
    }

    /// Gemma 3: weights of norms about 0, those of queries and keys too. Scale and window as in [`Flavour::gemma2`].
    pub fn gemma3(heads: usize, groups: usize, head_dim: usize) -> Self {
        Self {
            norm_offset: 1.0,
            cast_before_weight: false,
            activation: Activation::GeluTanh,
            ..Self::qwen3(heads, groups, head_dim)
        }
    }
}

/// The matrix of a linear layer, its bias, and its live adapters. `(&w).into()` is one with neither; with those of a model's
/// [`ModelAdapters`](crate::adapters::ModelAdapters) it is `Matrix { adapters: live.get(name), ..(&w).into() }`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// `[N,K]`, in any format.
    pub w: &'a Weight,
    /// `[N]`, any floating storage.
    pub bias: Option<&'a Tensor>,
    /// Of which each token has that of [`LayerWeights::adapter_index`].
    pub adapters: Option<&'a AdapterSet>,
}

impl<'a> From<&'a Weight> for Matrix<'a> {
    fn from(w: &'a Weight) -> Self {
        Self { w, bias: None, adapters: None }
    }
}

/// The projections to queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub enum Qkv<'a> {
    /// One matrix: the rows of all heads of queries, then keys, then values, `[(H + 2G)·D, C]`. One dispatch, and x is read once.
    /// [`Dispatcher::weight_stacked`](crate::Dispatcher::weight_stacked) makes it of three.
    Packed(Matrix<'a>),
    /// Three.
    Apart {
        /// `[H·D, C]`.
        q: Matrix<'a>,
        /// `[G·D, C]`.
        k: Matrix<'a>,
        /// `[G·D, C]`.
        v: Matrix<'a>,
    },
}

/// The weights of a layer, which may be in any format, each in its own. C is the width of the residual stream, F that of the
/// feed-forward layer. Vectors are in any floating storage.
#[derive(Clone, Copy, Debug)]
pub struct LayerWeights<'a> {
    /// `[C]`: the norm before attention.
    pub attention_norm: &'a Tensor,
    /// Queries, keys and values.
    pub qkv: Qkv<'a>,
    /// `[D]`, `[H, D]` or `[H·D]`: of the norm of queries. It and `k_norm` in one buffer spare a dispatch.
    pub q_norm: Option<&'a Tensor>,
    /// The same with G for H: of the norm of keys.
    pub k_norm: Option<&'a Tensor>,
    /// `[H]`: a logit of each head that has no value.
    pub sinks: Option<&'a Tensor>,
    /// `[C, H·D]`: what attention gives, back to the residual stream.
    pub output: Matrix<'a>,
    /// `[C]`: a norm of what attention adds.
    pub attention_end: Option<&'a Tensor>,
    /// `[C]`: the norm before the feed-forward layer.
    pub mlp_norm: &'a Tensor,
    /// `[F, C]`: what the activation is of.
    pub gate: Matrix<'a>,
    /// `[F, C]`.
    pub up: &'a Weight,
    /// As [`Matrix::adapters`].
    pub up_adapters: Option<&'a AdapterSet>,
    /// `[C, F]`.
    pub down: Matrix<'a>,
    /// `[C]`: a norm of what the feed-forward layer adds.
    pub mlp_end: Option<&'a Tensor>,
    /// I32, `[B, L]`: the place in all sets of adapters that a token's stands in, below 0 for none. Where it is absent all tokens have that in
    /// place 0.
    pub adapter_index: Option<&'a Tensor>,
}

impl<'a> LayerWeights<'a> {
    /// Llama's: without norms of queries and keys, sinks, and norms after a branch.
    pub fn new(
        (attention_norm, mlp_norm): (&'a Tensor, &'a Tensor),
        (qkv, output): (Qkv<'a>, &'a Weight),
        [gate, up, down]: [&'a Weight; 3],
    ) -> Self {
        Self {
            attention_norm,
            qkv,
            q_norm: None,
            k_norm: None,
            sinks: None,
            output: output.into(),
            attention_end: None,
            mlp_norm,
            gate: gate.into(),
            up,
            up_adapters: None,
            down: down.into(),
            mlp_end: None,
            adapter_index: None,
        }
    }
}

/// The tokens that a layer is run on.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// The residual stream, F32, f16 or bf16, `[B, L, C]`, stored as the scratch was told.
    pub x: &'a Tensor,
    /// Receives it. Shape of x, any floating storage; it may be x itself.
    pub y: &'a Tensor,
    /// The turn of queries and keys. With a cache [`Angles::Appended`] is the plain case,
    /// unless tokens have skipped the layer: places in its cache are then no positions.
    pub turn: Option<Turn<'a>>,
    /// The most tokens that the cache holds of a sequence, these included, where the host knows it and it is the same at every replay.
    pub longest: Option<usize>,
}

impl<'a> Tokens<'a> {
    /// Without a turn.
    pub fn new(x: &'a Tensor, y: &'a Tensor) -> Self {
        Self { x, y, turn: None, longest: None }
    }
}

/// A layer: its flavour and its weights.
///
/// `h = x + end(output(attention(qkv(norm(x)))))`, `y = h + end(down(activation(gate(norm(h))) ⊙ up(norm(h))))`, where `end` is a norm or
/// nothing. Attention is causal. Any of its matrices may have live adapters ([`Matrix::adapters`]), as [`Linear`](crate::ops::linear::Linear) does.
///
/// Tokens go through all layers of a model in one submission; `x` is the residual stream, `[B, L, C]`:
///
/// ```
/// use gristmill::decoder::{DecoderLayer, LayerScratch, Tokens};
/// use gristmill::kv_cache::Coming;
/// use gristmill::ops::attention::prologue::{Angles, Turn};
/// # use gristmill::{Dispatcher, KvCache, Result, Tensor};
/// # fn step(
/// #     gpu: &Dispatcher, layers: &[DecoderLayer<'_>], scratch: &LayerScratch, cache: &mut KvCache, cos: &Tensor, sin: &Tensor, x: &Tensor
/// # ) -> Result<()> {
///
/// let turn = Turn { cos, sin, angles: Angles::Appended, interleaved: false, before_norm: false }; // Dispatcher::rope_table
/// let tokens = Tokens { turn: Some(turn), ..Tokens::new(x, x) };
/// let mut rec = gpu.record()?;
/// cache.append(&mut rec, 0..layers.len(), Coming::Each(x.shape().dims()[1]))?; // first of all: L tokens come to each sequence
/// for (l, layer) in layers.iter().enumerate() {
///     layer.record(&mut rec, scratch, &tokens, Some(&cache.layer(l)?))?;
/// }
/// rec.submit()
/// # }
/// ```
///
/// Sources: Touvron et al., "LLaMA" (arXiv 2302.13971); "Qwen3 Technical Report" (arXiv 2505.09388); "Gemma 2" (arXiv 2408.00118) and
/// "Gemma 3 Technical Report" (arXiv 2503.19786).
#[derive(Clone, Copy, Debug)]
pub struct DecoderLayer<'a> {
    /// What it is.
    pub flavour: Flavour,
    /// Its weights.
    pub weights: LayerWeights<'a>,
}

/// What is done with each op of a layer. It is asked through a pointer: the layer is compiled once, for those who judge it and those who
/// record it.
trait Run {
    fn any(&mut self, problem: &dyn Planned, operands: &[Operand<'_>]) -> Result<()>;
}

impl dyn Run + '_ {
    fn op(&mut self, op: impl Op) -> Result<()> {
        self.any(&op.problem()?, &op.operands())
    }
}

/// Whether all would be recorded, before a cache counts what comes to it.
struct Judge<'a, E: Encoder>(&'a Recorder<E>);

impl<E: Encoder> Run for Judge<'_, E> {
    fn any(&mut self, problem: &dyn Planned, operands: &[Operand<'_>]) -> Result<()> {
        self.0.judge(problem, operands)
    }
}

impl<E: Encoder> Run for Recorder<E> {
    fn any(&mut self, problem: &dyn Planned, operands: &[Operand<'_>]) -> Result<()> {
        self.run_any(problem, operands)
    }
}

impl DecoderLayer<'_> {
    /// C.
    fn width(&self) -> usize {
        self.weights.output.w.n()
    }

    /// F.
    fn hidden(&self) -> usize {
        self.weights.down.w.k()
    }

    /// Records the layer. Keys and values go where the layer of a cache says, to which [`KvCache::append`](crate::KvCache::append) has been
    /// told that they come: of rows past those what leaves means nothing. Without one a query sees the tokens of x.
    ///
    /// # Errors
    /// Operands that do not fit each other or the scratch; a cache to which nothing has come yet, unless the recording is kept; tokens that
    /// turn by their places past the table, where the host knows the places, or in a layer of the cache that tokens have skipped; or as
    /// [`Recorder::run`]. Then nothing is recorded.
    /// [`KvCache::turn_by`](crate::KvCache::turn_by) has it said before room is made.
    pub fn record<E: Encoder>(
        &self,
        rec: &mut Recorder<E>,
        scratch: &LayerScratch,
        tokens: &Tokens<'_>,
        cache: Option<&KvLayer<'_>>,
    ) -> Result<()> {
        if cache.is_some_and(|layer| layer.empty) && !rec.is_kept() && tokens.x.elements() > 0 {
            let told = "nothing has come to the layer of the cache: KvCache::append makes room for tokens before they are recorded";
            return Err(shape_error!(OP, "{told}"));
        }
        rec.together(|rec| {
            self.steps(scratch, tokens, cache, rec)?;
            if let (Some(layer), Some(Turn { angles: Angles::Appended, cos, .. })) = (cache, tokens.turn) {
                if layer.skipped {
                    let told =
                        "tokens have skipped the layer: places in its cache are no positions, which must be told";
                    return Err(shape_error!(OP, "{told}"));
                }
                // A replay goes no further than the table either.
                cos.shape().dims().first().into_iter().for_each(|rows| layer.turned_by(*rows));
            }
            Ok(())
        })
    }

    /// B and L.
    fn tokens_of(&self, tokens: &Tokens<'_>) -> Result<[usize; 2]> {
        let (shape, y) = (tokens.x.shape(), tokens.y.shape());
        let &[batch, each, width] = shape.dims() else {
            return Err(shape_error!(OP, "x has shape {shape}, which is not [B, L, {}]", self.width()));
        };
        if width != self.width() {
            return Err(shape_error!(OP, "x has shape {shape}, which is not [B, L, {}]", self.width()));
        }
        if y != shape {
            return Err(shape_error!(OP, "y has shape {y}, but x has {shape}"));
        }
        Ok([batch, each])
    }

    fn steps(
        &self,
        scratch: &LayerScratch,
        tokens: &Tokens<'_>,
        cache: Option<&KvLayer<'_>>,
        run: &mut dyn Run,
    ) -> Result<()> {
        let [batch, each] = self.tokens_of(tokens)?;
        let Tokens { x, y, turn, longest } = *tokens;
        scratch.fits(self, x.elem(), batch * each)?;
        if batch * each == 0 {
            return Ok(());
        }
        let kv_len = cache.map(|layer| &layer.lengths);
        let (listed, q_len, starts, grids) = (None, None, None, None);
        let through = Through {
            layer: self,
            scratch,
            batch,
            each,
            x,
            listed,
            turn,
            cache,
            q_len,
            starts,
            kv_len,
            adapter_index: self.weights.adapter_index,
            grids,
            longest,
        };
        let h = through.attend(x, run)?;
        through.feed_forward(&h, Some(&h), y, run)
    }
}
