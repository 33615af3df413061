//! Power normalisation.

use super::{Channels, Lowering, NormProblem, Operands, Stat};
use crate::error::Result;
use crate::ops::{Op, Operand};
use crate::tensor::Tensor;

/// PowerNorm at inference, over the channels of the last dimension:
/// `g = x / sqrt(mean(x²) + eps)` over each of `groups` runs of adjacent channels, then `y = g / sqrt(phi + eps) · weight + bias`.
///
/// The second stage is a fixed scale by channel: where a linear follows, it can be folded into that instead.
///
/// Source: Shen, Yao, Gholami, Mahoney, Keutzer, "PowerNorm" (arXiv 2003.07845) and the authors' code.
///
/// # Errors
/// No channels, `groups` 0 or not a divisor of the channels, `eps` negative or not finite, an operand of another shape or storage
/// than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct PowerNorm<'a> {
    /// F32, f16 or bf16, shape `[.., C]`.
    pub x: &'a Tensor,
    /// Added to x first: `value = x + residual`, rounded to the storage of x. Shape of x.
    pub residual: Option<&'a Tensor>,
    /// `[C]`; ones where absent.
    pub weight: Option<&'a Tensor>,
    /// `[C]`; zeros where absent.
    pub bias: Option<&'a Tensor>,
    /// `[C]`: the stored second moments.
    pub phi: &'a Tensor,
    /// Shape of x, any floating storage; or i8 where `scale` is given.
    pub y: &'a Tensor,
    /// Receives `x + residual`, which is what is normalised. Shape and storage of x; needs a residual.
    pub sum: Option<&'a Tensor>,
    /// Receives the scale of each group of int8 codes: `y = clamp(round(out / scale), −128, 127)` and
    /// `scale = max(max|out|, 1e-5) / 127`, with ties to even; y is then stored as i8. F32, one number a group.
    pub scale: Option<&'a Tensor>,
    /// Runs of channels that are normalised by themselves.
    pub groups: usize,
    /// Added to both second moments.
    pub eps: f32,
}

impl<'a> PowerNorm<'a> {
    /// One group, eps 1e-5, no weight and no bias.
    pub fn new(x: &'a Tensor, phi: &'a Tensor, y: &'a Tensor) -> Self {
        Self { x, residual: None, weight: None, bias: None, phi, y, sum: None, scale: None, groups: 1, eps: 1e-5 }
    }

    fn all(&self) -> Operands<'a> {
        Operands {
            residual: self.residual,
            weight: self.weight,
            bias: self.bias,
            phi: Some(self.phi),
            sum: self.sum,
            scale: self.scale,
            ..Operands::new(self.x, self.y)
        }
    }
}

impl Op for PowerNorm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "power_norm";
        let (tokens, channels, affine) = super::from_last(op, "x", self.x)?;
        let len = super::grouped(op, channels, self.groups)?;
        let channels = (self.groups > 1).then_some(Channels { period: self.groups as u32, stride: len as u32, run: 1 });
        Lowering { channels, ..Lowering::rows(op, Stat::Rms, tokens * self.groups, len, affine, self.eps) }
            .problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}
