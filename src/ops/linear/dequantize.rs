//! The numbers of a weight.

use std::sync::Arc;

use super::{W, WeightAt, weight};
use crate::caps::Caps;
use crate::error::{Result, shape_error};
use crate::formats::laid::{Decode, Laid, Slot};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::Plan;
use crate::tensor::{Layout, Tensor, want_float};
use crate::weight::Weight;

/// The numbers of a weight, `y[N,K]`, as its format defines them (`tests/golden/FORMAT.md`): bit for bit what the host decodes, and
/// then rounded to the storage of y.
///
/// # Errors
/// y is not `[N,K]` in a floating storage.
#[derive(Clone, Copy, Debug)]
pub struct Dequantize<'a> {
    /// `[N,K]`.
    pub w: &'a Weight,
    /// F32, f16 or bf16, `[N,K]`.
    pub y: &'a Tensor,
}

params! {
    /// The params of `linear/dequantize`, where each is explained.
    DequantizeParams {
        /// The weight.
        w: WeightAt,
        /// The grid's x.
        fold: u32,
        /// The first row of this dispatch.
        n0: u32,
        /// One past the last.
        n1: u32,
        /// Numbers in a row.
        k: u32,
        /// The row at which the binding of y begins.
        first: u32,
        /// Its first element there.
        y0: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
    }
}

/// A weight to be decoded, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DequantizeProblem {
    w: Arc<Laid>,
    y: Layout,
}

impl Op for Dequantize<'_> {
    type Problem = DequantizeProblem;

    fn problem(&self) -> Result<DequantizeProblem> {
        let op = "dequantize";
        want_float(op, "y", self.y)?;
        let (n, k) = (self.w.n(), self.w.k());
        if self.y.shape().dims() != [n, k] {
            return Err(shape_error!(op, "y has shape {}, but w is [{n}, {k}]", self.y.shape()));
        }
        Ok(DequantizeProblem { w: Arc::clone(self.w.laid()), y: self.y.layout() })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        // The weight's parts stand where those of a linear layer stand.
        let mut list: Vec<Operand<'_>> = vec![("y", Some(self.y))];
        list.resize(W, ("", None));
        list.extend(self.w.chunks().iter().map(|chunk| ("w", Some(chunk))));
        list
    }
}

impl Problem for DequantizeProblem {
    fn op(&self) -> &'static str {
        "dequantize"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let (k, size) = (self.w.k() as u64, self.y.elem.bytes() as u64);
        let most = rows_at_once("dequantize", caps, self.w.n() as u64, 1, k * size)?;
        let quads = k.is_multiple_of(4) && (self.y.offset_bytes / size).is_multiple_of(4);
        let mut steps = Vec::new();
        for (i, chunk) in self.w.chunks().iter().enumerate() {
            let (from, to) = (u64::from(chunk.rows.0), u64::from(chunk.rows.1));
            for n0 in (from..to).step_by(most as usize) {
                let n1 = to.min(n0 + most);
                let mut step = Builder::new("linear/dequantize", Loads { quads, native_f16: false });
                let mut params = DequantizeParams {
                    n0: n0 as u32,
                    n1: n1 as u32,
                    k: k as u32,
                    first: n0 as u32,
                    ..Default::default()
                };
                let part = Part { operand: 0, layout: self.y, start: n0 * k, elements: (n1 - n0) * k };
                params.y0 = step.write("y", 5, Some(part));
                params.w = weight(&mut step, Slot::W, Some(&self.w), i, W + i, Decode::Exact);
                let grid = grid("dequantize", caps, ((n1 - n0) * k.div_ceil(32)).div_ceil(64))?;
                params.fold = grid[0];
                steps.push(step.step(&params, grid));
            }
        }
        let why = "one lane for a block of 32";
        Ok(vec![Plan::new("dequantize", "naive", why, steps, Vec::new())])
    }
}
