//! Running a case: inputs made, poison in the outputs, a plan run, the outputs compared.

use std::collections::BTreeMap;

use super::cases::{Case, ONLY_PAGE, Stored, Values, attach};
use super::measure::{COPIES_MOST, Effort};
use super::{Attrs, Expected, Operands, Outcome, Use, build, compare};
use crate::caps::Caps;
use crate::dispatch::Dispatcher;
use crate::error::Result;
use crate::formats::Packed;
use crate::ops::{Op, Problem};
use crate::plan::{BIND_ALIGN_BYTES, Plan};
use crate::tensor::{Elem, Tensor};
use crate::weight::Weight;

/// A case with its tensors on a device, and what its outputs must be.
pub struct Prepared {
    gpu: Dispatcher,
    op: &'static str,
    attrs: Attrs,
    operands: Operands,
    /// The buffers behind skewed outputs, whose other elements nobody may touch.
    whole: BTreeMap<String, Tensor>,
    outputs: Vec<&'static str>,
    /// What the weights hold that the op writes, before it does.
    before: Vec<(&'static str, Packed<'static>)>,
    /// Of a set, those that rows have.
    adapters: u64,
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
    /// There are outputs, all are within bounds, and nothing else was written.
    pub fn ok(&self) -> bool {
        !self.outcomes.is_empty() && self.outcomes.iter().all(Outcome::ok) && self.spilled.is_empty()
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

/// The byte that outputs are filled with before a run: a NaN in every floating storage, and of whole numbers, of which all ones are no row, what
/// no list has.
fn poison(elem: Elem) -> u8 {
    if elem.is_float() { 0xff } else { 0xa5 }
}

impl Prepared {
    /// Makes inputs and outputs of a case in this storage, and the reference's answer.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn new(gpu: &Dispatcher, case: &Case, storage: Elem) -> Result<Self> {
        Self::of(gpu, case, storage, &case.inputs(storage))
    }

    /// As [`Prepared::new`] of these inputs, and of the weights that are among them.
    ///
    /// # Errors
    /// As [`Prepared::new`], or an input without values.
    pub fn of(gpu: &Dispatcher, case: &Case, storage: Elem, hosts: &Values) -> Result<Self> {
        let expected = case.expected(hosts, storage)?;
        let mut prepared = Self::without_answer(gpu, case, storage, hosts)?;
        for weight in case.linked_weights().iter().filter(|w| expected.iter().any(|e| e.role == w.role)) {
            prepared.before.push((weight.role, case.packed(weight, hosts)?));
        }
        prepared.expected = expected;
        Ok(prepared)
    }

    /// As [`Prepared::of`], without an answer.
    fn without_answer(gpu: &Dispatcher, case: &Case, storage: Elem, hosts: &Values) -> Result<Self> {
        let (mut tensors, mut whole) = (BTreeMap::new(), BTreeMap::new());
        let mut weights = BTreeMap::new();
        for weight in case.linked_weights() {
            weights.insert(weight.role.to_owned(), gpu.weight_repeated(&case.packed(weight, hosts)?, weight.shape[0])?);
        }
        let skew = case.skew;
        for input in &case.inputs {
            let elem = input.stored.elem(storage);
            let values = case.values(hosts, input)?;
            if let Stored::Kv(format) = input.stored {
                let words = format.encode(values, input.shape.last().copied().unwrap_or(1), 1.0);
                let tensor = gpu.upload_bytes(bytemuck::cast_slice(&words), [words.len()], elem)?;
                tensors.insert(input.role.to_owned(), tensor);
                continue;
            }
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
        // Rows have them by an index, or all the first.
        let adapters = hosts.get("adapter_index").filter(|_| !ONLY_PAGE).map_or(1, |index| {
            // A set would be one more that the page sorts.
            let is_new = |(i, v): &(usize, &f32)| **v >= 0.0 && !index[..*i].contains(v);
            index.iter().enumerate().filter(is_new).count() as u64
        });
        let mut operands = Operands { tensors, weights, ..Operands::default() };
        attach(Some(gpu), case.op, &case.attrs, &mut operands)?;
        Ok(Self {
            gpu: gpu.clone(),
            op: case.op,
            attrs: case.attrs.clone(),
            operands,
            whole,
            outputs: case.outputs.iter().map(|o| o.role).collect(),
            before: Vec::new(),
            expected: Vec::new(),
            adapters,
        })
    }

    /// What the outputs must be.
    pub fn expected(&self) -> &[Expected] {
        &self.expected
    }

    /// The tensor of this role, an output after [`Prepared::run`].
    pub fn tensor(&self, role: &str) -> Option<&Tensor> {
        self.operands.tensors.get(role)
    }

    /// Hands the op to `user`.
    ///
    /// # Errors
    /// What the op or `user` says.
    pub fn with<U: Use>(&self, user: U) -> Result<U::Out> {
        build(self.op, &self.attrs, &self.operands, user)
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
        let operands = self.plans()?.into_iter().find(|p| p.name == plan).and_then(|p| p.operands);
        for all in self.whole.values() {
            all.write_bytes(&vec![poison(all.elem()); all.bytes() as usize])?;
        }
        // Where the table has no weights nothing writes one, and what would is not linked.
        for (role, packed) in self.before.iter().filter(|_| !ONLY_PAGE) {
            self.operands.weights[*role].write(packed)?;
        }
        self.with(Run(&self.gpu, plan))?;
        let mut verdict = Verdict { outcomes: Vec::new(), spilled: Vec::new() };
        for expected in &self.expected {
            let outcome = match self.operands.tensors.get(expected.role) {
                Some(tensor) => match expected.codes {
                    Some((format, width)) if !ONLY_PAGE => {
                        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&tensor.read_bytes().await?);
                        compare(expected, operands, &format.decode(&words, width, 1.0), Elem::F32)
                    }
                    _ => compare(expected, operands, &tensor.read().await?, tensor.elem()),
                },
                // Of a weight, its bytes on the device.
                None => {
                    let words = self.operands.weights[expected.role].read_words().await?;
                    let bytes: Vec<f32> = words.iter().flat_map(|word| word.to_le_bytes()).map(f32::from).collect();
                    compare(expected, operands, &bytes, Elem::U8)
                }
            };
            let place = verdict.outcomes.partition_point(|o| o.worst >= outcome.worst);
            verdict.outcomes.insert(place, outcome);
        }
        for role in &self.outputs {
            let (all, tensor) = (&self.whole[*role], &self.operands.tensors[*role]);
            if all.elements() > tensor.elements() {
                let bytes = all.read_bytes().await?;
                let (from, size) = (tensor.offset_bytes() as usize, tensor.bytes() as usize);
                if bytes[..from].iter().chain(&bytes[from + size..]).any(|b| *b != poison(all.elem())) {
                    verdict.spilled.push((*role).to_owned());
                }
            }
        }
        Ok(verdict)
    }

    /// Copies of all operands, side by side in one buffer for each, so many that the effort's bytes are moved of them together: for timing.
    /// `unmoved` bytes of each are not.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn copies(&self, effort: &Effort, unmoved: u64) -> Result<Vec<Self>> {
        // The parts of weights are copied as tensors, under names that no role has.
        let part = |role: &str, i: usize| format!("{role}#{i}");
        let mut tensors = self.operands.tensors.clone();
        for (role, weight) in &self.operands.weights {
            tensors.extend(weight.chunks().iter().enumerate().map(|(i, chunk)| (part(role, i), chunk.clone())));
        }
        tensors.extend(self.operands.sets.iter().map(|(role, set)| (part(role, 0), set.pool().clone())));
        let of = |mut tensors: BTreeMap<String, Tensor>| {
            let (mut weights, mut sets) = (BTreeMap::new(), BTreeMap::new());
            for (role, set) in &self.operands.sets {
                sets.extend(tensors.remove(&part(role, 0)).map(|pool| (role.clone(), set.over(pool))));
            }
            for (role, weight) in &self.operands.weights {
                let chunks = (0..weight.chunks().len()).filter_map(|i| tensors.remove(&part(role, i))).collect();
                weights.insert(role.clone(), weight.over(chunks));
            }
            Self {
                gpu: self.gpu.clone(),
                op: self.op,
                attrs: self.attrs.clone(),
                operands: Operands { tensors, weights, sets },
                whole: BTreeMap::new(),
                outputs: Vec::new(),
                before: Vec::new(),
                expected: Vec::new(),
                adapters: self.adapters,
            }
        };
        Ok(side_by_side(&self.gpu, &tensors, effort, unmoved)?.into_iter().map(of).collect())
    }

