//! Statistics of rows or columns.

use super::{ANY, Along, PrepareParams, even, full_matrix, groups, plans, walk};
use crate::caps::Caps;
use crate::error::{Result, shape_error};
use crate::ops::norm::want_elem;
use crate::ops::step::{Builder, Loads, Means, Part, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor};

/// Of every row or column of w, four numbers in f32: its mean, its squares about the mean `Σ(w − mean)²`, its mean magnitude
/// `mean|w|`, and its largest magnitude. They lie one after the other: the means of all, the squares of all, and so on, so that
/// [`Tensor::view`] gives each as a vector.
///
/// Variances are squares over a number of one's choice; the squares about 0 are `squares + count·mean²`. Rows far from zero lose
/// nothing: what a mean is off by is taken out of it. A NaN or an infinity makes NaN of the first three, of its row or column and of no other;
/// the largest magnitude is itself then.
///
/// # Errors
/// w is not a matrix of floats, or has no numbers; stats is not f32 `[4,N]`, or `[4,K]` of columns; of columns, a matrix that does
/// not fit a binding.
#[derive(Clone, Copy, Debug)]
pub struct MatrixStats<'a> {
    /// F32, f16 or bf16, `[N,K]`.
    pub w: &'a Tensor,
    /// Rows or columns.
    pub along: Along,
    /// F32, `[4,N]` or `[4,K]`.
    pub stats: &'a Tensor,
}

/// Statistics with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixStatsProblem {
    shape: [u64; 2],
    along: Along,
    w: Layout,
    stats: Layout,
}

impl Op for MatrixStats<'_> {
    type Problem = MatrixStatsProblem;

    fn problem(&self) -> Result<MatrixStatsProblem> {
        let op = "matrix_stats";
        let shape = full_matrix(op, "w", self.w)?;
        want_elem(op, "stats", self.stats, Elem::F32, "f32")?;
        let [count, _] = self.along.of(shape);
        if self.stats.shape().dims() != [4, count as usize] {
            let (have, along) = (self.stats.shape(), self.along.name());
            return Err(shape_error!(
                op,
                "stats has shape {have}, but w of shape {} has {count} {along}",
                self.w.shape()
            ));
        }
        Ok(MatrixStatsProblem { shape, along: self.along, w: self.w.layout(), stats: self.stats.layout() })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("w", Some(self.w)), ("stats", Some(self.stats))]
    }
}

impl Problem for MatrixStatsProblem {
    fn op(&self) -> &'static str {
        "matrix_stats"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        plans(self.op(), caps, self.along, &|means| self.steps(caps, means))
    }
}

impl MatrixStatsProblem {
    fn steps(&self, caps: &Caps, means: Means) -> Result<Vec<Step>> {
        let ([n, k], size) = (self.shape, self.w.elem.bytes() as u64);
        let unit = if self.along == Along::Rows { 1 } else { n };
        let most = rows_at_once(self.op(), caps, n, unit, k * size)?;
        let loads = Loads { quads: even(self.w, k), ..ANY };
        let mut steps = Vec::new();
        for n0 in (0..n).step_by(most as usize) {
            let rows = most.min(n - n0);
            let kernel = if self.along == Along::Rows { "prepare/row_stats" } else { "prepare/column_stats" };
            let mut step = Builder::new(kernel, loads);
            let [count, _] = self.along.of(self.shape);
            let mut params = PrepareParams { n: rows as u32, k: k as u32, width: count as u32, ..Default::default() };
            let w = Part { operand: 0, layout: self.w, start: n0 * k, elements: rows * k };
            params.at1 = step.read("w", 1, Some(w), "slot/read/zero");
            params.at2 = step.bind(2, Part::whole(1, self.stats), Access::Write) + n0 as u32;
            if self.along == Along::Rows {
                walk(&mut step, means, k);
            }
            let grid = groups(self.op(), caps, self.along, [rows, k])?;
            params.fold = grid[0];
            steps.push(step.step(&params, grid));
        }
        Ok(steps)
    }
}
