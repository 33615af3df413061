//! Problems made of outlines, so that no GPU is needed: those of the case table, a sweep over every op of the norm family, and one
//! over linear layers; and the cover that chooses among combinations that are too many to take them all.

#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::panic, reason = "a test fails by it")]

use gristmill::adapters::{AdapterAttach, AdapterScale};
use gristmill::formats::{Dtype, Format, Packed, Part};
use gristmill::kv_steps::{KvCopy, KvNumbers, KvState};
use gristmill::ops::adapter::{self, AdapterMerge};
use gristmill::ops::attention::prologue::{NormKind, Prologue, QkNorm};
use gristmill::ops::linear::{Activation, Dequantize, Encode, Linear};
use gristmill::ops::norm::{
    BatchChannelNorm, BatchNorm, CrmsNorm, GroupNorm, HypersphericalStep, L2Norm, LayerNorm, PowerNorm, RmsNorm,
    Scaler, UnifiedNorm,
};
use gristmill::ops::quantize::QuantizeRows;
use std::collections::BTreeMap;

pub use gristmill::proof::cases::pairs;
use gristmill::proof::cases::{self, Case, Fill};
use gristmill::proof::{Attrs, Operands, Use, build};
use gristmill::{
    AdapterSet, Caps, DeviceKind, Elem, KvFormat, KvRows, Magnitudes, Op, Plan, Problem, Result, Room, Subgroups,
    Target, Tensor, Weight,
};

/// Which op, with the switches that change what is composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    LayerNorm,
    RmsNorm,
    /// Llama's: rounded before the weight.
    RmsCast,
    /// The paper's: eps outside the root, statistics from a quarter of the features.
    RmsOutside,
    CrmsNorm,
    L2Norm,
    /// Along the dimension before the last, which has 7.
    L2Axis,
    PowerNorm,
    PowerGroups,
    UnifiedNorm,
    /// A channel is one number.
    BatchNorm,
    BatchSpatial,
    GroupNorm,
    BatchChannelNorm,
    Scaler,
    HypersphericalStep,
    /// Codes, whatever y is.
    QuantizeRows,
    /// Not symmetric.
    QuantizeZero,
}

pub const KINDS: [Kind; 18] = [
    Kind::LayerNorm,
    Kind::RmsNorm,
    Kind::RmsCast,
    Kind::RmsOutside,
    Kind::CrmsNorm,
    Kind::L2Norm,
    Kind::L2Axis,
    Kind::PowerNorm,
    Kind::PowerGroups,
    Kind::UnifiedNorm,
    Kind::BatchNorm,
    Kind::BatchSpatial,
    Kind::GroupNorm,
    Kind::BatchChannelNorm,
    Kind::Scaler,
    Kind::HypersphericalStep,
    Kind::QuantizeRows,
    Kind::QuantizeZero,
];

pub const FLOATS: [Elem; 3] = [Elem::F32, Elem::F16, Elem::Bf16];

/// An op with its numbers, before there are tensors. What an op does not have is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    pub kind: Kind,
    pub rows: usize,
    pub len: usize,
    pub x: Elem,
    pub residual: Option<Elem>,
    pub weight: Option<Elem>,
    pub bias: Option<Elem>,
    /// I8 for codes.
    pub y: Elem,
    pub sum: bool,
    pub stats: bool,
    /// Where every operand begins in its buffer, in elements.
    pub start: usize,
}

/// Where an operand lies in its buffer.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Its first byte.
    pub first: u64,
    /// The byte after its last.
    pub end: u64,
    /// Bytes of an element.
    pub size: u64,
}

type Plans = dyn Fn(&Caps) -> Result<Vec<Plan>> + Send + Sync;

/// An op's problem, and where its operands lie.
pub struct Asked {
    plans: Box<Plans>,
    /// Each operand as `Op::operands` lists it.
    pub operands: Vec<Option<Extent>>,
}

impl Asked {
    pub fn of<O: Op>(op: &O) -> Result<Self> {
        let problem = op.problem()?;
        let extent = |t: &Tensor| {
            let first = t.offset_bytes();
            Extent { first, end: first + t.bytes(), size: t.elem().bytes() as u64 }
        };
        let operands = op.operands().iter().map(|(_, t)| t.map(extent)).collect();
        Ok(Self { plans: Box::new(move |caps| problem.plans(caps)), operands })
    }

