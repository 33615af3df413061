//! A matrix, or its transpose, times a vector.

use super::{ANY, Along, PrepareParams, even, full_matrix, groups, output, plans, vector, walk};
use crate::caps::Caps;
use crate::error::{Result, shape_error};
use crate::ops::norm::number;
use crate::ops::step::{Builder, Loads, Means, Part, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Plan, Step};
use crate::tensor::{Layout, Tensor};

/// `y = bias + alpha·(w − minus)·x`, a number for each row; along columns `y = bias + alpha·(w − minus)ᵀ·x`.
///
/// Arithmetic and y are f32. The difference comes before the product, so that one of two weights that are nearly alike keeps its bits:
/// what quantisation does to the mean of an output is taken out of its bias this way.
///
/// # Errors
/// w is not a matrix of floats, or has no numbers; minus is not of its shape; x, bias and y are not vectors of as many numbers as w
/// has columns, rows and rows (along columns: rows, columns and columns); y is not f32; alpha is not finite; of columns, a matrix that does not fit a
/// binding.
#[derive(Clone, Copy, Debug)]
pub struct MatrixVector<'a> {
    /// F32, f16 or bf16, `[N,K]`.
    pub w: &'a Tensor,
    /// The same, in any of these storages.
    pub minus: Option<&'a Tensor>,
    /// A number of y for each of these.
    pub along: Along,
    /// F32, f16 or bf16, `[K]`, or `[N]` along columns.
    pub x: &'a Tensor,
    /// F32, f16 or bf16, of the shape of y.
    pub bias: Option<&'a Tensor>,
    /// What the product is multiplied by.
    pub alpha: f32,
    /// F32, `[N]`, or `[K]` along columns.
    pub y: &'a Tensor,
}

impl<'a> MatrixVector<'a> {
    /// `y = w·x`.
    pub fn new(w: &'a Tensor, x: &'a Tensor, y: &'a Tensor) -> Self {
        Self { w, minus: None, along: Along::Rows, x, bias: None, alpha: 1.0, y }
    }
}

/// The product with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixVectorProblem {
    shape: [u64; 2],
    along: Along,
    alpha: u32,
    w: Layout,
    minus: Option<Layout>,
    x: Layout,
    bias: Option<Layout>,
    y: Layout,
}

impl Op for MatrixVector<'_> {
    type Problem = MatrixVectorProblem;

    fn problem(&self) -> Result<MatrixVectorProblem> {
        let op = "matrix_vector";
        let shape = full_matrix(op, "w", self.w)?;
        if let Some(minus) = self.minus {
            full_matrix(op, "minus", minus)?;
            if minus.shape() != self.w.shape() {
                return Err(shape_error!(op, "minus has shape {}, but w {}", minus.shape(), self.w.shape()));
            }
        }
        let [count, len] = self.along.of(shape);
        vector(op, "x", self.x, len, "there must be")?;
        if let Some(bias) = self.bias {
            vector(op, "bias", bias, count, "there must be")?;
        }
        output(op, "y", self.y, count, "there must be")?;
        number(op, "alpha", self.alpha, f32::is_finite, "it must be a finite number")?;
        Ok(MatrixVectorProblem {
            shape,
            along: self.along,
            alpha: self.alpha.to_bits(),
            w: self.w.layout(),
            minus: self.minus.map(Tensor::layout),
            x: self.x.layout(),
            bias: self.bias.map(Tensor::layout),
            y: self.y.layout(),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("w", Some(self.w)), ("minus", self.minus), ("x", Some(self.x)), ("bias", self.bias), ("y", Some(self.y))]
    }
}

impl Problem for MatrixVectorProblem {
    fn op(&self) -> &'static str {
        "matrix_vector"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        plans(self.op(), caps, self.along, &|means| self.steps(caps, means))
    }
}

impl MatrixVectorProblem {
    fn steps(&self, caps: &Caps, means: Means) -> Result<Vec<Step>> {
        let [n, k] = self.shape;
        let rows_too = self.along == Along::Rows;
        let size = self.w.elem.bytes().max(self.minus.map_or(0, |m| m.elem.bytes())) as u64;
        // A row of w, or what is made of it.
        let most = rows_at_once(self.op(), caps, n, if rows_too { 1 } else { n }, (k * size).max(4))?;
        let mut steps = Vec::new();
        for n0 in (0..n).step_by(most as usize) {
            let rows = most.min(n - n0);
            let kernel = if rows_too { "prepare/row_product" } else { "prepare/column_product" };
            let mut step = Builder::new(kernel, ANY);
            let mut params =
                PrepareParams { n: rows as u32, k: k as u32, p0: f32::from_bits(self.alpha), ..Default::default() };
            let numbers = |operand, layout| Part { operand, layout, start: n0 * k, elements: rows * k };
            let of_y = |operand, layout| {
                if rows_too {
                    Part { operand, layout, start: n0, elements: rows }
                } else {
                    Part::whole(operand, layout)
                }
            };
            let loads = |layout| Loads { quads: even(layout, k), ..ANY };
            params.at1 = step.read_as("w", 1, Some(numbers(0, self.w)), "slot/read/zero", loads(self.w));
            let minus = self.minus.map(|m| numbers(1, m));
            params.at2 = step.read_as("v", 2, minus, "slot/read/zero", loads(self.minus.unwrap_or(self.w)));
            params.at3 = step.read("x", 3, Some(Part::whole(2, self.x)), "slot/read/zero");
            params.at4 = step.read("b", 4, self.bias.map(|b| of_y(3, b)), "slot/read/zero");
            params.at5 = step.bind(5, of_y(4, self.y), Access::Write);
            if rows_too {
                walk(&mut step, means, k);
            }
            let grid = groups(self.op(), caps, self.along, [rows, k])?;
            params.fold = grid[0];
            steps.push(step.step(&params, grid));
        }
        Ok(steps)
    }
}