    /// The bytes that the op must move at least: every operand once, and of sets of adapters those that rows have.
    pub fn bytes(&self) -> u64 {
        let Operands { tensors, weights, sets } = &self.operands;
        let sets = sets.values().map(|set| set.place_bytes() * self.adapters.min(set.room().adapters as u64));
        tensors.values().map(Tensor::bytes).chain(weights.values().map(Weight::bytes)).chain(sets).sum()
    }
}

impl Case {
    /// The weights without memory.
    ///
    /// # Errors
    /// A format that cannot be encoded, or not in its shape.
    pub fn outlines(&self) -> Result<BTreeMap<String, Weight>> {
        let mut outlines = BTreeMap::new();
        for weight in self.linked_weights() {
            outlines.insert(weight.role.to_owned(), weight.outline(&self.name)?);
        }
        Ok(outlines)
    }

    /// The plans of the case for these caps, best first. It needs no device: the op is built of outlines.
    ///
    /// # Errors
    /// Operands that do not fit, or a limit that no plan stays under.
    pub fn plans(&self, storage: Elem, caps: &Caps) -> Result<Vec<Plan>> {
        struct Plans<'a>(&'a Caps);
        impl Use for Plans<'_> {
            type Out = Vec<Plan>;
            fn with(self, op: &impl Op) -> Result<Vec<Plan>> {
                op.problem()?.plans(self.0)
            }
        }
        let inputs = self.inputs.iter().map(|i| (i.role, &i.shape, i.stored));
        let outputs = self.outputs.iter().map(|o| (o.role, &o.shape, o.stored));
        let mut outlines = BTreeMap::new();
        for (role, shape, stored) in inputs.chain(outputs) {
            outlines.insert(role.to_owned(), stored.outline(shape, storage, self.skew)?);
        }
        let mut operands = Operands { tensors: outlines, weights: self.outlines()?, ..Operands::default() };
        attach(None, self.op, &self.attrs, &mut operands)?;
        build(self.op, &self.attrs, &operands, Plans(caps))
    }
}