    pub fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        (self.plans)(caps)
    }

    /// The problem of a case of the table.
    fn of_case(case: &Case, storage: Elem) -> Result<Self> {
        struct Asking;
        impl Use for Asking {
            type Out = Asked;
            fn with(self, op: &impl Op) -> Result<Asked> {
                Asked::of(op)
            }
        }
        let inputs = case.inputs.iter().map(|i| (i.role, &i.shape, i.stored));
        let outputs = case.outputs.iter().map(|o| (o.role, &o.shape, o.stored));
        let mut tensors = BTreeMap::new();
        for (role, shape, stored) in inputs.chain(outputs) {
            tensors.insert(role.to_owned(), stored.outline(shape, storage, case.skew)?);
        }
        let mut operands = Operands { tensors, weights: case.outlines()?, ..Operands::default() };
        cases::attach(None, case.op, &case.attrs, &mut operands)?;
        build(case.op, &case.attrs, &operands, Asking)
    }
}

/// The problem of the case of this name.
pub fn case(name: &str, storage: Elem) -> Result<Asked> {
    let all = cases::all();
    let case = all.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("there is no case {name}"));
    Asked::of_case(case, storage)
}

/// Adapters that are attached to weights, and given another scale.
pub fn attached() -> Vec<(String, Result<Asked>)> {
    let of = |kind: &str, base: &str, [n, k]: [usize; 2], rank: usize, elem: Elem| -> Result<Asked> {
        let w0 = Weight::outline(&weight(base, Elem::F16, k), n)?;
        let low = |rows, cols| Tensor::outline([rows, cols], Elem::F16);
        let (a, b, block) = (low(rank, k)?, low(n, rank)?, low(rank, n)?);
        let (row, col) = (Tensor::outline([n], Elem::F32)?, Tensor::outline([k], Elem::F32)?);
        let kind = match kind {
            "lora" => adapter::Kind::Lora { a: &a, b: &b },
            "dora" => adapter::Kind::Dora { a: &a, b: &b, magnitude: &row },
            "bora" => adapter::Kind::Bora { a: &a, b: &b, row: &row, col: &col, order: adapter::Order::ColRow },
            "miss" => adapter::Kind::Miss { block: &block },
            "loha" => adapter::Kind::Loha { a1: &b, b1: &a, a2: &b, b2: &a },
            _ => {
                let set = AdapterSet::outline([n, k], Room { elem, ..Room::new(rank) })?;
                return Asked::of(&AdapterScale { set: &set, place: 0, scale: Some(1.0) });
            }
        };
        let room = Room { adapters: 3, rank: kind.live_rank().unwrap_or(1), elem, magnitudes: Magnitudes::Both };
        Asked::of(&AdapterAttach::new(&w0, kind, 2.0, &AdapterSet::outline([n, k], room)?, 2))
    };
    let large = [4096, 4096];
    [
        ("lora", "q4_0", large, 16, Elem::F16),
        ("dora", "q4_0", large, 16, Elem::F16),
        ("bora", "nf4", [70, 288], 5, Elem::F32),
        ("miss", "q4_0", [33, 96], 7, Elem::Bf16),
        ("loha", "q4_0", [33, 96], 3, Elem::F32),
        ("scale", "q4_0", [33, 96], 3, Elem::F32),
    ]
    .into_iter()
    .map(|(kind, base, shape, rank, elem)| {
        let name = format!("attach {kind} of rank {rank} to {base} of {shape:?} in {}", elem.name());
        (name, of(kind, base, shape, rank, elem))
    })
    .collect()
}

