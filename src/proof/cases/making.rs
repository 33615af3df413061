//! What the families' builders of cases do alike.

use super::{Case, Fill};
use crate::proof::Value;
use crate::tensor::Elem;

/// A case in the making.
pub(super) trait Making: Sized {
    /// The case so far.
    fn case(&mut self) -> &mut Case;

    /// The case as it is.
    fn done(self) -> Case;

    fn attr(mut self, name: &str, value: impl Into<Value>) -> Self {
        let attrs = &mut self.case().attrs;
        *attrs = std::mem::take(attrs).with(name, value);
        self
    }

    /// Another filling of an input.
    fn fill(mut self, role: &str, fill: Fill) -> Self {
        self.case().inputs.iter_mut().filter(|i| i.role == role).for_each(|i| i.fill = fill);
        self
    }

    /// Dense weights are stored so.
    fn dense(mut self, elem: Elem) -> Self {
        self.case().weights.iter_mut().for_each(|w| w.dense = elem);
        self
    }

    fn storages(mut self, storages: &[Elem]) -> Self {
        self.case().storages = storages.to_vec();
        self
    }

    fn skew(mut self, elements: usize) -> Self {
        self.case().skew = elements;
        self
    }

    /// It is there for what hurts.
    fn hurts(mut self, why: &'static str) -> Case {
        self.case().phase = why;
        self.done()
    }

    /// It is from a real model.
    fn real(mut self, model: &'static str, phase: &'static str) -> Case {
        let case = self.case();
        (case.model, case.phase, case.real) = (model, phase, true);
        self.done()
    }
}

impl Making for Case {
    fn case(&mut self) -> &mut Case {
        self
    }

    fn done(self) -> Case {
        self
    }
}
