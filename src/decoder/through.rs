//! The way of tokens through a layer: from the residual stream before it to the one after attention, and what the feed-forward layer adds.

use super::scratch::ALIGN;
use super::{DecoderLayer, Flavour, LayerScratch, Matrix, OP, Qkv, Run};
use crate::error::{Result, shape_error};
use crate::kv::Place;
use crate::kv_cache::KvLayer;
use crate::ops::attention::prologue::{Projection, Prologue, QkNorm, Start, Turn};
use crate::ops::attention::{Attention, Order};
use crate::ops::linear::Linear;
use crate::ops::norm::RmsNorm;
use crate::tensor::Tensor;

/// The tokens that go through a layer: B samples with L each.
#[derive(Clone, Copy)]
pub(super) struct Through<'a> {
    pub layer: &'a DecoderLayer<'a>,
    pub scratch: &'a LayerScratch,
    pub batch: usize,
    pub each: usize,
    /// What enters.
    pub x: &'a Tensor,
    /// Which of its rows do, and what receives them; all where absent.
    pub listed: Option<(&'a Tensor, &'a Tensor)>,
    pub turn: Option<Turn<'a>>,
    pub cache: Option<&'a KvLayer<'a>>,
    /// The queries of each sample, where it is not all of them.
    pub q_len: Option<&'a Tensor>,
    /// Where the rows of each sample begin, where they follow each other in place of L each.
    pub starts: Option<&'a Tensor>,
    /// The keys of each sample, where it is not all of them.
    pub kv_len: Option<&'a Tensor>,
    /// The place of each row's adapters.
    pub adapter_index: Option<&'a Tensor>,
    /// The grids of the rows that are there, where only the device knows how many.
    pub grids: Option<&'a Tensor>,
    pub longest: Option<usize>,
}