/// The problems of the case table in all their storages, and the sweeps, each with its name.
pub fn problems() -> Vec<(String, Asked)> {
    let told = |name: String, asked: Result<Asked>| match asked {
        Ok(asked) => (name, asked),
        Err(error) => panic!("{name}: {error}"),
    };
    let of_cases = cases::all();
    let of_cases = of_cases.iter().flat_map(|case| {
        case.storages.iter().map(move |s| told(format!("{} in {}", case.name, s.name()), Asked::of_case(case, *s)))
    });
    let of_asks = asks().into_iter().map(|ask| told(format!("{ask:?}"), ask.asked()));
    let of_layers = layers().into_iter().map(|layer| told(layer.to_string(), layer.asked()));
    let numbers = |(name, w): (String, Packed<'static>)| {
        FLOATS.into_iter().map(move |y| told(format!("the numbers of {name} in {}", y.name()), numbers(&w, 70, y)))
    };
    let of_kv = kv().into_iter().map(|(name, asked)| told(name, asked));
    let of_adapters = attached().into_iter().map(|(name, asked)| told(name, asked));
    of_cases
        .chain(of_adapters)
        .chain(of_kv)
        .chain(of_asks)
        .chain(of_layers)
        .chain(weights().into_iter().flat_map(numbers))
        .collect()
}

impl Ask {
    /// With a weight and nothing else.
    pub fn new(kind: Kind, rows: usize, len: usize, x: Elem) -> Self {
        let (residual, weight, bias) = (None, Some(x), None);
        Self { kind, rows, len, x, residual, weight, bias, y: x, sum: false, stats: false, start: 0 }
    }

    fn outline(&self, dims: &[usize], elem: Elem) -> Result<Tensor> {
        let elements: usize = dims.iter().product();
        Tensor::outline([elements + self.start], elem)?.view(self.start, dims)
    }

    pub fn asked(&self) -> Result<Asked> {
        let Self { kind, rows, len, .. } = *self;
        // The shape of x, the shape of the weight, and rows of statistics.
        let (groups, pairs) = (2, if len.is_multiple_of(2) { 2 } else { 1 });
        let (dims, affine) = match kind {
            Kind::L2Axis => (vec![rows.div_ceil(7), len, 7], len),
            Kind::PowerGroups => (vec![rows.div_ceil(groups), groups * len], groups * len),
            Kind::BatchSpatial => (vec![rows.div_ceil(3), 3, len], 3),
            Kind::GroupNorm => (vec![rows.div_ceil(groups), groups * pairs, len / pairs], groups * pairs),
            Kind::BatchChannelNorm => (vec![rows.div_ceil(groups), groups * pairs, len / pairs], groups),
            _ => (vec![rows, len], len),
        };
        let elements: usize = dims.iter().product();
        let real_rows = elements / len;
        let x = self.outline(&dims, self.x)?;
        let y = self.outline(&dims, self.y)?;
        let codes = self.y == Elem::I8;
        let residual = self.residual.map(|e| self.outline(&dims, e)).transpose()?;
        let weight = self.weight.map(|e| self.outline(&[affine], e)).transpose()?;
        let bias = self.bias.map(|e| self.outline(&[affine], e)).transpose()?;
        let sum = (self.sum && residual.is_some()).then(|| self.outline(&dims, self.x)).transpose()?;
        let stats = self.stats.then(|| self.outline(&[real_rows, 2], Elem::F32)).transpose()?;
        let scale = codes.then(|| self.outline(&[real_rows], Elem::F32)).transpose()?;
        // What an op must have where others may.
        let must = self.outline(&[affine], self.weight.unwrap_or(self.x))?;
        let channels = self.outline(&[dims[1]], Elem::F32)?;
        let floating = self.outline(&dims, if codes { self.x } else { self.y })?;
        let (residual, weight, bias) = (residual.as_ref(), weight.as_ref(), bias.as_ref());
        let (sum, stats, scale) = (sum.as_ref(), stats.as_ref(), scale.as_ref());
        match kind {
            Kind::LayerNorm => {
                Asked::of(&LayerNorm { residual, weight, bias, sum, stats, scale, ..LayerNorm::new(&x, &y) })
            }
            Kind::RmsNorm => Asked::of(&RmsNorm { residual, weight, bias, sum, stats, scale, ..RmsNorm::new(&x, &y) }),
            Kind::RmsCast => {
                let base = RmsNorm { cast_before_weight: true, ..RmsNorm::new(&x, &y) };
                Asked::of(&RmsNorm { residual, weight, bias, sum, stats, scale, ..base })
            }
            Kind::RmsOutside => {
                let partial = if len < 4 { 1.0 } else { 0.25 };
                let base = RmsNorm { eps_outside: true, partial, ..RmsNorm::new(&x, &y) };
                Asked::of(&RmsNorm { residual, weight, bias, sum, stats, scale, ..base })
            }
            Kind::CrmsNorm => Asked::of(&CrmsNorm { residual, sum, scale, ..CrmsNorm::new(&x, &y, 1e-5) }),
            Kind::L2Norm => Asked::of(&L2Norm { residual, sum, scale, ..L2Norm::new(&x, &y) }),
            Kind::L2Axis => Asked::of(&L2Norm { residual, sum, scale, axis: 1, ..L2Norm::new(&x, &y) }),
            Kind::PowerNorm | Kind::PowerGroups => {
                let groups = if kind == Kind::PowerNorm { 1 } else { groups };
                Asked::of(&PowerNorm { residual, weight, bias, sum, scale, groups, ..PowerNorm::new(&x, &must, &y) })
            }
            Kind::UnifiedNorm => {
                Asked::of(&UnifiedNorm { residual, weight, bias, sum, scale, ..UnifiedNorm::new(&x, &must, &y) })
            }
            Kind::BatchNorm | Kind::BatchSpatial => {
                let base = BatchNorm::new(&x, &must, &must, &floating);
                Asked::of(&BatchNorm { residual, weight, bias, sum, ..base })
            }
            Kind::GroupNorm => {
                Asked::of(&GroupNorm { residual, weight, bias, sum, stats, scale, ..GroupNorm::new(&x, &y, groups) })
            }
            Kind::BatchChannelNorm => Asked::of(&BatchChannelNorm {
                x: &x,
                bn_mean: &channels,
                bn_var: &channels,
                bn_weight: &channels,
                bn_bias: &channels,
                weight,
                bias,
                y: &floating,
                groups,
                bn_eps: 1e-5,
                eps: 1e-5,
            }),
            Kind::Scaler => Asked::of(&Scaler { relu: true, floor: 1e-8, ..Scaler::new(&x, &must, &floating) }),
            Kind::HypersphericalStep => {
                let h = self.outline(&dims, self.residual.unwrap_or(self.x))?;
                Asked::of(&HypersphericalStep { scaler: weight, ..HypersphericalStep::new(&x, &h, &must, &floating) })
            }
            Kind::QuantizeRows | Kind::QuantizeZero => {
                let symmetric = kind == Kind::QuantizeRows;
                let q = self.outline(&dims, if symmetric { Elem::I8 } else { Elem::U8 })?;
                let of_rows = |elem| self.outline(&[real_rows], elem);
                let (scale, zero) = (of_rows(Elem::F32)?, of_rows(Elem::I32)?);
                let zero = (!symmetric).then_some(&zero);
                Asked::of(&QuantizeRows { zero, ..QuantizeRows::new(&x, &q, &scale) })
            }
        }
    }
}

