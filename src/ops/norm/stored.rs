//! Norms whose statistics are stored with the model, and the scaler: elementwise.

use super::group::channels_first;
use super::{Channels, Lowering, NormProblem, Operands, Stat, number};
use crate::error::Result;
use crate::ops::{Op, Operand};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Unified normalisation at inference, by channel of the last dimension: `y = x / sqrt(var + eps) · weight + bias`.
///
/// It can be folded into the linear that follows, which then costs nothing.
///
/// Source: Yang et al., "Unified Normalization for Accelerating and Stabilizing Transformers" (arXiv 2208.01313) and the
/// authors' code: `var` is a running second moment, and no mean is subtracted.
///
/// # Errors
/// `eps` negative or not finite, an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct UnifiedNorm<'a> {
    /// F32, f16 or bf16, shape `[.., C]`.
    pub x: &'a Tensor,
    /// Added to x first: `value = x + residual`, rounded to the storage of x. Shape of x.
    pub residual: Option<&'a Tensor>,
    /// `[C]`; ones where absent.
    pub weight: Option<&'a Tensor>,
    /// `[C]`; zeros where absent.
    pub bias: Option<&'a Tensor>,
    /// `[C]`: the stored second moments.
    pub var: &'a Tensor,
    /// Shape of x, any floating storage; or i8 where `scale` is given.
    pub y: &'a Tensor,
    /// Receives `x + residual`, which is what is normalised. Shape and storage of x; needs a residual.
    pub sum: Option<&'a Tensor>,
    /// Receives the scale of each row of int8 codes: `y = clamp(round(out / scale), −128, 127)` and
    /// `scale = max(max|out|, 1e-5) / 127`, with ties to even; y is then stored as i8. F32, one number a row.
    pub scale: Option<&'a Tensor>,
    /// Added to the second moments.
    pub eps: f32,
}

impl<'a> UnifiedNorm<'a> {
    /// Eps 1e-5, no weight and no bias.
    pub fn new(x: &'a Tensor, var: &'a Tensor, y: &'a Tensor) -> Self {
        Self { x, residual: None, weight: None, bias: None, var, y, sum: None, scale: None, eps: 1e-5 }
    }

    fn all(&self) -> Operands<'a> {
        Operands {
            residual: self.residual,
            weight: self.weight,
            bias: self.bias,
            phi: Some(self.var),
            phi_name: "var",
            sum: self.sum,
            scale: self.scale,
            ..Operands::new(self.x, self.y)
        }
    }
}

impl Op for UnifiedNorm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "unified_norm";
        let (rows, len, affine) = super::from_last(op, "x", self.x)?;
        let base = Lowering::rows(op, Stat::Stored, rows, len, affine, self.eps);
        // Without codes the floor is what is added to the output.
        let floor = if self.scale.is_some() { base.floor } else { 0.0 };
        Lowering { floor, ..base }.problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}

/// Batch normalisation of `x[B, C, ..]` at inference: `y = (x − mean) / sqrt(var + eps) · weight + bias` by channel.
///
/// It can be folded into the convolution or linear before it, which then costs nothing.
///
/// Source: Ioffe, Szegedy, "Batch Normalization" (arXiv 1502.03167); `torch.nn.functional.batch_norm` in evaluation mode.
///
/// # Errors
/// Fewer than two dimensions, `eps` negative or not finite, an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// F32, f16 or bf16, shape `[B, C, ..]`.
    pub x: &'a Tensor,
    /// Added to x first: `value = x + residual`, rounded to the storage of x. Shape of x.
    pub residual: Option<&'a Tensor>,
    /// `[C]`: the stored mean.
    pub mean: &'a Tensor,
    /// `[C]`: the stored variance.
    pub var: &'a Tensor,
    /// `[C]`; ones where absent.
    pub weight: Option<&'a Tensor>,
    /// `[C]`; zeros where absent.
    pub bias: Option<&'a Tensor>,
    /// Shape of x, any floating storage.
    pub y: &'a Tensor,
    /// Receives `x + residual`, which is what is normalised. Shape and storage of x; needs a residual.
    pub sum: Option<&'a Tensor>,
    /// Added to the variance.
    pub eps: f32,
}

impl<'a> BatchNorm<'a> {
    /// Eps 1e-5, no weight and no bias.
    pub fn new(x: &'a Tensor, mean: &'a Tensor, var: &'a Tensor, y: &'a Tensor) -> Self {
        Self { x, residual: None, mean, var, weight: None, bias: None, y, sum: None, eps: 1e-5 }
    }

    fn all(&self) -> Operands<'a> {
        Operands {
            residual: self.residual,
            weight: self.weight,
            bias: self.bias,
            phi: Some(self.var),
            phi_name: "var",
            mean: Some(self.mean),
            sum: self.sum,
            ..Operands::new(self.x, self.y)
        }
    }
}

impl Op for BatchNorm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "batch_norm";
        let (batch, channels, spatial) = channels_first(op, self.x)?;
        let affine = (Shape::new(&[channels])?, "x has as channels");
        let by_channel = Channels { period: channels.max(1) as u32, stride: 1, run: spatial.max(1) as u32 };
        // Where a channel is one number, channels are features.
        let (rows, len, channels) =
            if spatial == 1 { (batch, channels, None) } else { (batch * channels, spatial, Some(by_channel)) };
        Lowering { channels, floor: 0.0, ..Lowering::rows(op, Stat::Stored, rows, len, affine, self.eps) }
            .problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}

/// SimbaV2's scaler: `y = x ⊙ weight` along the last dimension, and with `relu` what comes before the second linear of a
/// block, `y = max(0, x ⊙ weight) + floor`.
///
/// A checkpoint's scaler has a learned `s` and the constants `init` and `scale`: `weight = s · init / scale`, taken once at load.
///
/// Source: Lee et al., "Hyperspherical Normalization for Scalable Deep Reinforcement Learning" (arXiv 2502.15280) and the
/// authors' code.
///
/// # Errors
/// `floor` not finite, an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct Scaler<'a> {
    /// F32, f16 or bf16, shape `[.., C]`.
    pub x: &'a Tensor,
    /// `[C]`.
    pub weight: &'a Tensor,
    /// Shape of x, any floating storage.
    pub y: &'a Tensor,
    /// Negative products become zero.
    pub relu: bool,
    /// Added last; 1e-8 in SimbaV2's blocks, so that no row is all zeros.
    pub floor: f32,
}

impl<'a> Scaler<'a> {
    /// `y = x ⊙ weight`.
    pub fn new(x: &'a Tensor, weight: &'a Tensor, y: &'a Tensor) -> Self {
        Self { x, weight, y, relu: false, floor: 0.0 }
    }

    fn all(&self) -> Operands<'a> {
        Operands { weight: Some(self.weight), ..Operands::new(self.x, self.y) }
    }
}

impl Op for Scaler<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "scaler";
        number(op, "floor", self.floor, |_| true, "it must be a finite number")?;
        let (rows, len, affine) = super::from_last(op, "x", self.x)?;
        Lowering { relu: self.relu, floor: self.floor, ..Lowering::rows(op, Stat::Stored, rows, len, affine, 0.0) }
            .problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}
