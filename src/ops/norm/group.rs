//! Group normalisation, alone and after batch normalisation.

use super::{Channels, Lowering, NormProblem, Operands, Stat, number};
use crate::error::{Result, shape_error};
use crate::ops::{Op, Operand};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The batch, the channels and the elements of a channel of `x[B, C, ..]`.
pub(super) fn channels_first(op: &'static str, x: &Tensor) -> Result<(usize, usize, usize)> {
    let shape = x.shape();
    match shape.dims() {
        [batch, channels, ..] => Ok((*batch, *channels, shape.split_at(2).1)),
        _ => Err(shape_error!(op, "x has shape {shape}, but it must have a batch and a channel dimension")),
    }
}

/// Group normalisation of `x[B, C, ..]`: layer normalisation over each of `groups` runs of adjacent channels of a sample, with
/// all that comes after them, `y = (x − mean) / sqrt(var + eps) · weight + bias` with weight and bias by channel.
///
/// With `groups = C` this is instance normalisation.
///
/// Source: Wu, He, "Group Normalization" (arXiv 1803.08494); `torch.nn.functional.group_norm`.
///
/// # Errors
/// Fewer than two dimensions, a group without elements, `groups` 0 or not a divisor of C, `eps` negative or not finite, an operand
/// of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm<'a> {
    /// F32, f16 or bf16, shape `[B, C, ..]`.
    pub x: &'a Tensor,
    /// Added to x first: `value = x + residual`, rounded to the storage of x. Shape of x.
    pub residual: Option<&'a Tensor>,
    /// `[C]`; ones where absent.
    pub weight: Option<&'a Tensor>,
    /// `[C]`; zeros where absent.
    pub bias: Option<&'a Tensor>,
    /// Shape of x, any floating storage; or i8 where `scale` is given.
    pub y: &'a Tensor,
    /// Receives `x + residual`, which is what is normalised. Shape and storage of x; needs a residual.
    pub sum: Option<&'a Tensor>,
    /// Receives the statistics of each group: mean and `1 / sqrt(var + eps)`. F32, shape `[.., 2]`.
    pub stats: Option<&'a Tensor>,
    /// Receives the scale of each group of int8 codes: `y = clamp(round(out / scale), −128, 127)` and
    /// `scale = max(max|out|, 1e-5) / 127`, with ties to even; y is then stored as i8. F32, one number a group.
    pub scale: Option<&'a Tensor>,
    /// Runs of channels that are normalised by themselves.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl<'a> GroupNorm<'a> {
    /// With eps 1e-5 and nothing else.
    pub fn new(x: &'a Tensor, y: &'a Tensor, groups: usize) -> Self {
        Self { x, residual: None, weight: None, bias: None, y, sum: None, stats: None, scale: None, groups, eps: 1e-5 }
    }

    fn all(&self) -> Operands<'a> {
        Operands {
            residual: self.residual,
            weight: self.weight,
            bias: self.bias,
            sum: self.sum,
            stats: self.stats,
            scale: self.scale,
            ..Operands::new(self.x, self.y)
        }
    }
}

impl Op for GroupNorm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "group_norm";
        let (batch, channels, spatial) = channels_first(op, self.x)?;
        let of_group = super::grouped(op, channels, self.groups)?;
        let by_channel = Channels { period: self.groups as u32, stride: of_group as u32, run: spatial.max(1) as u32 };
        let affine = (Shape::new(&[channels])?, "x has as channels");
        Lowering {
            channels: Some(by_channel),
            ..Lowering::rows(op, Stat::Center, batch * self.groups, of_group * spatial, affine, self.eps)
        }
        .problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}

/// Batch-channel normalisation of `x[B, C, ..]` at inference, in one dispatch: batch normalisation with stored statistics,
/// then group normalisation with weight and bias by **group**.
///
/// `v = (x − bn_mean) / sqrt(bn_var + bn_eps) · bn_weight + bn_bias` by channel, then
/// `y = (v − mean(v)) / sqrt(var(v) + eps) · weight + bias` over each group.
///
/// Source: Qiao, Wang, Liu, Shen, Yuille, "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization"
/// (arXiv 1903.10520) and the authors' code, whose affine after the group norm is by group.
///
/// # Errors
/// As [`GroupNorm`].
#[derive(Clone, Copy, Debug)]
pub struct BatchChannelNorm<'a> {
    /// F32, f16 or bf16, shape `[B, C, ..]`.
    pub x: &'a Tensor,
    /// `[C]`, f32: the stored mean.
    pub bn_mean: &'a Tensor,
    /// `[C]`, f32: the stored variance.
    pub bn_var: &'a Tensor,
    /// `[C]`, f32.
    pub bn_weight: &'a Tensor,
    /// `[C]`, f32.
    pub bn_bias: &'a Tensor,
    /// `[groups]`; ones where absent.
    pub weight: Option<&'a Tensor>,
    /// `[groups]`; zeros where absent.
    pub bias: Option<&'a Tensor>,
    /// Shape of x, any floating storage.
    pub y: &'a Tensor,
    /// Runs of channels that are normalised by themselves.
    pub groups: usize,
    /// Added to the stored variance.
    pub bn_eps: f32,
    /// Added to the variance of a group.
    pub eps: f32,
}

impl<'a> BatchChannelNorm<'a> {
    fn all(&self) -> Operands<'a> {
        Operands {
            weight: self.weight,
            bias: self.bias,
            pre: Some([self.bn_mean, self.bn_var, self.bn_weight, self.bn_bias]),
            ..Operands::new(self.x, self.y)
        }
    }
}

impl Op for BatchChannelNorm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "batch_channel_norm";
        let (batch, channels, spatial) = channels_first(op, self.x)?;
        let of_group = super::grouped(op, channels, self.groups)?;
        number(op, "bn_eps", self.bn_eps, |e| e >= 0.0, "it must be a number of at least 0")?;
        let len = of_group * spatial;
        let by_group = Channels { period: self.groups as u32, stride: 1, run: len.max(1) as u32 };
        let affine = (Shape::new(&[self.groups])?, "x has as groups");
        Lowering {
            channels: Some(by_group),
            pre_eps: self.bn_eps,
            pre_run: spatial.max(1) as u32,
            ..Lowering::rows(op, Stat::Center, batch * self.groups, len, affine, self.eps)
        }
        .problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}
