//! Ops from names: a golden file and a case both say `rms_norm`, `eps`, `x`, `weight`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::hash::{Hash, Hasher};

use super::{Attrs, cases};
use crate::adapters::AdapterSet;
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::ops::{Op, Operand, Planned, Problem};
use crate::plan::Plan;
use crate::tensor::Tensor;
use crate::weight::Weight;

/// What is done with an op once it is built.
pub trait Use {
    /// What it gives.
    type Out;

    /// Does it.
    ///
    /// # Errors
    /// Whatever the op says.
    fn with(self, op: &impl Op) -> Result<Self::Out>;
}

/// The operands of an op by role.
#[derive(Clone, Debug, Default)]
pub struct Operands {
    /// Tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// Weights.
    pub weights: BTreeMap<String, Weight>,
    /// Sets of live adapters.
    pub sets: BTreeMap<String, AdapterSet>,
}

/// The operands of an op by role; notes which were asked for.
pub struct Roles<'a> {
    op: &'static str,
    operands: &'a Operands,
    used: RefCell<Vec<&'static str>>,
}

impl<'a> Roles<'a> {
    /// Of an op that is to be built of these.
    pub(super) fn over(op: &'static str, operands: &'a Operands) -> Self {
        Self { op, operands, used: RefCell::default() }
    }

    /// A set of live adapters that may be absent.
    pub fn maybe_set(&self, role: &'static str) -> Option<&'a AdapterSet> {
        self.used.borrow_mut().push(role);
        self.operands.sets.get(role)
    }

    /// A tensor that may be absent.
    pub fn maybe(&self, role: &'static str) -> Option<&'a Tensor> {
        self.used.borrow_mut().push(role);
        self.operands.tensors.get(role)
    }

    /// A weight that may be absent.
    pub fn maybe_weight(&self, role: &'static str) -> Option<&'a Weight> {
        self.used.borrow_mut().push(role);
        self.operands.weights.get(role)
    }

    /// A weight that must be there.
    ///
    /// # Errors
    /// It is absent.
    pub fn weight(&self, role: &'static str) -> Result<&'a Weight> {
        self.maybe_weight(role).ok_or_else(|| shape_error!(self.op, "the weight {role} is missing"))
    }

    /// A tensor that must be there.
    ///
    /// # Errors
    /// It is absent.
    pub fn need(&self, role: &'static str) -> Result<&'a Tensor> {
        self.maybe(role).ok_or_else(|| shape_error!(self.op, "{role} is missing"))
    }

    /// Everything has been asked for.
    ///
    /// # Errors
    /// A tensor whose role the op does not know.
    pub fn finish(&self) -> Result<()> {
        let used = self.used.borrow();
        let Operands { tensors, weights, sets } = self.operands;
        match tensors.keys().chain(weights.keys()).chain(sets.keys()).find(|role| !used.contains(&role.as_str())) {
            None => Ok(()),
            Some(role) => Err(shape_error!(self.op, "there is no operand {role}")),
        }
    }
}

/// True where [`build`] knows the op.
pub fn is_known(op: &str) -> bool {
    cases::OPS.contains(&op)
}

/// Builds the op of this name from attributes and operands, and hands it over.
///
/// # Errors
/// An unknown op, attribute or role; a missing one; or what the op or `user` says.
pub fn build<U: Use>(op: &str, attrs: &Attrs, operands: &Operands, user: U) -> Result<U::Out> {
    let Some(op) = cases::OPS.iter().find(|name| **name == op) else {
        return Err(unknown(op));
    };
    let roles = Roles::over(op, operands);
    let (mut user, mut out) = (Some(user), None);
    cases::build(op, attrs, roles, &mut |op| {
        out = user.take().map(|user| user.with(&op)).transpose()?;
        Ok(())
    })?;
    out.ok_or_else(|| shape_error!(*op, "nothing was built"))
}

fn unknown(op: &str) -> Error {
    Error::NoPlan { op: "build", name: op.to_owned(), known: "the ops of the case table".into() }
}

/// An op of the table, whichever it is. What is done with ops is compiled once for all of them: compiled for each, it would
/// be most of the page's wasm.
pub trait AnyOp {
    /// [`Op::problem`].
    ///
    /// # Errors
    /// As there.
    fn any_problem(&self) -> Result<AnyProblem>;

    /// [`Op::operands`].
    fn any_operands(&self) -> Vec<Operand<'_>>;
}

impl<O: Op> AnyOp for O {
    fn any_problem(&self) -> Result<AnyProblem> {
        Ok(AnyProblem(Box::new(self.problem()?)))
    }

    fn any_operands(&self) -> Vec<Operand<'_>> {
        self.operands()
    }
}

impl Op for dyn AnyOp + '_ {
    type Problem = AnyProblem;

    fn problem(&self) -> Result<AnyProblem> {
        self.any_problem()
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.any_operands()
    }
}

/// The problem of an op of the table, whichever it is. What plans an op is linked where the table has the op.
pub struct AnyProblem(Box<dyn Planned>);

impl Clone for AnyProblem {
    fn clone(&self) -> Self {
        Self(self.0.copy())
    }
}

impl Debug for AnyProblem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "AnyProblem({})", self.0.name())
    }
}

impl PartialEq for AnyProblem {
    fn eq(&self, other: &Self) -> bool {
        self.0.same(&*other.0)
    }
}

impl Eq for AnyProblem {}

impl Hash for AnyProblem {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.feed(state);
    }
}

impl Problem for AnyProblem {
    fn op(&self) -> &'static str {
        self.0.name()
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        self.0.all_plans(caps)
    }
}