/// Asks whose every two factors take every two of their values together, at row lengths that change the kernel, and one op at
/// a length for each number of lanes and chunks.
pub fn asks() -> Vec<Ask> {
    let lens = [1, 2, 3, 4, 31, 64, 129, 768, 2560, 4096, 4099, 8192, 8196, 16_385];
    let rows = [1, 3, 63, 65, 1000];
    let some = |i: usize| i.checked_sub(1).map(|i| FLOATS[i]);
    let levels = [KINDS.len(), 3, 4, 4, 4, 4, 2, 2, 3, lens.len(), rows.len()];
    let mut asks: Vec<Ask> = pairs(&levels)
        .into_iter()
        .map(|at| Ask {
            kind: KINDS[at[0]],
            x: FLOATS[at[1]],
            residual: some(at[2]),
            weight: some(at[3]),
            bias: some(at[4]),
            y: [Elem::F32, Elem::F16, Elem::Bf16, Elem::I8][at[5]],
            sum: at[6] == 1,
            stats: at[7] == 1,
            start: [0, 4, 1][at[8]],
            len: lens[at[9]],
            rows: rows[at[10]],
        })
        .collect();
    let around = |n: usize| [n - 1, n, n + 1, n + 4];
    let lens = (1..=64).chain((16..=4096).step_by(16).flat_map(around)).chain((4096..=16_385).step_by(97));
    for len in lens {
        for rows in [1, 5, 33, 4096] {
            asks.push(Ask::new(Kind::RmsNorm, rows, len, Elem::F32));
        }
        asks.push(Ask::new(Kind::LayerNorm, 64, len, Elem::F16));
        asks.push(Ask::new(Kind::HypersphericalStep, 64, len, Elem::Bf16));
        asks.push(Ask::new(Kind::QuantizeRows, 64, len, Elem::F16));
    }
    asks
}