impl Through<'_> {
    /// The first rows of a scratch tensor, `[B, L, width]`, or `[B·L, width]` where they follow each other.
    fn rows(&self, of: &Tensor, width: usize) -> Result<Tensor> {
        self.rows_at(of, 0, width)
    }

    /// The same from a number of it on.
    fn rows_at(&self, of: &Tensor, first: usize, width: usize) -> Result<Tensor> {
        match self.starts {
            None => of.view(first, [self.batch, self.each, width]),
            Some(_) => of.view(first, [self.batch * self.each, width]),
        }
    }

    /// The same of so many heads.
    fn heads(&self, of: &Tensor, heads: usize, d: usize) -> Result<Tensor> {
        match self.starts {
            None => of.view(0, [self.batch, self.each, heads, d]),
            Some(_) => of.view(0, [self.batch * self.each, heads, d]),
        }
    }

    fn norm<'t>(&'t self, x: &'t Tensor, weight: &'t Tensor, y: &'t Tensor) -> RmsNorm<'t> {
        let Flavour { eps, norm_offset, cast_before_weight, .. } = self.layer.flavour;
        let new = RmsNorm { weight: Some(weight), grids: self.grids, eps, ..RmsNorm::new(x, y) };
        RmsNorm { weight_offset: norm_offset, cast_before_weight, ..new }
    }

    fn linear<'t>(&'t self, x: &'t Tensor, matrix: Matrix<'t>, y: &'t Tensor) -> Linear<'t> {
        let Matrix { w, bias, adapters } = matrix;
        let adapter_index = self.adapter_index.filter(|_| adapters.is_some());
        Linear { bias, adapters, adapter_index, grids: self.grids, ..Linear::new(x, w, y) }
    }

    /// `residual + end(matrix(x))`; without a residual what would be added to it. `free` is a scratch tensor.
    fn branch(
        &self,
        x: &Tensor,
        (matrix, end): (Matrix<'_>, Option<&Tensor>),
        (residual, free): (Option<&Tensor>, &Tensor),
        y: &Tensor,
        run: &mut dyn Run,
    ) -> Result<()> {
        let Some(end) = end else {
            return run.op(Linear { residual, ..self.linear(x, matrix, y) });
        };
        run.op(self.linear(x, matrix, free))?;
        run.op(RmsNorm { after: residual, ..self.norm(free, end, y) })
    }

    /// From what enters, which as the residual may be compacted, to the residual stream after attention, which is in the scratch.
    pub fn attend(&self, residual: &Tensor, run: &mut dyn Run) -> Result<Tensor> {
        let Self { layer, scratch: s, batch, each, cache, .. } = *self;
        let Flavour { heads, groups, head_dim, qk_norm, scale, softcap, window, eps, norm_offset, .. } = layer.flavour;
        let w = &layer.weights;
        let normed = self.rows(&s.normed, layer.width())?;
        let (rows, sum) = self.listed.unzip();
        run.op(RmsNorm { rows, sum, ..self.norm(self.x, w.attention_norm, &normed) })?;

        let (q_width, kv_width) = (heads * head_dim, groups * head_dim);
        let (all, apart);
        let from = match w.qkv {
            Qkv::Packed(matrix) => {
                all = self.rows(&s.projected, q_width + 2 * kv_width)?;
                run.op(self.linear(&normed, matrix, &all))?;
                Projection::Packed(&all)
            }
            Qkv::Apart { q, k, v } => {
                let rows = self.batch * self.each;
                let of_k = (rows * q_width).next_multiple_of(ALIGN);
                let of_v = (of_k + rows * kv_width).next_multiple_of(ALIGN);
                let part = |first: usize, width: usize| self.rows_at(&s.projected, first, width);
                apart = [part(0, q_width)?, part(of_k, kv_width)?, part(of_v, kv_width)?];
                for (matrix, y) in [q, k, v].into_iter().zip(&apart) {
                    run.op(self.linear(&normed, matrix, y))?;
                }
                Projection::Apart { q: Some(&apart[0]), k: Some(&apart[1]), v: Some(&apart[2]) }
            }
        };

        let own;
        let (keys, values, place) = match cache {
            Some(layer) => (layer.keys, layer.values, layer.place),
            None => {
                own = s.keys_and_values([batch, groups, each, head_dim])?;
                (&own[0], &own[1], Place::Heads)
            }
        };
        if qk_norm.is_none() && (w.q_norm.is_some() || w.k_norm.is_some()) {
            return Err(shape_error!(OP, "q_norm or k_norm is given, but the flavour has no norm of queries and keys"));
        }
        if w.q_norm.is_some() != w.k_norm.is_some() {
            return Err(shape_error!(OP, "of q_norm and k_norm one is given, but not the other"));
        }
        let of_heads = |(kind, axis)| QkNorm { axis, offset: norm_offset, ..QkNorm::new(kind, eps) };
        let norm = qk_norm.map(of_heads).map(|n| QkNorm { q_weight: w.q_norm, k_weight: w.k_norm, ..n });
        let queries = self.heads(&s.queries, heads, head_dim)?;
        run.op(Prologue {
            norm,
            rope: self.turn,
            y: Some(&queries),
            order: Order::TokensFirst,
            keys: Some(keys),
            values: Some(values),
            place,
            start: cache.map_or(Start::At(0), KvLayer::start),
            cu: self.starts,
            grids: self.grids,
            ..Prologue::of(from, (heads, groups))
        })?;

        // The projections have been used up.
        let mixed = self.heads(&s.projected, heads, head_dim)?;
        run.op(Attention {
            order: Order::TokensFirst,
            place,
            kv_heads: Some(groups),
            q_len: self.q_len,
            q_starts: self.starts,
            kv_len: self.kv_len,
            longest: self.longest,
            causal: true,
            offsets: cache.map(|layer| &layer.starts),
            window_left: window,
            sinks: w.sinks,
            softcap,
            scale,
            ..Attention::new(&queries, keys, values, &mixed)
        })?;

        let (mixed, h) = (self.rows(&mixed, q_width)?, self.rows(&s.h, layer.width())?);
        self.branch(&mixed, (w.output, w.attention_end), (Some(residual), &normed), &h, run)?;
        Ok(h)
    }

    /// From the residual stream after attention to what leaves; without a residual to what would be added to it.
    pub fn feed_forward(&self, h: &Tensor, residual: Option<&Tensor>, y: &Tensor, run: &mut dyn Run) -> Result<()> {
        let Self { layer, scratch: s, .. } = *self;
        let w = &layer.weights;
        let (normed, gated) = (self.rows(&s.normed, layer.width())?, self.rows(&s.gated, layer.hidden())?);
        run.op(self.norm(h, w.mlp_norm, &normed))?;
        let gate = self.linear(&normed, w.gate, &gated);
        let up_adapters = w.up_adapters;
        let adapter_index = self.adapter_index.filter(|_| gate.adapters.or(up_adapters).is_some());
        run.op(Linear { up: Some(w.up), up_adapters, adapter_index, activation: layer.flavour.activation, ..gate })?;
        self.branch(&gated, (w.down, w.mlp_end), (residual, &normed), y, run)
    }
}
