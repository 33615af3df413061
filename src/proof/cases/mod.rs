//! The case table: the problems that are tested, timed and shown on the page.
//!
//! A case names its op, attributes and operands; its reference's answer and bound are made from them. A new case in
//! the list of its op is tested, benchmarked and on the page, with no further edit.

use std::collections::BTreeMap;

use super::{AnyOp, Attrs, Expected, Operands, Reader, Roles};
use crate::dispatch::Dispatcher;
use crate::error::{Result, shape_error};
use crate::formats::{Dtype, Format, Packed, Part};
use crate::kv::KvFormat;
use crate::reference::Array;
use crate::tensor::Elem;
use crate::weight::Weight;

mod adapter;
mod attention;
mod codes;
mod cover;
mod depth;
mod encode;
mod linear;
mod live;
mod making;
mod norm;
mod prepare;
mod prologue;
mod quantize;
mod rope;
mod weight_merge;

pub use cover::pairs;

/// A family of ops: a file each.
struct Family {
    ops: &'static [&'static str],
    cases: fn() -> Vec<Case>,
    build: fn(&'static str, &Attrs, Roles<'_>, User<'_>) -> Result<()>,
    expected: fn(&Case, &Arrays, Elem) -> Result<Vec<Expected>>,
}

/// How keys and values are stored as codes, by its name.
fn codes_named(name: &str) -> Option<KvFormat> {
    KvFormat::ALL.into_iter().find(|f| f.name() == name && f.elem().is_none())
}

type Arrays = BTreeMap<&'static str, Array>;

const NORM: Family = Family { ops: norm::OPS, cases: norm::cases, build: norm::build, expected: norm::expected };
const QUANTIZE: Family =
    Family { ops: quantize::OPS, cases: quantize::cases, build: quantize::build, expected: quantize::expected };
const LINEAR: Family =
    Family { ops: linear::OPS, cases: linear::cases, build: linear::build, expected: linear::expected };
const ADAPTER: Family =
    Family { ops: adapter::OPS, cases: adapter::cases, build: adapter::build, expected: adapter::expected };
const LIVE: Family = Family { ops: live::OPS, cases: live::cases, build: live::build, expected: live::expected };

const ENCODE: Family =
    Family { ops: encode::OPS, cases: encode::cases, build: encode::build, expected: encode::expected };

const ROPE: Family = Family { ops: rope::OPS, cases: rope::cases, build: rope::build, expected: rope::expected };
const PROLOGUE: Family =
    Family { ops: prologue::OPS, cases: prologue::cases, build: prologue::build, expected: prologue::expected };
const ATTENTION: Family =
    Family { ops: attention::OPS, cases: attention::cases, build: attention::build, expected: attention::expected };

const DEPTH: Family = Family { ops: depth::OPS, cases: depth::cases, build: depth::build, expected: depth::expected };

const PREPARE: Family =
    Family { ops: prepare::OPS, cases: prepare::cases, build: prepare::build, expected: prepare::expected };

const WEIGHT_MERGE: Family = Family {
    ops: weight_merge::OPS,
    cases: weight_merge::cases,
    build: weight_merge::build,
    expected: weight_merge::expected,
};

/// Every family.
const WHOLE: &[Family] =
    &[NORM, QUANTIZE, LINEAR, ENCODE, ROPE, PROLOGUE, ATTENTION, DEPTH, ADAPTER, LIVE, PREPARE, WEIGHT_MERGE];

/// The families that the page has at once. The others are in its second wasm, which it loads when they are asked for: the encoders
/// and decoders of all formats alone are as much again as the first.
const PAGE: &[Family] = &[NORM, QUANTIZE];

/// The table is only what the page has at once, without weights, and what is not in it is not linked: the library is built without
/// its feature `all-cases`.
pub(super) const ONLY_PAGE: bool = !cfg!(feature = "all-cases");

const FAMILIES: &[Family] = if ONLY_PAGE { PAGE } else { WHOLE };

/// The ops of the table.
pub const OPS: &[&str] = &joined::<{ count(FAMILIES) }>(FAMILIES);

/// The ops of all families, those too that a table without the feature `all-cases` leaves out.
pub const ALL_OPS: &[&str] = &joined::<{ count(WHOLE) }>(WHOLE);