/// A linear layer with its numbers, before there are tensors.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What the weights are.
    pub name: String,
    /// Few rows in the format of w, with its K columns.
    pub w: Packed<'static>,
    pub up: Option<Packed<'static>>,
    pub m: usize,
    pub n: usize,
    pub x: Elem,
    pub y: Elem,
    pub bias: Option<Elem>,
    pub residual: Option<Elem>,
    pub row_scale: bool,
    pub activation: Activation,
    /// Where every operand but the weights begins in its buffer, in elements.
    pub start: usize,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, w, up, m, n, x, y, bias, residual, row_scale, activation, start } = self;
        write!(f, "linear, {m} rows of {} by {n} rows of {name}, x {} y {}", w.k(), x.name(), y.name())?;
        for (what, elem) in [("bias", bias), ("residual", residual)] {
            elem.map_or(Ok(()), |elem| write!(f, " {what} {}", elem.name()))?;
        }
        up.as_ref().map_or(Ok(()), |up| write!(f, " up {}", up.format()))?;
        let scaled = if *row_scale { " row_scale" } else { "" };
        write!(f, "{scaled} {} from {start}", activation.name())
    }
}

impl Layer {
    /// Without an epilogue.
    pub fn new(name: impl Into<String>, w: Packed<'static>, m: usize, n: usize, x: Elem) -> Self {
        let (up, bias, residual, row_scale, activation) = (None, None, None, false, Activation::None);
        let y = if x == Elem::I8 { Elem::F32 } else { x };
        Self { name: name.into(), w, up, m, n, x, y, bias, residual, row_scale, activation, start: 0 }
    }

    pub fn asked(&self) -> Result<Asked> {
        let Self { m, n, .. } = *self;
        let outline = |dims: &[usize], elem: Elem| {
            let elements: usize = dims.iter().product();
            Tensor::outline([elements + self.start], elem)?.view(self.start, dims)
        };
        let (x, y) = (outline(&[m, self.w.k()], self.x)?, outline(&[m, n], self.y)?);
        let bias = self.bias.map(|e| outline(&[n], e)).transpose()?;
        let residual = self.residual.map(|e| outline(&[m, n], e)).transpose()?;
        let row_scale = self.row_scale.then(|| outline(&[m], Elem::F32)).transpose()?;
        // Codes have scales.
        let x_scale = (self.x == Elem::I8).then(|| outline(&[m], Elem::F32)).transpose()?;
        let w = Weight::outline(&self.w, n)?;
        let up = self.up.as_ref().map(|up| Weight::outline(up, n)).transpose()?;
        Asked::of(&Linear {
            up: up.as_ref(),
            bias: bias.as_ref(),
            residual: residual.as_ref(),
            row_scale: row_scale.as_ref(),
            x_scale: x_scale.as_ref(),
            activation: self.activation,
            ..Linear::new(&x, &w, &y)
        })
    }
}

/// The numbers of a weight of n rows in the format of a few.
pub fn numbers(w: &Packed<'_>, n: usize, y: Elem) -> Result<Asked> {
    let n = n.next_multiple_of(w.n());
    Asked::of(&Dequantize { w: &Weight::outline(w, n)?, y: &Tensor::outline([n, w.k()], y)? })
}

/// The weight of n rows in the format of a few, from numbers.
pub fn encoded(w: &Packed<'_>, n: usize, x: Elem) -> Result<Asked> {
    Asked::of(&Encode { x: &Tensor::outline([n, w.k()], x)?, w: &Weight::outline(w, n)? })
}

