//! Layer normalisation.

use super::{Lowering, NormProblem, Operands, Stat};
use crate::error::Result;
use crate::ops::{Op, Operand};
use crate::tensor::Tensor;

/// Layer normalisation: over all dimensions from `axis` to the last,
/// `y = (x − mean) / sqrt(var + eps) · weight + bias` with the biased variance.
///
/// A constant row gives `bias`. A NaN or infinity makes NaN of its row and its statistics, and of nothing else. Values up to 1.8e19 / sqrt(D) in
/// magnitude are safe, 2e17 of 8,192 features: their squares are summed in f32.
///
/// Source: Ba, Kiros, Hinton, "Layer Normalization" (arXiv 1607.06450); `torch.nn.functional.layer_norm`.
///
/// # Errors
/// `axis` out of range, a normalised dimension of 0, `eps` negative or not finite, an operand of another shape or storage
/// than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// F32, f16 or bf16, any shape.
    pub x: &'a Tensor,
    /// Added to x first: `value = x + residual`, rounded to the storage of x. Shape of x.
    pub residual: Option<&'a Tensor>,
    /// Which rows of x and of the residual are read, in the order of the outputs: U32, any shape. y and the sum then have its
    /// dimensions and after them those of a row. A number that is no row gives zeros. This is how a layer takes the tokens that
    /// [`Select`](crate::ops::depth::Select) has kept.
    pub rows: Option<&'a Tensor>,
    /// How many rows there are, where only the device knows: what [`Select::grids`](crate::ops::depth::Select::grids) received. The
    /// rows of the outputs past them are left as they are, or are what comes of what is in x there.
    pub grids: Option<&'a Tensor>,
    /// Shape of the normalised dimensions; ones where absent.
    pub weight: Option<&'a Tensor>,
    /// Shape of the normalised dimensions; zeros where absent.
    pub bias: Option<&'a Tensor>,
    /// Shape of x (but see `rows`), any floating storage; or i8 where `scale` is given.
    pub y: &'a Tensor,
    /// Receives `x + residual`, which is what is normalised. Shape of y and storage of x; needs a residual or listed rows.
    pub sum: Option<&'a Tensor>,
    /// Receives the statistics of each row, which are not had of listed ones: mean and `1 / sqrt(var + eps)`. F32, shape `[.., 2]`.
    pub stats: Option<&'a Tensor>,
    /// Receives the scale of each row of int8 codes: `y = clamp(round(out / scale), −128, 127)` and
    /// `scale = max(max|out|, 1e-5) / 127`, with ties to even; y is then stored as i8. F32, one number a row.
    pub scale: Option<&'a Tensor>,
    /// The first normalised dimension; −1 is the last.
    pub axis: i32,
    /// Added to the variance.
    pub eps: f32,
}

impl<'a> LayerNorm<'a> {
    /// Along the last dimension, with eps 1e-5 and nothing else.
    pub fn new(x: &'a Tensor, y: &'a Tensor) -> Self {
        Self {
            x,
            residual: None,
            rows: None,
            grids: None,
            weight: None,
            bias: None,
            y,
            sum: None,
            stats: None,
            scale: None,
            axis: -1,
            eps: 1e-5,
        }
    }

    fn all(&self) -> Operands<'a> {
        Operands {
            residual: self.residual,
            weight: self.weight,
            bias: self.bias,
            sum: self.sum,
            stats: self.stats,
            scale: self.scale,
            list: self.rows,
            grids: self.grids,
            ..Operands::new(self.x, self.y)
        }
    }
}

impl Op for LayerNorm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "layer_norm";
        let (rows, len, affine) = super::from_axis(op, self.x, self.axis)?;
        Lowering::rows(op, Stat::Center, rows, len, affine, self.eps).problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}