const fn count(families: &[Family]) -> usize {
    let (mut n, mut at) = (0, 0);
    while at < families.len() {
        (n, at) = (n + families[at].ops.len(), at + 1);
    }
    n
}

/// The names of all families together, as one list of `N`.
const fn joined<const N: usize>(families: &[Family]) -> [&'static str; N] {
    let (mut all, mut n, mut family) = ([""; N], 0, 0);
    while family < families.len() {
        let (ops, mut at) = (families[family].ops, 0);
        while at < ops.len() {
            all[n] = ops[at];
            (n, at) = (n + 1, at + 1);
        }
        family += 1;
    }
    all
}

/// The family of an op of the table.
fn family(op: &str) -> &'static Family {
    FAMILIES.iter().find(|f| f.ops.contains(&op)).unwrap_or(&FAMILIES[0])
}

/// Every case; without the feature `all-cases`, every one of the [`page`].
pub fn all() -> Vec<Case> {
    FAMILIES.iter().flat_map(|f| (f.cases)()).collect()
}

/// The cases that the page has at once.
pub fn page() -> Vec<Case> {
    PAGE.iter().flat_map(|f| (f.cases)()).collect()
}

/// Builds an op; see [`build`](super::build).
pub(super) fn build(op: &'static str, attrs: &Attrs, roles: Roles<'_>, user: User<'_>) -> Result<()> {
    (family(op).build)(op, attrs, roles, user)
}

/// What must be done with the operands of an op before it is built: adapters that are applied live are put into sets, without memory where
/// there is no device.
///
/// # Errors
/// What the attaching op says.
pub fn attach(gpu: Option<&Dispatcher>, op: &str, attrs: &Attrs, operands: &mut Operands) -> Result<()> {
    if ONLY_PAGE || !live::OPS.contains(&op) {
        return Ok(());
    }
    live::attach(gpu, attrs, operands)
}

/// Hands an op over, of which every attribute and role has been asked for.
fn hand(a: &Reader<'_>, r: &Roles<'_>, user: User<'_>, op: &dyn AnyOp) -> Result<()> {
    a.finish()?;
    r.finish()?;
    user(op)
}

/// What is done with an op that has been built.
type User<'a> = &'a mut dyn FnMut(&dyn AnyOp) -> Result<()>;

/// What the values of an input are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Normally distributed.
    Normal {
        /// The mean.
        mean: f32,
        /// The standard deviation.
        deviation: f32,
    },
    /// Uniformly distributed between two numbers.
    Uniform(f32, f32),
    /// All the same.
    Constant(f32),
    /// Few different numbers, so that many are equal, and among them NaN, both infinities and both zeros.
    Coarse,
    /// Normally distributed, times `2^(⌊k/8⌋ − 10)` for number k of a row: each row outgrows whatever fitted its first numbers.
    Growing,
    /// Normally distributed, times `2^⌊r/8⌋` for row r in the dimension before the last.
    GrowingRows,
    /// These, one after the other.
    These(&'static [f32]),
    /// Normally distributed; every third row (of the last dimension) has a NaN, an infinity or only zeros, in turn.
    Special,
    /// Normally distributed; every third row (of the last dimension) has a NaN.
    NanRows,
    /// Normally distributed; in the dimension before the last, all from this index on is NaN.
    NanFrom(usize),
    /// Normally distributed; a third is −∞, and all of every fifth row (of the last dimension).
    Hiding,
    /// The whole numbers from 0 on, each once, in no order.
    Shuffled,
    /// Whole numbers in equal steps.
    Steps {
        /// The first.
        first: f32,
        /// From one to the next.
        step: f32,
    },
}

/// How an operand is stored when the case is run with activations in a given storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As the activations.
    Activation,
    /// Always like this.
    Always(Elem),
    /// As rows of keys or values.
    Kv(KvFormat),
}

/// An input.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its role, by which the op is built.
    pub role: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub fill: Fill,
    /// Its storage.
    pub stored: Stored,
}

