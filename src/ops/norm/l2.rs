//! L2 normalisation.

use super::{Lowering, NormProblem, Operands, Stat};
use crate::error::Result;
use crate::ops::{Op, Operand};
use crate::tensor::Tensor;

/// L2 normalisation along one dimension: `y = x / max(‖x‖₂, eps)`.
///
/// A vector shorter than `eps` is divided by `eps`; a NaN makes NaN of its vector and of nothing else.
///
/// Source: `torch.nn.functional.normalize`.
///
/// # Errors
/// `axis` out of range or of length 0, `eps` negative or not finite, an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct L2Norm<'a> {
    /// F32, f16 or bf16, any shape.
    pub x: &'a Tensor,
    /// Added to x first: `value = x + residual`, rounded to the storage of x. Shape of x.
    pub residual: Option<&'a Tensor>,
    /// Shape of x, any floating storage; or i8 where `scale` is given.
    pub y: &'a Tensor,
    /// Receives `x + residual`, which is what is normalised. Shape and storage of x; needs a residual.
    pub sum: Option<&'a Tensor>,
    /// Receives the scale of each row of int8 codes: `y = clamp(round(out / scale), −128, 127)` and
    /// `scale = max(max|out|, 1e-5) / 127`, with ties to even; y is then stored as i8. F32, one number a vector, in the order of the other dimensions.
    pub scale: Option<&'a Tensor>,
    /// The dimension along which vectors lie; −1 is the last.
    pub axis: i32,
    /// The smallest norm that is divided by.
    pub eps: f32,
}

impl<'a> L2Norm<'a> {
    /// Along the last dimension, with eps 1e-12.
    pub fn new(x: &'a Tensor, y: &'a Tensor) -> Self {
        Self { x, residual: None, y, sum: None, scale: None, axis: -1, eps: 1e-12 }
    }

    fn all(&self) -> Operands<'a> {
        Operands { residual: self.residual, sum: self.sum, scale: self.scale, ..Operands::new(self.x, self.y) }
    }
}

impl Op for L2Norm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "l2_norm";
        let shape = self.x.shape();
        let axis = shape.axis(op, self.axis)?;
        let (outer, len) = (shape.split_at(axis).0, shape.dims()[axis]);
        let inner = shape.split_at(axis + 1).1;
        let affine = (shape, "x has");
        Lowering { inner, ..Lowering::rows(op, Stat::L2, outer * inner, len, affine, self.eps) }.problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}
