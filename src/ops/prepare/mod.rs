//! What is done to weights once, when they are loaded.
//!
//! | op | formula |
//! |---|---|
//! | [`MatrixStats`] | of every row or column its mean, squares about it, mean magnitude, largest magnitude |
//! | [`MatrixVector`] | `y = bias + alpha·(w − minus)·x`, or with wᵀ |
//! | [`Factors`] | two numbers for each row or column by a [`Rule`] |
//! | [`Rescale`] | `y = (w − row_shift − col_shift)·row·col + add`, clipped or not |
//! | [`Prune`] | the lowest of every few numbers become 0 |
//! | [`Pick`] | some numbers of a matrix |
//!
//! A matrix here is a tensor `[N,K]` of f32, f16 or bf16: rows are outputs. [`crate::dispatch::prepare`] puts these ops together: weight and
//! spectral norms, standardisation, folding of norms into weights, equalisation, clipping and pruning.

use crate::caps::Caps;
use crate::error::{Result, shape_error};
use crate::ops::norm::want_elem;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, grid};
use crate::plan::{Const, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

mod factors;
mod product;
mod prune;
mod rescale;
mod stats;

pub use factors::{Factors, FactorsProblem, Rule, Standard};
pub use product::{MatrixVector, MatrixVectorProblem};
pub use prune::{Pick, PickProblem, Prune, PruneProblem};
pub use rescale::{Rescale, RescaleProblem};
pub use stats::{MatrixStats, MatrixStatsProblem};

params! {
    /// The params of the kernels of `prepare/`; `lib/prepare` explains them.
    PrepareParams {
        /// The grid's x.
        fold: u32,
        /// Rows of this dispatch.
        n: u32,
        /// Numbers in a row of w.
        k: u32,
        /// Numbers in a row of y, or how far apart statistics lie.
        width: u32,
        /// First element of binding 1.
        at1: u32,
        /// Of binding 2.
        at2: u32,
        /// Of binding 3.
        at3: u32,
        /// Of binding 4.
        at4: u32,
        /// Of binding 5.
        at5: u32,
        /// Of binding 6.
        at6: u32,
        /// Of binding 7.
        at7: u32,
        /// Of binding 8.
        at8: u32,
        /// 1: a factor for each row; 0: one for all.
        each: u32,
        /// A number of the op.
        p0: f32,
        /// Another.
        p1: f32,
        /// Another.
        p2: f32,
        /// Another.
        p3: f32,
        /// Another.
        p4: f32,
    }
}

/// Of what there is one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Along {
    /// Each row: what an output is made of.
    #[default]
    Rows,
    /// Each column: what an input is multiplied by.
    Columns,
}

impl Along {
    /// As in `attrs.along` of a case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Columns => "columns",
        }
    }

    /// How many there are of this, and how many numbers each has.
    fn of(self, [n, k]: [u64; 2]) -> [u64; 2] {
        match self {
            Self::Rows => [n, k],
            Self::Columns => [k, n],
        }
    }
}

/// The rows and columns of a floating matrix.
fn matrix(op: &'static str, name: &'static str, w: &Tensor) -> Result<[u64; 2]> {
    want_float(op, name, w)?;
    match *w.shape().dims() {
        [n, k] => Ok([n as u64, k as u64]),
        _ => Err(shape_error!(op, "{name} has shape {}, but a matrix has two dimensions", w.shape())),
    }
}

/// A matrix with neither rows nor columns missing, where something is divided by how many there are.
fn full_matrix(op: &'static str, name: &'static str, w: &Tensor) -> Result<[u64; 2]> {
    let [n, k] = matrix(op, name, w)?;
    if n == 0 || k == 0 {
        return Err(shape_error!(op, "{name} has shape {}, which has no numbers", w.shape()));
    }
    Ok([n, k])
}

/// A vector of so many numbers.
fn vector(op: &'static str, name: &'static str, tensor: &Tensor, want: u64, of: &str) -> Result<()> {
    want_float(op, name, tensor)?;
    if tensor.shape().dims() != [want as usize] {
        return Err(shape_error!(op, "{name} has shape {}, but {of} {want}", tensor.shape()));
    }
    Ok(())
}

/// A vector of f32 that is written.
fn output(op: &'static str, name: &'static str, tensor: &Tensor, want: u64, of: &str) -> Result<()> {
    want_elem(op, name, tensor, Elem::F32, "f32")?;
    vector(op, name, tensor, want, of)
}

/// True where rows of `len` begin at multiples of four elements.
fn even(layout: Layout, len: u64) -> bool {
    len.is_multiple_of(4) && (layout.offset_bytes / layout.elem.bytes() as u64).is_multiple_of(4)
}

/// Vectors begin anywhere.
const ANY: Loads = Loads { quads: false, native_f16: false };

/// Rows of this length share a workgroup of 128 lanes; longer ones have 256 each.
const LONG_ROW: u64 = 8192;

/// Lanes that share a row, and rows of a workgroup.
fn tile(len: u64) -> (u32, u32) {
    if len > LONG_ROW { (256, 1) } else { (32, 4) }
}

/// Sets the tile of a kernel that walks along rows.
fn walk(step: &mut Builder, means: Means, len: u64) {
    let (lanes, rows) = tile(len);
    step.set("LANES", Const::U32(lanes));
    step.set("ROWS", Const::U32(rows));
    means.reduce(step);
}

/// The workgroups of a kernel along rows or columns.
fn groups(op: &'static str, caps: &Caps, along: Along, [n, k]: [u64; 2]) -> Result<[u32; 3]> {
    match along {
        Along::Rows => grid(op, caps, n.div_ceil(tile(k).1.into())),
        Along::Columns => grid(op, caps, k.div_ceil(32)),
    }
}

/// Plans by how sums are taken: along columns there is one.
fn plans(op: &'static str, caps: &Caps, along: Along, steps: &dyn Fn(Means) -> Result<Vec<Step>>) -> Result<Vec<Plan>> {
    let plan = |name, why, steps| Plan::new(op, name, why, steps, Vec::new());
    if along == Along::Columns {
        return Ok(vec![plan("columns".into(), "teams walk down the rows", steps(Means::BASELINE)?)]);
    }
    let all = Means::all(caps, false);
    all.into_iter().map(|means| Ok(plan(means.name("rows"), "lanes walk along a row", steps(means)?))).collect()
}

/// The only plan of an op that has one kernel, which runs anywhere.
fn one(op: &'static str, why: &'static str, steps: Vec<Step>) -> Vec<Plan> {
    vec![Plan::new(op, "naive", why, steps, Vec::new())]
}