/// A weight.
#[derive(Clone, Debug)]
pub struct WeightInput {
    /// Its role.
    pub role: &'static str,
    /// Rows, columns.
    pub shape: [usize; 2],
    /// Rows that are made; the others repeat them, so that a large weight is soon there.
    pub rows: usize,
    /// Its values, before they are rounded into the format.
    pub fill: Fill,
    /// Its format.
    pub format: Format,
    /// How dense numbers are stored.
    pub dense: Elem,
}

impl WeightInput {
    /// The rows that are made.
    ///
    /// # Errors
    /// A format that cannot be encoded, or not in this shape.
    pub fn packed(&self, case: &str) -> Result<Packed<'static>> {
        let mut random = Random::new(&format!("{case}/{}", self.role));
        self.of(&fill(&mut random, &[self.rows, self.shape[1]], self.fill), self.rows)
    }

    /// These values in so many rows, as this weight.
    fn of(&self, values: &[f32], rows: usize) -> Result<Packed<'static>> {
        let k = self.shape[1];
        let dtype = match (self.format, self.dense) {
            (Format::Dense, Elem::F16) => Dtype::F16,
            (Format::Dense, Elem::Bf16) => Dtype::Bf16,
            _ => return Packed::encode(self.format, rows, k, values),
        };
        let part = Part::new(dtype, &[rows, k], self.dense.encode(values));
        Packed::new(self.format, rows, k, BTreeMap::from([("w".to_owned(), part)]))
    }

    /// A weight without memory; a large one repeats the fewest rows that all formats allow.
    ///
    /// # Errors
    /// As [`WeightInput::packed`].
    pub fn outline(&self, case: &str) -> Result<Weight> {
        let few = if self.rows * self.shape[1] <= 1 << 16 { self.rows } else { self.rows.min(32) };
        let sample = Self { rows: few, fill: Fill::Constant(1.0), ..self.clone() };
        Weight::outline(&sample.packed(case)?, self.shape[0])
    }
}

/// What a selection tells of 33 kept rows, and of 2.
const COUNTED: [&[f32]; 2] = [
    &[
        33.0, 1.0, 1.0, 17.0, 1.0, 1.0, 9.0, 1.0, 1.0, 5.0, 1.0, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
        1.0, 1.0, 1.0, 1.0, 1.0, 33.0, 1.0, 1.0,
    ],
    &[
        2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
        1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0,
    ],
];

/// The input that tells the rows of an op: grids of indirect dispatches.
fn counted(grids: &'static [f32]) -> Input {
    Input { role: "grids", shape: vec![10, 3], fill: Fill::These(grids), stored: Stored::Always(Elem::U32) }
}

/// An output.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its role.
    pub role: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its storage.
    pub stored: Stored,
}

/// The values of the inputs of a case by role.
pub type Values = BTreeMap<&'static str, Vec<f32>>;

/// A problem to be judged.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique, `op/what-it-is`.
    pub name: String,
    /// The op.
    pub op: &'static str,
    /// For people.
    pub title: String,
    /// The model that it comes from, or empty.
    pub model: &'static str,
    /// `prefill`, `decode`, or why the shape hurts.
    pub phase: &'static str,
    /// The op's numbers and switches.
    pub attrs: Attrs,
    /// The inputs.
    pub inputs: Vec<Input>,
    /// The weights.
    pub weights: Vec<WeightInput>,
    /// The outputs.
    pub outputs: Vec<Output>,
    /// The storages that it is run in.
    pub storages: Vec<Elem>,
    /// It is from a real model, and timed.
    pub real: bool,
    /// Every operand is a view that begins at this element of its buffer.
    pub skew: usize,
    /// Floating operations of one run.
    pub flops: u64,
}

impl Case {
    /// The values of the inputs, as their storage keeps them.
    pub fn inputs(&self, storage: Elem) -> Values {
        let values = |input: &Input| {
            let elem = input.stored.elem(storage);
            let mut random = Random::new(&format!("{}/{}", self.name, input.role));
            let mut values = fill(&mut random, &input.shape, input.fill);
            if let Stored::Kv(format) = input.stored {
                let width = input.shape.last().copied().unwrap_or(1);
                values = format.decode(&format.encode(&values, width, 1.0), width, 1.0);
            } else if elem != Elem::F32 {
                values.iter_mut().for_each(|v| *v = elem.round(f64::from(*v)) as f32);
            }
            (input.role, values)
        };
        // Collecting a map sorts its elements first, which would cost the page two more sorting functions for five names.
        let mut all = Values::new();
        all.extend(self.inputs.iter().map(values));
        all
    }

