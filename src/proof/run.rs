//! Running a case: inputs made, poison in the outputs, a plan run, the outputs compared.

use std::collections::BTreeMap;

use super::cases::{Case, Stored, Values};
use super::{Attrs, Expected, Outcome, Use, build, compare};
use crate::dispatch::Dispatcher;
use crate::error::Result;
use crate::ops::{Op, Problem};
use crate::plan::Plan;
use crate::tensor::{Elem, Tensor};

/// A case with its tensors on a device, and what its outputs must be.
pub struct Prepared {
    gpu: Dispatcher,
    op: &'static str,
    attrs: Attrs,
    tensors: BTreeMap<String, Tensor>,
    /// The buffers behind skewed outputs, whose other elements nobody may touch.
    whole: BTreeMap<String, Tensor>,
    outputs: Vec<&'static str>,
    expected: Vec<Expected>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Each output, worst first.
    pub outcomes: Vec<Outcome>,
    /// Outputs whose neighbours in the buffer were written to.
    pub spilled: Vec<String>,
}

impl Verdict {
    /// All outputs are within bounds, and nothing else was written.
    pub fn ok(&self) -> bool {
        self.outcomes.iter().all(Outcome::ok) && self.spilled.is_empty()
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for o in &self.outcomes {
            writeln!(
                f,
                "{}: {} of {} out of bounds; worst at {}: got {:?}, want {:?}, error {:.3e}, bound {:.3e}",
                o.role, o.wrong, o.compared, o.index, o.got, o.want, o.error, o.bound
            )?;
        }
        for role in &self.spilled {
            writeln!(f, "{role}: elements beside the view were written")?;
        }
        Ok(())
    }
}

/// The byte that outputs are filled with before a run: a NaN in every floating storage.
const POISON: u8 = 0xff;

impl Prepared {
    /// Makes inputs and outputs of a case in this storage, and the reference's answer.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn new(gpu: &Dispatcher, case: &Case, storage: Elem) -> Result<Self> {
        let (hosts, expected) = case.reference(storage)?;
        let mut prepared = Self::timed(gpu, case, storage, &hosts)?;
        prepared.expected = expected;
        Ok(prepared)
    }

    /// As [`Prepared::new`] with inputs that are already made, and no answer: for timing.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn timed(gpu: &Dispatcher, case: &Case, storage: Elem, hosts: &Values) -> Result<Self> {
        let (mut tensors, mut whole) = (BTreeMap::new(), BTreeMap::new());
        let skew = case.skew;
        for input in &case.inputs {
            let elem = input.stored.elem(storage);
            let values = &hosts[input.role];
            let mut padded = vec![1.0; skew];
            padded.extend_from_slice(values);
            let tensor = gpu.upload(&padded, [padded.len()], elem)?.view(skew, &input.shape)?;
            tensors.insert(input.role.to_owned(), tensor);
        }
        for output in &case.outputs {
            let elem = output.stored.elem(storage);
            let elements: usize = output.shape.iter().product();
            // Beyond a skewed output lies as much again as before it.
            let all = gpu.zeros([elements + 2 * skew], elem)?;
            tensors.insert(output.role.to_owned(), all.view(skew, &output.shape)?);
            whole.insert(output.role.to_owned(), all);
        }
        Ok(Self {
            gpu: gpu.clone(),
            op: case.op,
            attrs: case.attrs.clone(),
            tensors,
            whole,
            outputs: case.outputs.iter().map(|o| o.role).collect(),
            expected: Vec::new(),
        })
    }

    /// As [`Prepared::new`] with inputs of zeros and no answer: enough to ask for plans.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn sketch(gpu: &Dispatcher, case: &Case, storage: Elem) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        let inputs = case.inputs.iter().map(|i| (i.role, &i.shape, i.stored));
        let outputs = case.outputs.iter().map(|o| (o.role, &o.shape, o.stored));
        for (role, shape, stored) in inputs.chain(outputs) {
            let elements: usize = shape.iter().product();
            let all = gpu.zeros([elements + 2 * case.skew], stored.elem(storage))?;
            tensors.insert(role.to_owned(), all.view(case.skew, shape)?);
        }
        Ok(Self {
            gpu: gpu.clone(),
            op: case.op,
            attrs: case.attrs.clone(),
            tensors,
            whole: BTreeMap::new(),
            outputs: Vec::new(),
            expected: Vec::new(),
        })
    }

    /// Hands the op to `user`.
    ///
    /// # Errors
    /// What the op or `user` says.
    pub fn with<U: Use>(&self, user: U) -> Result<U::Out> {
        build(self.op, &self.attrs, &self.tensors, user)
    }

    /// The plans of the case on this device, best first.
    ///
    /// # Errors
    /// Operands that do not fit.
    pub fn plans(&self) -> Result<Vec<Plan>> {
        struct Plans<'a>(&'a Dispatcher);
        impl Use for Plans<'_> {
            type Out = Vec<Plan>;
            fn with(self, op: &impl Op) -> Result<Vec<Plan>> {
                op.problem()?.plans(self.0.caps())
            }
        }
        self.with(Plans(&self.gpu))
    }

    /// Runs the case by a plan and compares its outputs.
    ///
    /// # Errors
    /// What the dispatcher says; wrong numbers are a [`Verdict`], not an error.
    pub async fn run(&self, plan: &str) -> Result<Verdict> {
        struct Run<'a>(&'a Dispatcher, &'a str);
        impl Use for Run<'_> {
            type Out = ();
            fn with(self, op: &impl Op) -> Result<()> {
                let mut recorder = self.0.record()?;
                recorder.run_plan(op, self.1)?;
                recorder.submit()
            }
        }
        for all in self.whole.values() {
            all.write_bytes(&vec![POISON; all.bytes() as usize])?;
        }
        self.with(Run(&self.gpu, plan))?;
        let mut verdict = Verdict { outcomes: Vec::new(), spilled: Vec::new() };
        for expected in &self.expected {
            let tensor = &self.tensors[expected.role];
            verdict.outcomes.push(compare(expected, &tensor.read().await?, tensor.elem()));
        }
        for role in &self.outputs {
            let (all, tensor) = (&self.whole[*role], &self.tensors[*role]);
            if all.elements() > tensor.elements() {
                let bytes = all.read_bytes().await?;
                let (from, size) = (tensor.offset_bytes() as usize, tensor.bytes() as usize);
                if bytes[..from].iter().chain(&bytes[from + size..]).any(|b| *b != POISON) {
                    verdict.spilled.push((*role).to_owned());
                }
            }
        }
        verdict.outcomes.sort_by(|a, b| b.worst.total_cmp(&a.worst));
        Ok(verdict)
    }

    /// The bytes that the op must move at least: every operand once.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(Tensor::bytes).sum()
    }
}

impl Stored {
    /// The storage of an operand whose case is run with activations in `storage`.
    pub fn elem(self, storage: Elem) -> Elem {
        match self {
            Self::Activation => storage,
            Self::Always(elem) => elem,
        }
    }
}
