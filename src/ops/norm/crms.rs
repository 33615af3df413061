//! RMS normalisation of compressed zero-mean rows.

use super::{Lowering, NormProblem, Operands, Stat};
use crate::error::Result;
use crate::ops::{Op, Operand};
use crate::tensor::Tensor;

/// CRMSNorm: RMS normalisation of a row of D numbers that sum to zero and whose last is not stored:
/// `y = z / sqrt((Σ z² + (Σ z)²) / D + eps)`, where `z` has `D − 1` numbers along the last dimension.
///
/// It stands where a layer norm stood, after the residual stream's producers have been recentred.
///
/// Source: Jiang, Gu, Zhu, Pan, "Pre-RMSNorm and Pre-CRMSNorm Transformers" (arXiv 2305.14858) and the authors' code.
///
/// # Errors
/// No features, `eps` negative or not finite, an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct CrmsNorm<'a> {
    /// F32, f16 or bf16, any shape of at least one dimension.
    pub z: &'a Tensor,
    /// Added to z first: `value = z + residual`, rounded to the storage of z. Shape of z.
    pub residual: Option<&'a Tensor>,
    /// Shape of z, any floating storage; or i8 where `scale` is given.
    pub y: &'a Tensor,
    /// Receives `z + residual`, which is what is normalised. Shape and storage of z; needs a residual.
    pub sum: Option<&'a Tensor>,
    /// Receives the scale of each row of int8 codes: `y = clamp(round(out / scale), −128, 127)` and
    /// `scale = max(max|out|, 1e-5) / 127`, with ties to even; y is then stored as i8. F32, one number a row.
    pub scale: Option<&'a Tensor>,
    /// Added to the mean square.
    pub eps: f32,
}

impl<'a> CrmsNorm<'a> {
    /// With this eps and nothing else.
    pub fn new(z: &'a Tensor, y: &'a Tensor, eps: f32) -> Self {
        Self { z, residual: None, y, sum: None, scale: None, eps }
    }

    fn all(&self) -> Operands<'a> {
        Operands {
            x_name: "z",
            residual: self.residual,
            sum: self.sum,
            scale: self.scale,
            ..Operands::new(self.z, self.y)
        }
    }
}

impl Op for CrmsNorm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "crms_norm";
        let (rows, len, affine) = super::from_last(op, "z", self.z)?;
        Lowering::rows(op, Stat::Crms, rows, len, affine, self.eps).problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}
