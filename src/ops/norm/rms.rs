//! Root mean square normalisation.

use super::{Lowering, NormProblem, Operands, Stat};
use crate::error::{Error, Result, shape_error};
use crate::ops::{Op, Operand};
use crate::tensor::Tensor;

/// RMS normalisation: over all dimensions from `axis` to the last,
/// `y = after + x · rstd · (weight + weight_offset) + bias` with `rstd = 1 / sqrt(mean(x²) + eps)`.
///
/// The published variants are its switches:
///
/// | variant | switches |
/// |---|---|
/// | `torch.nn.functional.rms_norm`, OLMo 2 | none |
/// | Llama, Mistral, Qwen, T5 | `cast_before_weight`: `x · rstd` is rounded to the storage of x before the weight |
/// | Gemma, Qwen3-Next | `weight_offset = 1` (unless the checkpoint's converter has added it) |
/// | the paper's torch code | `eps_outside`: `rstd = 1 / (rms + eps)` |
/// | pRMSNorm(p) | `partial = p`: statistics from the first `int(D·p)` features |
///
/// A NaN makes NaN of its row and of nothing else. Squares are summed in f32: f16 rows of 300 do not overflow, and magnitudes
/// up to 1.8e19 / sqrt(D) are safe, 2e17 of 8,192 features.
///
/// Source: Zhang, Sennrich, "Root Mean Square Layer Normalization" (arXiv 1910.07467).
///
/// # Errors
/// `axis` out of range, a normalised dimension of 0, `eps` negative or not finite, `partial` outside (0, 1] or so small that no
/// feature is left, an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
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
    /// Added last: `y = after + …`, as where a branch ends in a norm (Gemma, OLMo 2). Shape of x; not with a residual or listed
    /// rows.
    pub after: Option<&'a Tensor>,
    /// Shape of the normalised dimensions; ones where absent.
    pub weight: Option<&'a Tensor>,
    /// Shape of the normalised dimensions; zeros where absent.
    pub bias: Option<&'a Tensor>,
    /// Shape of x (but see `rows`), any floating storage; or i8 where `scale` is given.
    pub y: &'a Tensor,
    /// Receives `x + residual`, which is what is normalised. Shape of y and storage of x; needs a residual or listed rows.
    pub sum: Option<&'a Tensor>,
    /// Receives the statistics of each row, which are not had of listed ones: 0 and `rstd`. F32, shape `[.., 2]`.
    pub stats: Option<&'a Tensor>,
    /// Receives the scale of each row of int8 codes: `y = clamp(round(out / scale), −128, 127)` and
    /// `scale = max(max|out|, 1e-5) / 127`, with ties to even; y is then stored as i8. F32, one number a row.
    pub scale: Option<&'a Tensor>,
    /// The first normalised dimension; −1 is the last.
    pub axis: i32,
    /// Added to the mean square, or to its root where `eps_outside`.
    pub eps: f32,
    /// Eps is added outside the root.
    pub eps_outside: bool,
    /// The part of the features, from the first, that make the statistics.
    pub partial: f64,
    /// Added to the weight, in f32. Without a weight it has no effect.
    pub weight_offset: f32,
    /// `x · rstd` is rounded to the storage of x before the weight.
    pub cast_before_weight: bool,
}

impl<'a> RmsNorm<'a> {
    /// Along the last dimension, with eps 1e-6 and nothing else.
    pub fn new(x: &'a Tensor, y: &'a Tensor) -> Self {
        Self {
            x,
            residual: None,
            rows: None,
            grids: None,
            after: None,
            weight: None,
            bias: None,
            y,
            sum: None,
            stats: None,
            scale: None,
            axis: -1,
            eps: 1e-6,
            eps_outside: false,
            partial: 1.0,
            weight_offset: 0.0,
            cast_before_weight: false,
        }
    }

    fn all(&self) -> Operands<'a> {
        Operands {
            residual: self.residual.or(self.after),
            residual_name: if self.after.is_some() { "after" } else { "residual" },
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

impl Op for RmsNorm<'_> {
    type Problem = NormProblem;

    fn problem(&self) -> Result<NormProblem> {
        let op = "rms_norm";
        let (rows, len, affine) = super::from_axis(op, self.x, self.axis)?;
        // In f64 the product of 20 and 0.35 is 7, of which nothing is cut.
        let stat_len = (len as f64 * self.partial) as usize;
        if !(self.partial > 0.0 && self.partial <= 1.0) || (stat_len == 0 && len > 0) {
            return Err(Error::Value {
                op,
                name: "partial",
                value: format!("{} of {len} features", self.partial),
                rule: "it must be in (0, 1] and leave at least one feature",
            });
        }
        if self.after.is_some() && (self.residual.is_some() || self.rows.is_some()) {
            return Err(shape_error!(op, "after is given, which does not go with a residual or with listed rows"));
        }
        let stat = if self.eps_outside { Stat::RmsOutside } else { Stat::Rms };
        Lowering {
            stat_len,
            weight_offset: self.weight_offset,
            cast_before_weight: self.cast_before_weight,
            after: self.after.is_some(),
            ..Lowering::rows(op, stat, rows, len, affine, self.eps)
        }
        .problem(&self.all())
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.all().list()
    }
}