/// DoRA or BoRA of rank 16 on a weight of n rows in the format of a few.
pub fn merge(w: &Packed<'_>, n: usize, bora: bool, y: Elem) -> Result<Asked> {
    let k = w.k();
    let outline = |dims: &[usize]| Tensor::outline(dims, Elem::F16);
    let (a, b, row, col) = (outline(&[16, k])?, outline(&[n, 16])?, outline(&[n])?, outline(&[k])?);
    let kind = match bora {
        false => adapter::Kind::Dora { a: &a, b: &b, magnitude: &row },
        true => adapter::Kind::Bora { a: &a, b: &b, row: &row, col: &col, order: adapter::Order::default() },
    };
    Asked::of(&AdapterMerge::new(&Weight::outline(w, n)?, kind, 2.0, &Tensor::outline([n, k], y)?))
}

/// DoRA of rank 16 on such a weight, into one in this format.
pub fn merge_into(w: &Packed<'_>, n: usize, into: &str) -> Result<Asked> {
    let k = w.k();
    let outline = |dims: &[usize]| Tensor::outline(dims, Elem::F16);
    let (a, b, magnitude) = (outline(&[16, k])?, outline(&[n, 16])?, outline(&[n])?);
    let kind = adapter::Kind::Dora { a: &a, b: &b, magnitude: &magnitude };
    let y = Weight::outline(&weight(into, Elem::F32, k), n)?;
    Asked::of(&AdapterMerge::new(&Weight::outline(w, n)?, kind, 2.0, &y))
}

/// A few rows of k columns in the format of `dequantize/{name}` of the case table; dense numbers in this storage.
pub fn weight(name: &str, dense: Elem, k: usize) -> Packed<'static> {
    let wanted = format!("dequantize/{name}");
    let case = cases::all().into_iter().find(|c| c.name == wanted).unwrap_or_else(|| panic!("there is no {wanted}"));
    few(&case, dense, k)
}

/// Few rows of k columns in the format of a case, as many as its format wants together.
fn few(case: &Case, dense: Elem, k: usize) -> Packed<'static> {
    let w = &case.weights[0];
    let rows = w.rows.min(64);
    let few = cases::WeightInput { shape: [rows, k], rows, fill: Fill::Constant(1.0), dense, ..w.clone() };
    few.packed(&case.name).unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

/// A tensor of zeros: its name, storage and shape.
type Zeros<'a> = (&'a str, Dtype, &'a [usize]);

/// The same weight with these tensors in the place of others, where the format allows it. All their numbers are 0.
fn with(w: &Packed<'static>, out: &[&str], tensors: &[Zeros<'_>]) -> Option<Packed<'static>> {
    let mut parts = w.parts().clone();
    parts.retain(|name, _| !out.contains(&name.as_str()));
    for (name, dtype, shape) in tensors {
        let bytes = vec![0u8; shape.iter().product::<usize>() * dtype.bytes()];
        parts.insert((*name).to_owned(), Part::new(*dtype, shape, bytes));
    }
    Packed::new(w.format(), w.n(), w.k(), parts).ok()
}