/// Copies of tensors, of the bytes that an effort turns through or more without what is `unmoved` of each, but no more than
/// [`COPIES_MOST`], nor than it allows or a buffer of the device holds: those of one tensor lie in one buffer.
pub(super) fn side_by_side(
    gpu: &Dispatcher,
    tensors: &BTreeMap<String, Tensor>,
    effort: &Effort,
    unmoved: u64,
) -> Result<Vec<BTreeMap<String, Tensor>>> {
    // As far into its 256 bytes as the original, so that plans see the same alignment.
    let head = |t: &Tensor| t.offset_bytes() % BIND_ALIGN_BYTES;
    let stride =
        |t: &Tensor| (head(t) + t.bytes().next_multiple_of(4)).next_multiple_of(BIND_ALIGN_BYTES).max(BIND_ALIGN_BYTES);
    let bytes: u64 = tensors.values().map(stride).sum();
    let widest = tensors.values().map(stride).max().unwrap_or(1);
    let room = (effort.copies_bytes / bytes.max(1)).min(gpu.caps().buffer_bytes / widest);
    let count = effort.rotate_bytes.div_ceil(bytes.saturating_sub(unmoved).max(1)).min(room).clamp(1, COPIES_MOST);
    let mut copies = vec![BTreeMap::new(); count as usize];
    let mut encoder =
        gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("gristmill copies") });
    for (role, tensor) in tensors {
        let size = tensor.elem().bytes() as u64;
        let all = gpu.zeros([(stride(tensor) * count / size) as usize], tensor.elem())?;
        for (i, copy) in (0..).zip(&mut copies) {
            let to = stride(tensor) * i + head(tensor);
            let view = all.view((to / size) as usize, tensor.shape())?;
            if let (Some(from), Some(into)) = (tensor.buffer(), view.buffer()) {
                // Copies are of whole words.
                let start = tensor.offset_bytes() / 4 * 4;
                let end = (tensor.offset_bytes() + tensor.bytes()).next_multiple_of(4);
                encoder.copy_buffer_to_buffer(from, start, into, to / 4 * 4, end - start);
            }
            copy.insert(role.clone(), view);
        }
    }
    gpu.scoped("copies", || gpu.queue().submit([encoder.finish()]))?;
    Ok(copies)
}

impl Stored {
    /// The storage of an operand whose case is run with activations in `storage`.
    pub fn elem(self, storage: Elem) -> Elem {
        match self {
            Self::Activation => storage,
            Self::Always(elem) => elem,
            Self::Kv(format) => format.elem().unwrap_or(Elem::U32),
        }
    }

    /// The elements of an operand of so many numbers.
    pub fn elements(self, shape: &[usize]) -> usize {
        let numbers: usize = shape.iter().product();
        let width = shape.last().copied().unwrap_or(1).max(1);
        match self {
            Self::Kv(format) => format.bytes(numbers / width, width) / format.elem().map_or(4, Elem::bytes),
            Self::Activation | Self::Always(_) => numbers,
        }
    }

    /// The operand without memory, from element `skew` of its buffer on; codes have no view.
    ///
    /// # Errors
    /// As [`Tensor::outline`].
    pub fn outline(self, shape: &[usize], storage: Elem, skew: usize) -> Result<Tensor> {
        let (elements, elem) = (self.elements(shape), self.elem(storage));
        match self {
            Self::Kv(_) => Tensor::outline([elements], elem),
            Self::Activation | Self::Always(_) => Tensor::outline([elements + 2 * skew], elem)?.view(skew, shape),
        }
    }
}
