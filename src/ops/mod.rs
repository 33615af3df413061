//! The ops: what can be computed. One file an op: its public struct, its params, its problem, its plans, in that order.

use std::any::Any;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use crate::caps::Caps;
use crate::error::Result;
use crate::plan::Plan;
use crate::tensor::Tensor;

pub mod adapter;
pub mod attention;
pub mod counted;
pub mod depth;
pub mod linear;
pub mod little;
pub mod norm;
pub mod params;
pub mod prepare;
pub mod quantize;
pub(crate) mod step;
pub mod weight_merge;

/// An operand: its name, and the tensor where there is one.
pub type Operand<'a> = (&'static str, Option<&'a Tensor>);

/// Something to compute, with the tensors to compute it on.
pub trait Op {
    /// The op with its numbers.
    type Problem: Problem;

    /// Checks shapes and types. From here on there are only numbers, and no GPU is needed.
    ///
    /// # Errors
    /// Operands that do not fit each other, or numbers outside their range.
    fn problem(&self) -> Result<Self::Problem>;

    /// The operands, in the order to which [`Source::Operand`](crate::plan::Source::Operand) refers.
    fn operands(&self) -> Vec<Operand<'_>>;
}

impl<O: Op + ?Sized> Op for &O {
    type Problem = O::Problem;

    fn problem(&self) -> Result<Self::Problem> {
        (*self).problem()
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        (*self).operands()
    }
}

/// An op with its numbers: shapes, storage, switches; no tensors.
pub trait Problem: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// The op's name, such as `rms_norm`.
    fn op(&self) -> &'static str;

    /// The plans that these caps allow, best first; the last always runs on [`Caps::baseline`].
    ///
    /// # Errors
    /// A limit that no plan can stay under.
    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>>;

    /// The first of [`Problem::plans`].
    ///
    /// # Errors
    /// As [`Problem::plans`].
    fn plan(&self, caps: &Caps) -> Result<Plan> {
        first(self.op(), self.plans(caps)?)
    }
}

/// The best of the plans of an op.
pub(crate) fn first(op: &'static str, mut plans: Vec<Plan>) -> Result<Plan> {
    if plans.is_empty() {
        return Err(crate::Error::NoPlan { op, name: String::new(), known: "none".into() });
    }
    Ok(plans.swap_remove(0))
}

/// A problem, whichever it is. What the dispatcher does with problems is compiled once for all of them, and not for each: it would be much of a
/// wasm that has many ops.
pub(crate) trait Planned: Any + Send + Sync {
    /// [`Problem::op`].
    fn name(&self) -> &'static str;

    /// [`Problem::plans`].
    fn all_plans(&self, caps: &Caps) -> Result<Vec<Plan>>;

    /// It is the same problem.
    fn same(&self, other: &dyn Planned) -> bool;

    /// Hashes its numbers.
    fn feed(&self, state: &mut dyn Hasher);

    /// A copy, to be kept.
    fn copy(&self) -> Box<dyn Planned>;
}

impl<P: Problem> Planned for P {
    fn name(&self) -> &'static str {
        self.op()
    }

    fn all_plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        self.plans(caps)
    }

    fn same(&self, other: &dyn Planned) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<P>() == Some(self)
    }

    fn feed(&self, mut state: &mut dyn Hasher) {
        self.hash(&mut state);
    }

    fn copy(&self) -> Box<dyn Planned> {
        Box::new(self.clone())
    }
}

impl PartialEq for dyn Planned {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
    }
}

impl Eq for dyn Planned {}

impl Hash for dyn Planned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.feed(state);
    }
}