    /// The inputs, and what the outputs must be.
    ///
    /// # Errors
    /// An attribute of the wrong type.
    pub fn reference(&self, storage: Elem) -> Result<(Values, Vec<Expected>)> {
        let hosts = self.inputs(storage);
        let expected = self.expected(&hosts, storage)?;
        Ok((hosts, expected))
    }

    /// What the outputs must be of these inputs, in the place of those that the case would make. Weights are made, but for those of which
    /// there are values too.
    ///
    /// # Errors
    /// An attribute of the wrong type, an input without values, or a weight that cannot be encoded.
    pub fn expected(&self, hosts: &Values, storage: Elem) -> Result<Vec<Expected>> {
        let mut arrays = BTreeMap::new();
        for input in &self.inputs {
            let data = self.values(hosts, input)?.iter().map(|v| f64::from(*v)).collect();
            arrays.insert(input.role, Array { shape: input.shape.clone(), data });
        }
        for weight in self.linked_weights() {
            let data = self.packed(weight, hosts)?.decode().into_iter().map(f64::from).collect();
            arrays.insert(weight.role, Array { shape: vec![weight.rows, weight.shape[1]], data });
        }
        (family(self.op).expected)(self, &arrays, storage)
    }

    /// A weight of these values, where it has some; else of those that the case makes.
    pub(super) fn packed(&self, weight: &WeightInput, hosts: &Values) -> Result<Packed<'static>> {
        match hosts.get(weight.role) {
            Some(values) => weight.of(values, weight.rows),
            None => weight.packed(&self.name),
        }
    }

    /// The values of an input, as many as its shape says.
    pub(super) fn values<'a>(&self, hosts: &'a Values, input: &Input) -> Result<&'a [f32]> {
        let values = hosts.get(input.role).map(Vec::as_slice).unwrap_or_default();
        let (count, shape) = (values.len(), &input.shape);
        if count != shape.iter().product::<usize>() {
            return Err(shape_error!(self.op, "{} has {count} values, but its shape is {shape:?}", input.role));
        }
        Ok(values)
    }

    /// The weights that can be made: none in a table without weights, so that no codec is linked.
    pub(super) fn linked_weights(&self) -> &[WeightInput] {
        if ONLY_PAGE { &[] } else { &self.weights }
    }

    /// The bytes of operands that the op need not move: keys that no query sees, angles of positions that no token has, rows of a cache to which
    /// nothing is appended, rows that no list has.
    pub fn unmoved_bytes(&self, storage: Elem) -> u64 {
        match ONLY_PAGE {
            _ if norm::OPS.contains(&self.op) => norm::unread_bytes(self, storage),
            true => 0,
            false if depth::OPS.contains(&self.op) => depth::unread_bytes(self, storage),
            false if attention::OPS.contains(&self.op) => attention::unread_bytes(self, storage),
            false if prologue::OPS.contains(&self.op) => prologue::unmoved_bytes(self, storage),
            false => rope::unread_bytes(self),
        }
    }

    /// The bytes that the op must move at least: of all operands, but for what it need not move.
    pub fn bytes(&self, storage: Elem) -> u64 {
        let inputs = self.inputs.iter().map(|i| (&i.shape, i.stored));
        let outputs = self.outputs.iter().map(|o| (&o.shape, o.stored));
        let bytes = |(shape, stored): (&Vec<usize>, Stored)| stored.elements(shape) * stored.elem(storage).bytes();
        let weights = self.linked_weights().iter().map(|w| Ok(w.outline(&self.name)?.bytes()));
        let weights: u64 = weights.filter_map(|bytes: Result<u64>| bytes.ok()).sum();
        inputs.chain(outputs).map(bytes).sum::<usize>() as u64 + weights - self.unmoved_bytes(storage)
    }

    /// Too much for a software device, which would take seconds over it: layers, prologues and merges of real models, but the smallest.
    pub fn heavy(&self) -> bool {
        let of_large = [prologue::OPS, attention::OPS, weight_merge::OPS].concat();
        let much = !self.weights.is_empty() || of_large.contains(&self.op);
        // Beside the layer its adapters are attached, beside the keys of a window those that it leaves.
        let window = attention::OPS.contains(&self.op) && self.unmoved_bytes(Elem::F32) > 0;
        let more = live::OPS.contains(&self.op) || window;
        self.real && much && (self.flops > 10_000_000 || more)
    }

    /// The shape of its first input, as written in tables.
    pub fn shape(&self) -> String {
        let dims = self.inputs.first().map(|i| i.shape.as_slice()).unwrap_or_default();
        dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ")
    }
}

