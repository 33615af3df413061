//! Token skipping (Mixture-of-Depths): only some tokens of a sequence go through a layer.
//!
//! ```text
//! x[B,T,C] ──Route──▶ score, gate ──Select──▶ index, place, count, grids        nothing is read back
//!    │                                          │
//!    ├── the norm reads rows through `index` ───┴──▶ the layer on the kept rows ──▶ h, m
//!    └────────────────────────────────────────────────────────── Combine ──▶ y[B,T,C]
//! ```
//!
//! | op | what it does |
//! |---|---|
//! | [`Route`] | a score for each token, and its gate |
//! | [`Select`] | which tokens are kept, and where they go |
//! | [`Take`] | what belongs to the kept tokens, such as their positions |
//! | [`Combine`] | the rows of kept tokens back to their places, gated; skipped ones passed on |
//!
//! [`Schedule`] says how many tokens each layer of a model keeps. It is plain arithmetic on the host.
//!
//! A token is a **candidate** where it is a target (a vision token, say) and valid (no padding). Only candidates can be skipped.
//! Where a threshold chooses, only the device knows how many are kept. Ops that are given the selection's grids run for the kept rows
//! alone, and attention is given the count (`q_len`). Rows past the count are zeros where a norm made them and are not made
//! otherwise; nothing that is kept ever reads them.
//!
//! Kept tokens lie sample by sample, `P` places each, in their order: sample b has rows `b·P` to `b·P + count[b]` of the
//! compacted `[B·P, C]`.
//!
//! Sources: Raposo et al., "Mixture-of-Depths: Dynamically allocating compute in transformer-based language models" (arXiv
//! 2404.02258); Zhang et al., "p-MoD: Building Mixture-of-Depths MLLMs via Progressive Ratio Decay" (arXiv 2412.04449) and the
//! authors' code.

use crate::error::{Error, Result, shape_error};
use crate::ops::norm::{same_shape, want_elem};
use crate::ops::step::{Builder, Part};
use crate::plan::Access;
use crate::tensor::{Elem, Layout, Tensor};

mod combine;
mod route;
mod schedule;
mod select;
mod take;

pub use combine::{Combine, CombineParams, CombineProblem, GateOn};
pub use route::{Route, RouteParams, RouteProblem, SoftmaxParams};
pub use schedule::{Curve, Layer, Schedule};
pub use select::{Choose, GRIDS, GRIDS_FOLD, ROWS_GRID, Select, SelectParams, SelectProblem};
pub use take::{Take, TakeParams, TakeProblem};

/// What a gate is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateOf {
    /// The score itself.
    None,
    /// Its hyperbolic tangent: p-MoD's TanhNorm.
    Tanh,
    /// Its logistic function.
    Sigmoid,
    /// Its part in the softmax over the candidates of the sample.
    Softmax,
}

impl GateOf {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Tanh, Self::Sigmoid, Self::Softmax];

    /// As in attributes.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Softmax => "softmax",
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|g| g.name() == name);
        found.ok_or_else(|| Error::Value {
            op: "mod_route",
            name: "gate",
            value: name.to_owned(),
            rule: "it must be none, tanh, sigmoid or softmax",
        })
    }
}

/// A gate: `g = alpha · f(r) + bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// f.
    pub of: GateOf,
    /// What f is multiplied by.
    pub alpha: f32,
    /// What is added.
    pub bias: f32,
}

impl Gate {
    /// p-MoD's TanhNorm: `0.2 · tanh(r) + 1`.
    pub const TANH_NORM: Self = Self { of: GateOf::Tanh, alpha: 0.2, bias: 1.0 };

    /// The score itself, as Mixture-of-Depths has it.
    pub const SCORE: Self = Self { of: GateOf::None, alpha: 1.0, bias: 0.0 };
}

/// Samples and tokens of a tensor `[B, T]`.
fn tokens_of(op: &'static str, name: &'static str, tensor: &Tensor) -> Result<(usize, usize)> {
    match tensor.shape().dims() {
        [samples, tokens] => Ok((*samples, *tokens)),
        _ => Err(shape_error!(
            op,
            "{name} has shape {}, but must have two dimensions, [samples, tokens]",
            tensor.shape()
        )),
    }
}

/// Flags of tokens are bytes, one for each.
fn want_flags(op: &'static str, flags: &[(&'static str, Option<&Tensor>)], of: (&'static str, &Tensor)) -> Result<()> {
    for (name, tensor) in flags {
        let Some(tensor) = tensor else { continue };
        want_elem(op, name, tensor, Elem::U8, "u8 (0 or 1)")?;
        same_shape(op, (name, tensor), of)?;
    }
    Ok(())
}

/// Fills a slot of flags; where there are none, all say yes.
fn flags(step: &mut Builder, slot: &'static str, binding: u32, operand: usize, layout: Option<Layout>) -> u32 {
    let Some(layout) = layout else {
        step.fill(slot, "slot/flag/always");
        return 0;
    };
    step.fill(slot, "slot/flag/u8");
    step.bind(binding, Part::whole(operand, layout), Access::Read)
}

/// Fills a slot of words that are written where they are wanted.
fn list(step: &mut Builder, slot: &'static str, binding: u32, part: Option<Part>) -> u32 {
    let Some(part) = part else {
        step.fill(slot, "slot/list/none");
        return 0;
    };
    step.fill(slot, "slot/list/words");
    step.bind(binding, part, Access::Write)
}

/// Of every operand, the first element stands at a multiple of four.
fn even(layouts: impl IntoIterator<Item = Layout>) -> bool {
    layouts.into_iter().all(|l| (l.offset_bytes / l.elem.bytes() as u64).is_multiple_of(4))
}
