//! Numbers of a matrix that become 0, and numbers that are kept apart.

use super::{ANY, PrepareParams, even, matrix, one, output, vector};
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::ops::norm::want_elem;
use crate::ops::step::{Builder, Loads, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan};
use crate::tensor::{Elem, Layout, Tensor};

/// Of every `of` numbers side by side in a row of w, the `drop` with the lowest score `|w[n,k]|·norm[k]` become 0. Of equal scores the
/// first is lower; a NaN is above all, and stays.
///
/// With the norms of a layer's inputs this is Wanda's n:m pattern; without, magnitude pruning. 2:4 is `drop` = 2, `of` = 4.
/// Source: Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", arXiv 2306.11695.
///
/// # Errors
/// w and y are not matrices of floats of one shape; norm is not `[K]`; `of` is not 4, 8 or 16, or does not divide K; `drop` is above
/// `of`.
#[derive(Clone, Copy, Debug)]
pub struct Prune<'a> {
    /// F32, f16 or bf16, `[N,K]`.
    pub w: &'a Tensor,
    /// What magnitudes of columns are multiplied by, `[K]`, not negative.
    pub norm: Option<&'a Tensor>,
    /// How many become 0.
    pub drop: u32,
    /// Of how many.
    pub of: u32,
    /// F32, f16 or bf16, `[N,K]`.
    pub y: &'a Tensor,
}

/// Pruning with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PruneProblem {
    n: u64,
    k: u64,
    drop: u32,
    of: u32,
    w: Layout,
    norm: Option<Layout>,
    y: Layout,
}

impl Op for Prune<'_> {
    type Problem = PruneProblem;

    fn problem(&self) -> Result<PruneProblem> {
        let op = "prune";
        let [n, k] = matrix(op, "w", self.w)?;
        matrix(op, "y", self.y)?;
        if self.y.shape() != self.w.shape() {
            return Err(shape_error!(op, "y has shape {}, but w {}", self.y.shape(), self.w.shape()));
        }
        let wrong = |name, value: u32, rule| Error::Value { op, name, value: value.to_string(), rule };
        if ![4, 8, 16].contains(&self.of) {
            return Err(wrong("of", self.of, "it must be 4, 8 or 16"));
        }
        if self.drop > self.of {
            return Err(wrong("drop", self.drop, "it must be at most `of`"));
        }
        if !k.is_multiple_of(self.of.into()) {
            return Err(shape_error!(op, "w has K = {k}, which is not a multiple of {}", self.of));
        }
        if let Some(norm) = self.norm {
            vector(op, "norm", norm, k, "w has columns")?;
        }
        let (w, y, norm) = (self.w.layout(), self.y.layout(), self.norm.map(Tensor::layout));
        Ok(PruneProblem { n, k, drop: self.drop, of: self.of, w, norm, y })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("w", Some(self.w)), ("norm", self.norm), ("y", Some(self.y))]
    }
}

impl Problem for PruneProblem {
    fn op(&self) -> &'static str {
        "prune"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let Self { n, k, .. } = *self;
        let mut steps = Vec::new();
        let widest = (k * self.w.elem.bytes().max(self.y.elem.bytes()) as u64).max(4);
        let most = rows_at_once(self.op(), caps, n, 1, widest)?;
        let quads = even(self.w, k) && even(self.y, k);
        for n0 in (0..if k > 0 { n } else { 0 }).step_by(most.max(1) as usize) {
            let rows = most.min(n - n0);
            let mut step = Builder::new("prepare/prune", Loads { quads, ..ANY });
            let mut params = PrepareParams { n: rows as u32, k: k as u32, width: k as u32, ..Default::default() };
            let numbers = |operand, layout| Part { operand, layout, start: n0 * k, elements: rows * k };
            params.at1 = step.read("w", 1, Some(numbers(0, self.w)), "slot/read/zero");
            let norm = self.norm.map(|norm| Part::whole(1, norm));
            params.at2 = step.read_as("norm", 2, norm, "slot/read/one", ANY);
            params.at3 = step.write("y", 3, Some(numbers(2, self.y)));
            step.set("OF", Const::U32(self.of));
            step.set("DROP", Const::U32(self.drop));
            let grid = grid(self.op(), caps, (rows * k / u64::from(self.of)).div_ceil(64))?;
            params.fold = grid[0];
            steps.push(step.step(&params, grid));
        }
        Ok(one(self.op(), "one lane a group", steps))
    }
}

/// `value[p] = w[n,k] − minus[n,k]` at places `(n, k)`: numbers that must not be lost, before a weight is changed or encoded; with `minus`,
/// what was lost of them. A place outside w gives 0.
///
/// # Errors
/// w is not a matrix of floats, or has no numbers; minus is not of its shape; places is not u32 `[P,2]`; value is not f32 `[P]`; a matrix that does
/// not fit a binding.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// F32, f16 or bf16, `[N,K]`.
    pub w: &'a Tensor,
    /// The same, in any of these storages.
    pub minus: Option<&'a Tensor>,
    /// U32, `[P,2]`: rows and columns.
    pub places: &'a Tensor,
    /// F32, `[P]`.
    pub value: &'a Tensor,
}

/// The numbers of some places, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PickProblem {
    n: u64,
    k: u64,
    count: u64,
    w: Layout,
    minus: Option<Layout>,
    places: Layout,
    value: Layout,
}

impl Op for Pick<'_> {
    type Problem = PickProblem;

    fn problem(&self) -> Result<PickProblem> {
        let op = "pick";
        let [n, k] = super::full_matrix(op, "w", self.w)?;
        if let Some(minus) = self.minus {
            matrix(op, "minus", minus)?;
            if minus.shape() != self.w.shape() {
                return Err(shape_error!(op, "minus has shape {}, but w {}", minus.shape(), self.w.shape()));
            }
        }
        want_elem(op, "places", self.places, Elem::U32, "u32")?;
        let &[count, 2] = self.places.shape().dims() else {
            return Err(shape_error!(op, "places has shape {}, but must be pairs", self.places.shape()));
        };
        output(op, "value", self.value, count as u64, "there are places")?;
        let (w, minus) = (self.w.layout(), self.minus.map(Tensor::layout));
        let (places, value) = (self.places.layout(), self.value.layout());
        Ok(PickProblem { n, k, count: count as u64, w, minus, places, value })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("w", Some(self.w)), ("minus", self.minus), ("places", Some(self.places)), ("value", Some(self.value))]
    }
}

impl Problem for PickProblem {
    fn op(&self) -> &'static str {
        "pick"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let mut steps = Vec::new();
        let size = self.w.elem.bytes().max(self.minus.map_or(0, |m| m.elem.bytes())) as u64;
        rows_at_once(self.op(), caps, self.n, self.n, self.k * size)?;
        if self.count > 0 {
            let mut step = Builder::new("prepare/pick", ANY);
            let mut params =
                PrepareParams { n: self.n as u32, k: self.k as u32, width: self.count as u32, ..Default::default() };
            params.at1 = step.read("w", 1, Some(Part::whole(0, self.w)), "slot/read/zero");
            params.at2 = step.read("v", 2, self.minus.map(|m| Part::whole(1, m)), "slot/read/zero");
            params.at3 = step.bind(3, Part::whole(2, self.places), Access::Read);
            params.at4 = step.bind(4, Part::whole(3, self.value), Access::Write);
            let grid = grid(self.op(), caps, self.count.div_ceil(64))?;
            params.fold = grid[0];
            steps.push(step.step(&params, grid));
        }
        Ok(one(self.op(), "one lane a place", steps))
    }
}