fn fill(random: &mut Random, shape: &[usize], fill: Fill) -> Vec<f32> {
    let n: usize = shape.iter().product();
    let last = shape.last().copied().unwrap_or(1).max(1);
    let rows = shape.iter().rev().nth(1).copied().unwrap_or(1);
    // One loop for all: the page would have one for each.
    let number = |i: usize| match fill {
        Fill::Normal { mean, deviation } => mean + deviation * random.normal(),
        Fill::Uniform(low, high) => low + (high - low) * random.uniform(),
        Fill::Constant(v) => v,
        Fill::Coarse => {
            let some = [f32::NAN, f32::NEG_INFINITY, -1.5, -0.0, 0.0, 0.25, 2.0, f32::INFINITY];
            some[random.next() as usize % some.len()]
        }
        Fill::Growing => random.normal() * 2f32.powi((i % last / 8) as i32 - 10),
        Fill::GrowingRows => random.normal() * 2f32.powi((i / last % rows / 8) as i32),
        Fill::These(values) => values[i % values.len()],
        Fill::Special | Fill::NanRows => random.normal(),
        Fill::NanFrom(from) if i / last % rows < from => random.normal(),
        Fill::NanFrom(_) => f32::NAN,
        Fill::Hiding => {
            let v = random.normal();
            if i / last % 5 == 3 || random.uniform() < 0.33 { f32::NEG_INFINITY } else { v }
        }
        Fill::Shuffled => i as f32,
        Fill::Steps { first, step } => first + step * i as f32,
    };
    let mut values: Vec<f32> = (0..n).map(number).collect();
    if let Fill::Shuffled = fill {
        (1..n).rev().for_each(|i| values.swap(i, (random.next() % (i as u64 + 1)) as usize));
    }
    for (r, row) in values.chunks_mut(last).enumerate() {
        let at = r % last;
        match (fill, r % 12) {
            (Fill::Special, 1) => row[at] = f32::NAN,
            (Fill::Special, 4) => row[at] = f32::INFINITY,
            (Fill::Special, 7) => row.fill(0.0),
            (Fill::Special, 10) => row[at] = f32::NEG_INFINITY,
            (Fill::NanRows, r) if r % 3 == 1 => row[at] = f32::NAN,
            _ => {}
        }
    }
    values
}

/// A small generator (splitmix64), seeded by a name: cases are the same on every machine.
pub struct Random(u64);

impl Random {
    /// The generator of a name.
    pub fn new(name: &str) -> Self {
        // FNV-1a.
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, without 1.
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Of mean 0 and deviation 1. The sum of twelve uniform numbers, less six: near enough to a normal one, and the same on every
    /// machine.
    pub fn normal(&mut self) -> f32 {
        let mut sum = -6.0;
        for _ in 0..4 {
            let bits = self.next();
            sum += ((bits & 0x1f_ffff) + ((bits >> 21) & 0x1f_ffff) + ((bits >> 42) & 0x1f_ffff)) as f32
                / (1u64 << 21) as f32;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_at_once_what_has_no_weights() {
        let (all, page) = (all(), page());
        let there = |case: &&Case| page.iter().any(|p| p.name == case.name);
        assert!(page.iter().all(|c| c.weights.is_empty()) && all.iter().any(|c| !c.weights.is_empty()));
        assert!(page.len() > 100 && all.iter().filter(there).count() == page.len());
        assert!(all.iter().all(|c| ALL_OPS.contains(&c.op)));
        assert_eq!(OPS, ALL_OPS);
    }
}