/// Every format of the case table in its own K and four times that, with floats of its tensors in every storage that it allows,
/// with the tensors that it may have, and with a side list; and those that have no rule for encoding.
fn weights() -> Vec<(String, Packed<'static>)> {
    let mut all = Vec::new();
    for case in cases::all().iter().filter(|c| c.op == "dequantize" && c.storages.len() == 1) {
        let name = &case.name["dequantize/".len()..];
        let k = case.weights[0].shape[1];
        all.push((name.to_owned(), few(case, Elem::F32, 4 * k)));
        let w = few(case, Elem::F32, k);
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let floats =
                w.parts().iter().filter(|(_, p)| matches!(p.dtype, Dtype::F32 | Dtype::F16) && p.dtype != dtype);
            let floats: Vec<_> = floats.map(|(name, p)| (name.as_str(), dtype, p.shape.as_slice())).collect();
            if !floats.is_empty() {
                all.extend(with(&w, &[], &floats).map(|w| (format!("{name} with {}", dtype.name()), w)));
            }
        }
        let shape = |name: &str| w.part(name).map_or(vec![0], |p| p.shape.clone());
        let blocks = shape("absmax")[0];
        let more: [(&[&str], &[Zeros<'_>]); 7] = [
            (
                &[],
                &[
                    ("sparse.row", Dtype::I32, &[2]),
                    ("sparse.col", Dtype::I32, &[2]),
                    ("sparse.value", Dtype::F32, &[2]),
                ],
            ),
            (&[], &[("g_idx", Dtype::I32, &[k])]),
            (&[], &[("weight_zero_point", Dtype::I8, &shape("weight_scale"))]),
            (&[], &[("table", Dtype::F32, &[w.n(), 16])]),
            (&[], &[("zeros", Dtype::F32, &shape("scales"))]),
            (&[], &[("zero_points", Dtype::F32, &shape("scales"))]),
            (
                &["absmax"],
                &[
                    ("absmax_u8", Dtype::U8, &[blocks]),
                    ("map", Dtype::F32, &[256]),
                    ("absmax2", Dtype::F32, &[blocks.div_ceil(256)]),
                    ("offset", Dtype::F32, &[1]),
                ],
            ),
        ];
        for (out, tensors) in more {
            all.extend(with(&w, out, tensors).map(|w| (format!("{name} with {}", tensors[0].0), w)));
        }
        all.push((name.to_owned(), w));
    }
    let bits = Attrs::default().with("bits", 4.0);
    let leanquant = Format::parse("leanquant", &bits).unwrap_or_else(|e| panic!("leanquant: {e}"));
    let codes = Part::new(Dtype::U8, &[4, 51], vec![0; 4 * 51]);
    let grid = Part::new(Dtype::F16, &[4, 16], vec![0; 4 * 16 * 2]);
    let parts = BTreeMap::from([("weight_codes".to_owned(), codes), ("quant_grid".to_owned(), grid)]);
    let leanquant = Packed::new(leanquant, 4, 102, parts).unwrap_or_else(|e| panic!("{e}"));
    all.push(("leanquant".to_owned(), leanquant));
    all
}

/// What is done to rows of a cache outside attention, in each of their formats.
fn kv() -> Vec<(String, Result<Asked>)> {
    let mut all = Vec::new();
    for format in KvFormat::ALL {
        for (width, y) in
            [(64, Elem::F32), (33, Elem::F32), (128, Elem::F16), (33, Elem::F16), (64, Elem::Bf16), (1, Elem::Bf16)]
        {
            let numbers = || {
                let rows = KvRows::outline(format, 6, width)?;
                Asked::of(&KvNumbers { rows: &rows, y: &Tensor::outline([6, width], y)? })
            };
            all.push((format!("numbers of {} by {width} in {}", format.name(), y.name()), numbers()));
        }
        let copy = || Asked::of(&KvCopy { rows: &KvRows::outline(format, 6, 64)?, from: 0, to: 4, count: 2 });
        all.push((format!("a copy of {}", format.name()), copy()));
    }
    for (counts, source) in [(false, None), (true, None), (false, Some(2)), (true, Some(2))] {
        let state = || {
            let (state, numbers) = (Tensor::outline([40], Elem::I32)?, Tensor::outline([3], Elem::I32)?);
            let counts = counts.then_some(&numbers);
            let (layers, elements, entries, gone) = ((1, 2), (0, 2), (20, &[1, 2, 3, 4, 5][..]), (25, 3));
            let (add, limit) = (1, 9);
            Asked::of(&KvState { state: &state, batch: 3, layers, elements, add, counts, limit, source, entries, gone })
        };
        all.push((format!("a state with counts {counts} from {source:?}"), state()));
    }
    // Little operands in every storage, as many as there are.
    for elem in FLOATS {
        let little = || {
            let (tokens, heads, d) = (5, 4, 64);
            let outline = |shape: &[usize]| Tensor::outline(shape, elem);
            let (qkv, y, head) =
                (outline(&[1, tokens, 3 * heads * d])?, outline(&[1, heads, tokens, d])?, outline(&[d])?);
            let all = outline(&[heads * d])?;
            let rows = KvRows::outline(KvFormat::F16, heads * 16, d)?;
            let norm = QkNorm {
                q_weight: Some(&head),
                k_weight: Some(&head),
                q_bias: Some(&head),
                k_bias: Some(&head),
                ..QkNorm::new(NormKind::Layer, 1e-6)
            };
            let (q_add, k_add, v_add) = (Some(&all), Some(&all), Some(&all));
            Asked::of(&Prologue {
                norm: Some(norm),
                q_add,
                k_add,
                v_add,
                ..Prologue::new(&qkv, (heads, heads), &y, &rows, &rows.clone())
            })
        };
        all.push((format!("seven little operands in {}", elem.name()), little()));
    }
    all
}

/// How many rows of x there are.
const ROWS: [usize; 8] = [1, 2, 4, 8, 9, 33, 128, 512];

/// Linear layers. All combinations would be millions, so that there are two samples, the same every time. Every weight of
/// [`weights`] meets one number of rows, which turns with the weights, and the next weight or none as its second; and of four formats
/// of any N and K every two factors take every two of their values together.
pub fn layers() -> Vec<Layer> {
    let all = weights();
    let mut layers = Vec::new();
    for (i, (name, w)) in all.iter().enumerate() {
        let n = 70usize.next_multiple_of(w.n());
        let layer = Layer::new(name, w.clone(), ROWS[i % ROWS.len()], n, FLOATS[i % 3]);
        // The second is of the same shape.
        let mut others = all.iter().cycle().skip(i + 1).take(all.len() - 1).map(|(_, up)| up);
        let up = others.find(|up| up.k() == w.k() && n.is_multiple_of(up.n())).filter(|_| i % 2 == 1).cloned();
        // The same on codes, with another number of rows.
        layers.push(Layer { x: Elem::I8, m: ROWS[(i + 3) % ROWS.len()], up: up.clone(), ..layer.clone() });
        layers.push(Layer { up, ..layer });
    }
    let some = |i: usize| i.checked_sub(1).map(|i| FLOATS[i]);
    let formats = ["dense", "int8", "nf4", "onnx4"];
    let (ks, ns) = ([1, 101, 132, 96], [1, 37, 66, 128]);
    let made = formats.map(|name| ks.map(|k| (name, weight(name, Elem::F16, k))));
    let levels = [4, 4, 4, ROWS.len(), 3, 4, 3, 4, 4, 2, 5, 3];
    for at in pairs(&levels) {
        let (name, w) = &made[at[0]][at[1]];
        let up = [None, Some(w), Some(&made[(at[0] + 1) % 4][at[1]].1)][at[4]].cloned();
        layers.push(Layer {
            up,
            y: FLOATS[at[6]],
            bias: some(at[7]),
            residual: some(at[8]),
            row_scale: at[9] == 1,
            activation: Activation::ALL[at[10]],
            start: [0, 4, 1][at[11]],
            ..Layer::new(*name, w.clone(), ROWS[at[3]], ns[at[2]], [Elem::F32, Elem::F16, Elem::Bf16, Elem::I8][at[5]])
        });
    }
    // Longer than what one lane should walk alone.
    let long = weight("dense", Elem::F32, 65_536);
    for (m, n) in [(1, 8), (9, 8), (40, 8), (128, 14_336)] {
        layers.push(Layer::new("dense", long.clone(), m, n, Elem::F32));
    }
    layers
}

/// Devices of every sort that we know, by name.
pub fn devices() -> Vec<(&'static str, Caps)> {
    let subgroups = |min, max| Some(Subgroups { min, max });
    let lavapipe =
        Caps { subgroups: subgroups(8, 8), f16: true, int8_products: true, kind: DeviceKind::Cpu, ..Caps::baseline() };
    // A browser gives the limits that one asks for, and ours are the defaults.
    let web = Caps { target: Target::Web, ..Caps::baseline() };
    vec![
        ("baseline", Caps::baseline()),
        ("apple_m", Caps::apple_m()),
        ("nvidia", Caps::nvidia()),
        ("adreno", Caps::adreno()),
        ("intel", Caps::intel()),
        ("lavapipe, new", Caps { matrix: Caps::apple_m().matrix, workgroup_bytes: 32 << 10, ..lavapipe.clone() }),
        ("lavapipe", Caps { invocations: 1024, storage_buffers: 64, ..lavapipe.clone() }),
        ("swiftshader", Caps { subgroups: subgroups(4, 4), f16: false, storage_buffers: 10, ..lavapipe }),
        ("chrome", Caps { f16: true, int8_products: true, subgroups: subgroups(32, 32), ..web.clone() }),
        ("firefox", web),
    ]
}
