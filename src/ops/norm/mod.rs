//! The norm family.
//!
//! | op | formula, over a row of `D` numbers |
//! |---|---|
//! | [`LayerNorm`] | `(x − mean) / sqrt(var + eps) · weight + bias` |
//! | [`RmsNorm`] | `x / sqrt(mean(x²) + eps) · (weight + offset) + bias` |
//! | [`CrmsNorm`] | RMS norm of a zero-mean row whose last number is not stored |
//! | [`L2Norm`] | `x / max(‖x‖₂, eps)`, along any axis |
//! | [`PowerNorm`] | RMS norm by groups of channels, then stored second moments |
//! | [`GroupNorm`] | layer norm by groups of channels; instance norm with as many groups as channels |
//! | [`BatchChannelNorm`] | batch norm with stored statistics, then group norm |
//! | [`UnifiedNorm`], [`BatchNorm`], [`Scaler`] | elementwise, with stored statistics or none |
//! | [`HypersphericalStep`] | `l2n(x + alpha ⊙ (l2n(h) − x))` |
//!
//! In the same dispatch, in any combination: add a residual first and also write the sum, or (RMS) add it to what comes out; write in another storage
//! type, write int8 codes with a scale for each row. Statistics are f32 and stable: a row of mean 1e4 and deviation 1e-2
//! comes out right, and a NaN stays in its row.
//!
//! All of them but the last lower to one [`NormProblem`], so that they share their kernels (`shaders/norm/`).

use crate::caps::{Caps, DeviceKind};
use crate::error::{Error, Result, shape_error};
use crate::ops::counted;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once, words_first};
use crate::ops::{Operand, Problem};
use crate::plan::{Access, Const, Groups, Plan, Step};
use crate::shape::Shape;
use crate::tensor::{Elem, Layout, Tensor, want_float};

mod crms;
mod group;
mod hypersphere;
mod l2;
mod layer;
mod power;
mod rms;
mod stored;

pub use crms::CrmsNorm;
pub use group::{BatchChannelNorm, GroupNorm};
pub use hypersphere::{HypersphereParams, HypersphereProblem, HypersphericalStep};
pub use l2::L2Norm;
pub use layer::LayerNorm;
pub use power::PowerNorm;
pub use rms::RmsNorm;
pub use stored::{BatchNorm, Scaler, UnifiedNorm};

/// The longest row that a workgroup keeps in its registers: 256 lanes × 8 vec4s.
pub const REGISTER_ROW: u64 = 8192;

/// The turns that lavapipe has for all loops of a shader together.
const LOOP_TURNS: u64 = 65_535;

/// The longest row of the naive kernel, which walks it up to five times: lavapipe ends a shader, without a word, after 65,535 turns of its
/// loops.
pub const NAIVE_ROW: u64 = 10_000;

/// Codes: a row's largest magnitude is taken to be at least this, so that a row of zeros has a scale.
pub const CODE_FLOOR: f32 = 1e-5;

// The places of the operands among `Op::operands`.
const X: usize = 0;
const RESIDUAL: usize = 1;
const WEIGHT: usize = 2;
const BIAS: usize = 3;
const Y: usize = 4;
const SUM: usize = 5;
const STATS: usize = 6;
const SCALE: usize = 7;
const PHI: usize = 8;
const MEAN: usize = 9;
const ROWS: usize = 10;
const GRIDS: usize = 11;
const PRE: usize = 12;

params! {
    /// The params of the kernels under `shaders/norm/` that import `lib/norm.wgsl`, where each is explained.
    NormParams {
        /// The grid's x.
        fold: u32,
        /// Rows of this dispatch.
        rows: u32,
        /// The first of them in the tensor, modulo `period`.
        row0: u32,
        /// Numbers in a row.
        len: u32,
        /// Of which the first make the statistics.
        stat_len: u32,
        /// Distance of neighbours.
        inner: u32,
        /// Channels: `(row % period)·stride + i / run`.
        period: u32,
        /// See `period`.
        stride: u32,
        /// See `period`.
        run: u32,
        /// Slices of a row.
        slices: u32,
        /// First element of x.
        x0: u32,
        /// First element of the residual.
        residual0: u32,
        /// First element of the weight.
        weight0: u32,
        /// First element of the bias.
        bias0: u32,
        /// First element of phi.
        phi0: u32,
        /// First element of the stored mean.
        mean0: u32,
        /// First element of y.
        y0: u32,
        /// First element of the sum.
        sum0: u32,
        /// First element of the statistics.
        stats0: u32,
        /// First element of the scales.
        scale0: u32,
        /// `stat_len` as a number.
        count: f32,
        /// As in the op.
        eps: f32,
        /// Added to the weight.
        weight_offset: f32,
        /// Codes: [`CODE_FLOOR`]; elementwise: what is added last.
        floor: f32,
        /// First elements of the batch norm that comes before.
        pre0: [u32; 4],
        /// Its channels.
        pre_run: u32,
        /// Its eps.
        pre_eps: f32,
        /// Negative values become zero.
        relu: u32,
        /// First element of the list of rows.
        list0: u32,
        /// Rows of x, of which some are listed.
        x_rows: u32,
        /// 0, which no compiler knows.
        nothing: u32,
        /// Nothing.
        pad1: u32,
        /// Nothing.
        pad2: u32,
    }
}

/// What is computed of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stat {
    /// Mean and variance.
    Center,
    /// Root mean square, eps inside the root.
    Rms,
    /// Root mean square, eps outside.
    RmsOutside,
    /// Root mean square of a row that sums to zero with one number that is not stored.
    Crms,
    /// Euclidean norm.
    L2,
    /// Nothing: statistics are stored with the model.
    Stored,
}

impl Stat {
    fn filling(self) -> &'static str {
        match self {
            Self::Center => "slot/stat/center",
            Self::Rms => "slot/stat/rms",
            Self::RmsOutside => "slot/stat/rms_outside",
            Self::Crms => "slot/stat/crms",
            Self::L2 => "slot/stat/l2",
            Self::Stored => "slot/stat/stored",
        }
    }
}

/// Which channel feature `i` of a row belongs to: `(row % period)·stride + i / run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channels {
    /// Rows after which the channels begin again.
    pub period: u32,
    /// Channels from a row to the next.
    pub stride: u32,
    /// Neighbouring features of one channel.
    pub run: u32,
}

/// A norm with its numbers. Floats are kept as bits, so that problems can be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormProblem {
    op: &'static str,
    stat: Stat,
    rows: u64,
    /// Rows of x: more or fewer where they are listed.
    of: u64,
    len: u64,
    stat_len: u64,
    inner: u64,
    channels: Option<Channels>,
    eps: u32,
    weight_offset: u32,
    floor: u32,
    pre_eps: u32,
    pre_run: u32,
    cast_before_weight: bool,
    relu: bool,
    /// The residual is added last.
    after: bool,
    x: Layout,
    residual: Option<Layout>,
    weight: Option<Layout>,
    bias: Option<Layout>,
    phi: Option<Layout>,
    mean: Option<Layout>,
    y: Layout,
    sum: Option<Layout>,
    stats: Option<Layout>,
    scale: Option<Layout>,
    list: Option<Layout>,
    grids: Option<Layout>,
    pre: Option<[Layout; 4]>,
}

/// The operands of a norm, before they are checked.
#[derive(Clone, Copy)]
struct Operands<'a> {
    x: &'a Tensor,
    x_name: &'static str,
    y: &'a Tensor,
    residual: Option<&'a Tensor>,
    residual_name: &'static str,
    weight: Option<&'a Tensor>,
    bias: Option<&'a Tensor>,
    phi: Option<&'a Tensor>,
    phi_name: &'static str,
    mean: Option<&'a Tensor>,
    sum: Option<&'a Tensor>,
    stats: Option<&'a Tensor>,
    scale: Option<&'a Tensor>,
    list: Option<&'a Tensor>,
    grids: Option<&'a Tensor>,
    pre: Option<[&'a Tensor; 4]>,
}

impl<'a> Operands<'a> {
    fn new(x: &'a Tensor, y: &'a Tensor) -> Self {
        Self {
            x,
            x_name: "x",
            y,
            residual: None,
            residual_name: "residual",
            weight: None,
            bias: None,
            phi: None,
            phi_name: "phi",
            mean: None,
            sum: None,
            stats: None,
            scale: None,
            list: None,
            grids: None,
            pre: None,
        }
    }

    fn list(&self) -> Vec<Operand<'a>> {
        let mut list = vec![
            (self.x_name, Some(self.x)),
            (self.residual_name, self.residual),
            ("weight", self.weight),
            ("bias", self.bias),
            ("y", Some(self.y)),
            ("sum", self.sum),
            ("stats", self.stats),
            ("scale", self.scale),
            (self.phi_name, self.phi),
            ("mean", self.mean),
            ("rows", self.list),
            ("grids", self.grids),
        ];
        if let Some([mean, var, weight, bias]) = self.pre {
            list.extend([
                ("bn_mean", Some(mean)),
                ("bn_var", Some(var)),
                ("bn_weight", Some(weight)),
                ("bn_bias", Some(bias)),
            ]);
        }
        list
    }
}

/// How an op lowers: its rows, its statistics, its numbers.
#[derive(Clone, Copy)]
struct Lowering {
    op: &'static str,
    stat: Stat,
    rows: usize,
    len: usize,
    stat_len: usize,
    inner: usize,
    channels: Option<Channels>,
    /// What weight, bias, phi and stored mean must have the shape of, and how to say so.
    affine: (Shape, &'static str),
    eps: f32,
    weight_offset: f32,
    floor: f32,
    pre_eps: f32,
    pre_run: u32,
    cast_before_weight: bool,
    relu: bool,
    after: bool,
}

impl Lowering {
    /// A row of `len` features that are adjacent, with weights by feature.
    fn rows(op: &'static str, stat: Stat, rows: usize, len: usize, affine: (Shape, &'static str), eps: f32) -> Self {
        Self {
            op,
            stat,
            rows,
            len,
            stat_len: len,
            inner: 1,
            channels: None,
            affine,
            eps,
            weight_offset: 0.0,
            floor: CODE_FLOOR,
            pre_eps: 0.0,
            pre_run: 1,
            cast_before_weight: false,
            relu: false,
            after: false,
        }
    }

    /// Checks the operands and keeps their numbers.
    fn problem(&self, operands: &Operands<'_>) -> Result<NormProblem> {
        let op = self.op;
        let Operands {
            x,
            x_name,
            y,
            residual,
            weight,
            bias,
            phi,
            phi_name,
            mean,
            sum,
            stats,
            scale,
            list,
            grids,
            pre,
            ..
        } = *operands;
        number(op, "eps", self.eps, |e| e >= 0.0, "it must be a number of at least 0")?;
        number(op, "weight_offset", self.weight_offset, |_| true, "it must be a finite number")?;
        if self.len == 0 && self.stat != Stat::Stored {
            return Err(shape_error!(op, "{x_name} of shape {} has a normalised dimension of 0", x.shape()));
        }
        want_float(op, x_name, x)?;
        if let Some(residual) = residual {
            want_float(op, operands.residual_name, residual)?;
            same_shape(op, (operands.residual_name, residual), (x_name, x))?;
        }
        let (outputs, rows) = match list {
            None => (x.shape(), self.rows),
            Some(list) => (self.listed(list, stats)?, list.elements()),
        };
        for (name, tensor) in [("y", Some(y)), ("sum", sum)] {
            let Some(tensor) = tensor.filter(|t| t.shape() != outputs) else { continue };
            let whose = if list.is_some() { "listed rows have".to_owned() } else { format!("{x_name} has") };
            return Err(shape_error!(op, "{name} has shape {}, but {whose} {outputs}", tensor.shape()));
        }
        if let Some(sum) = sum {
            if (residual.is_none() || self.after) && list.is_none() {
                return Err(shape_error!(op, "sum is given, but there is no residual to add"));
            }
            if sum.elem() != x.elem() {
                return Err(Error::Storage { op, operand: "sum", have: sum.elem().name(), want: x.elem().name() });
            }
        }
        let (want, whose) = self.affine;
        for (name, tensor) in [("weight", weight), ("bias", bias), (phi_name, phi), ("mean", mean)] {
            let Some(tensor) = tensor else { continue };
            want_float(op, name, tensor)?;
            if tensor.shape() != want {
                return Err(shape_error!(op, "{name} has shape {}, but {whose} {want}", tensor.shape()));
            }
        }
        for (name, tensor) in pre.iter().flat_map(|p| ["bn_mean", "bn_var", "bn_weight", "bn_bias"].into_iter().zip(p))
        {
            let channels = x.shape().dims().get(1).copied().unwrap_or_default();
            if tensor.shape().dims() != [channels] {
                return Err(shape_error!(
                    op,
                    "{name} has shape {}, but {x_name} has {channels} channels",
                    tensor.shape()
                ));
            }
            want_f32(op, name, tensor)?;
        }
        if let Some(stats) = stats {
            want_f32(op, "stats", stats)?;
            if stats.elements() != rows * 2 || stats.shape().dims().last() != Some(&2) {
                return Err(shape_error!(
                    op,
                    "stats has shape {}, but there are {rows} rows of 2 numbers",
                    stats.shape()
                ));
            }
        }
        match scale {
            Some(scale) => {
                want_f32(op, "scale", scale)?;
                want_elem(op, "y", y, Elem::I8, "i8 where scale is given")?;
                if scale.elements() != rows {
                    return Err(shape_error!(op, "scale has shape {}, but there are {rows} rows", scale.shape()));
                }
            }
            None if !y.elem().is_float() => {
                let want = "f32, f16 or bf16 (or i8 with a scale)";
                return Err(Error::Storage { op, operand: "y", have: y.elem().name(), want });
            }
            None => {}
        }
        let layout = |t: Option<&Tensor>| t.map(Tensor::layout);
        Ok(NormProblem {
            op,
            stat: self.stat,
            rows: rows as u64,
            of: self.rows as u64,
            len: self.len as u64,
            stat_len: self.stat_len as u64,
            inner: self.inner as u64,
            channels: self.channels,
            // Norms are compared with it by their bits, to which −0 were the largest.
            eps: self.eps.abs().to_bits(),
            weight_offset: if weight.is_some() { self.weight_offset.to_bits() } else { 0 },
            floor: self.floor.to_bits(),
            pre_eps: self.pre_eps.to_bits(),
            pre_run: self.pre_run,
            cast_before_weight: self.cast_before_weight,
            relu: self.relu,
            after: self.after,
            x: x.layout(),
            residual: layout(residual),
            weight: layout(weight),
            bias: layout(bias),
            phi: layout(phi),
            mean: layout(mean),
            y: y.layout(),
            sum: layout(sum),
            stats: layout(stats),
            scale: layout(scale),
            list: layout(list),
            grids: counted::check(op, grids)?,
            pre: pre.map(|p| p.map(Tensor::layout)),
        })
    }
}

impl Lowering {
    /// The shape of the outputs where rows are listed: that of the list, and a row.
    fn listed(&self, list: &Tensor, stats: Option<&Tensor>) -> Result<Shape> {
        let op = self.op;
        want_elem(op, "rows", list, Elem::U32, "u32")?;
        if self.rows == 0 && list.elements() > 0 {
            return Err(shape_error!(op, "rows are listed, but there are none"));
        }
        if stats.is_some() {
            return Err(shape_error!(op, "stats cannot be had of listed rows"));
        }
        Shape::new(&[list.shape().dims(), self.affine.0.dims()].concat())
    }
}

pub(super) fn same_shape(op: &'static str, a: (&'static str, &Tensor), b: (&'static str, &Tensor)) -> Result<()> {
    if a.1.shape() == b.1.shape() {
        return Ok(());
    }
    Err(shape_error!(op, "{} has shape {}, but {} has {}", a.0, a.1.shape(), b.0, b.1.shape()))
}

fn want_f32(op: &'static str, operand: &'static str, tensor: &Tensor) -> Result<()> {
    want_elem(op, operand, tensor, Elem::F32, "f32")
}

/// The tensor is stored like this; `want` says so, and when.
pub(crate) fn want_elem(
    op: &'static str,
    operand: &'static str,
    tensor: &Tensor,
    elem: Elem,
    want: &'static str,
) -> Result<()> {
    if tensor.elem() == elem {
        return Ok(());
    }
    Err(Error::Storage { op, operand, have: tensor.elem().name(), want })
}

pub(crate) fn number(
    op: &'static str,
    name: &'static str,
    v: f32,
    ok: fn(f32) -> bool,
    rule: &'static str,
) -> Result<()> {
    if v.is_finite() && ok(v) {
        return Ok(());
    }
    Err(Error::Value { op, name, value: v.to_string(), rule })
}

/// Rows, their length and the shape of their weights, where everything from `axis` to the last dimension is a row.
fn from_axis(op: &'static str, x: &Tensor, axis: i32) -> Result<(usize, usize, (Shape, &'static str))> {
    let shape = x.shape();
    let axis = shape.axis(op, axis)?;
    let (rows, len) = shape.split_at(axis);
    Ok((rows, len, (Shape::new(&shape.dims()[axis..])?, "the normalised dimensions have")))
}

/// As [`from_axis`] of the last dimension, for an op that has no choice of one.
fn from_last(op: &'static str, name: &str, x: &Tensor) -> Result<(usize, usize, (Shape, &'static str))> {
    let (rows, len) = x.shape().rows(op, name)?;
    Ok((rows, len, (Shape::new(&[len])?, "the normalised dimensions have")))
}

/// `groups` divides the channels of `x`: the channels, and the elements of each.
fn grouped(op: &'static str, channels: usize, groups: usize) -> Result<usize> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(Error::Value {
            op,
            name: "groups",
            value: format!("{groups} for {channels} channels"),
            rule: "it must divide the number of channels",
        });
    }
    Ok(channels / groups)
}

/// Which lanes work on which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub lanes: u32,
    pub rows: u32,
    pub chunks: u32,
}

impl Tile {
    /// The tile for rows that fit registers. Few rows take all lanes that they can use, for the shortest wait; many rows take
    /// as few lanes as give each up to four loads of 16 bytes in flight, so that reductions stay inside subgroups.
    pub fn of(len: u64, rows: u64, caps: &Caps) -> Self {
        let most = 256.min(caps.invocations).max(1);
        let most = if most.is_power_of_two() { most } else { most.next_power_of_two() / 2 };
        let quads = len.div_ceil(4).max(1);
        let wanted = if rows < 64 { quads } else { quads.div_ceil(4) };
        let lanes = (wanted.next_power_of_two() as u32).clamp(1, most);
        let rows = (most / lanes).min(rows.next_power_of_two().min(256) as u32).max(1);
        let chunks = quads.div_ceil(u64::from(lanes)) as u32;
        Self { lanes, rows, chunks }
    }

    /// The tile for a processor, which keeps no chunks: 8 lanes fill its vectors, and no subgroup waits for another.
    /// Twice as many above 4,096 numbers, where the sum of one lane would have too many terms in a row.
    pub fn of_processor(len: u64, rows: u64) -> Self {
        let lanes = if len <= 4096 { 8 } else { 16 };
        Self { lanes, rows: rows.next_power_of_two().min(4) as u32, chunks: 0 }
    }

    pub fn set(self, step: &mut Builder) {
        step.set("LANES", Const::U32(self.lanes));
        step.set("ROWS", Const::U32(self.rows));
        if self.chunks > 0 {
            step.set("CHUNKS", Const::U32(self.chunks));
        }
    }
}

impl Problem for NormProblem {
    fn op(&self) -> &'static str {
        self.op
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        if self.rows * self.len == 0 {
            return Ok(vec![Plan::empty(self.op)]);
        }
        let mut plans = Vec::new();
        let elementwise = self.stat == Stat::Stored && self.scale.is_none();
        let one_read = !elementwise && self.inner == 1 && self.len <= REGISTER_ROW;
        // Asked through a pointer: compiled once.
        let plan = |name: String, why, means, step: &dyn Fn(Means, u64, u64) -> Result<Step>| -> Result<Plan> {
            Ok(self.plan_of(name, why, self.each(caps, means, step)?, Vec::new()))
        };
        let again = |tile: &dyn Fn(u64) -> Tile, why, means: Means| {
            plan(means.name("again"), why, means, &|m, r0, n| self.again(caps, m, tile(n), r0, n))
        };
        if let Some(means) = Means::of_processor(caps).filter(|_| one_read) {
            let why = "a processor: few lanes, and a second read from its cache";
            plans.push(again(&|rows| Tile::of_processor(self.len, rows), why, means)?);
        }
        for means in Means::all(caps, self.has_f16()) {
            let f16 = |name: &str| format!("{name}{}", means.f16());
            if elementwise {
                if means.subgroup.is_none() {
                    let why = "statistics are stored: one load and one store";
                    plans.push(plan(f16("elementwise"), why, means, &|m, r0, n| self.elementwise(caps, m, r0, n))?);
                }
            } else if self.inner > 1 {
                if means.subgroup.is_none() {
                    let why = "rows lie along an inner axis";
                    plans.push(plan(f16("axis"), why, means, &|m, r0, n| self.axis(caps, m, r0, n))?);
                }
            } else if one_read {
                let why = "a row fits a workgroup's registers: one read";
                plans.push(plan(means.name("row"), why, means, &|m, r0, n| self.row(caps, m, r0, n))?);
            } else {
                let (steps, scratch) = self.split(caps, means)?;
                let binds = steps.iter().map(|s| s.binds.len() as u32).max().unwrap_or(0);
                if binds <= caps.storage_buffers {
                    let why = "rows too long for registers: slices";
                    plans.push(self.plan_of(means.name("split"), why, steps, scratch));
                }
                // A batch norm with weight and bias: one binding more than the baseline has.
                if binds > Caps::baseline().storage_buffers && means == Means::BASELINE {
                    let tile = |rows| Tile { chunks: 0, ..Tile::of(self.len, rows, caps) };
                    plans.push(again(
                        &tile,
                        "rows too long for registers are read again; slices need more bindings",
                        means,
                    )?);
                }
            }
        }
        if !elementwise && self.len <= NAIVE_ROW {
            let why = "one invocation a row, by the formula";
            plans.push(plan("naive".into(), why, Means::BASELINE, &|m, r0, n| self.naive(caps, m, r0, n))?);
        }
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

impl NormProblem {
    fn plan_of(&self, name: String, why: &'static str, steps: Vec<Step>, scratch_bytes: Vec<u64>) -> Plan {
        let mut plan = Plan::new(self.op, name, why, steps, scratch_bytes);
        counted::count(&mut plan, GRIDS, self.grids);
        plan
    }

    /// A step whose workgroups have `tile` rows each, or a part of a row where there are slices.
    fn by_rows(step: Builder, params: &NormParams, grid: [u32; 3], row0: u64, tile: u64) -> Step {
        let [most, times] = [params.rows, params.slices].map(u64::from);
        let groups = Groups { first: row0, most, tile, times, each: 1 };
        Step { groups: Some(groups), ..step.step(params, grid) }
    }

    fn layouts(&self) -> impl Iterator<Item = Layout> {
        [Some(self.x), Some(self.y), self.residual, self.sum, self.weight, self.bias, self.phi, self.mean]
            .into_iter()
            .flatten()
    }

    fn has_f16(&self) -> bool {
        self.layouts().any(|l| l.elem == Elem::F16)
    }

    /// Every row of every operand begins at a multiple of four elements.
    fn quads(&self) -> bool {
        let even = |l: &Layout| (l.offset_bytes / l.elem.bytes() as u64).is_multiple_of(4);
        // Weights by channel are read one by one, whatever their alignment.
        let skip = if self.channels.is_some() { 4 } else { usize::MAX };
        let rows = [Some(self.x), Some(self.y), self.residual, self.sum];
        let affine = [self.weight, self.bias, self.phi, self.mean];
        self.inner == 1
            && self.len.is_multiple_of(4)
            && rows.into_iter().chain(affine).take(skip).flatten().all(|l| even(&l))
    }

    fn rows_at_once(&self, caps: &Caps) -> Result<u64> {
        let widest = self.layouts().map(|l| l.elem.bytes()).max().unwrap_or(4) as u64;
        // Of the shortest rows, the statistics and scales are the longest binding.
        let (stats, scale) = (self.stats.map_or(0, |_| 8), self.scale.map_or(0, |_| 4));
        if self.list.is_some() {
            // Listed rows may be anywhere in what is read.
            for read in [Some(self.x), self.residual].into_iter().flatten() {
                rows_at_once(self.op, caps, 1, 1, self.of * self.len * read.elem.bytes() as u64)?;
            }
        }
        rows_at_once(self.op, caps, self.rows, self.inner, (self.len * widest).max(stats).max(scale))
    }

    /// A step for each part of the rows that fits a binding.
    fn each(&self, caps: &Caps, means: Means, step: &dyn Fn(Means, u64, u64) -> Result<Step>) -> Result<Vec<Step>> {
        let most = self.rows_at_once(caps)?;
        (0..self.rows.div_ceil(most)).map(|i| step(means, i * most, most.min(self.rows - i * most))).collect()
    }

    fn params(&self, row0: u64, rows: u64) -> NormParams {
        let channels = self.channels.unwrap_or(Channels { period: 1, stride: 0, run: 1 });
        NormParams {
            rows: rows as u32,
            row0: (row0 % u64::from(channels.period)) as u32,
            len: self.len as u32,
            stat_len: self.stat_len as u32,
            inner: self.inner as u32,
            period: channels.period,
            stride: channels.stride,
            run: channels.run,
            slices: 1,
            count: self.stat_len as f32,
            eps: f32::from_bits(self.eps),
            weight_offset: f32::from_bits(self.weight_offset),
            floor: f32::from_bits(self.floor),
            pre_run: self.pre_run,
            pre_eps: f32::from_bits(self.pre_eps),
            relu: u32::from(self.relu),
            x_rows: self.of as u32,
            ..Default::default()
        }
    }

    fn grid(&self, caps: &Caps, groups: u64) -> Result<[u32; 3]> {
        grid(self.op, caps, groups)
    }

    fn consts(&self, step: &mut Builder) {
        step.set("RESIDUAL", Const::Bool(self.residual.is_some() && !self.after));
        step.set("AFTER", Const::Bool(self.after));
        step.set("CAST_BEFORE_WEIGHT", Const::Bool(self.cast_before_weight));
        step.set("CHANNELS", Const::Bool(self.channels.is_some()));
        step.set("CHANNEL_QUADS", Const::Bool(self.channels.is_some_and(|c| c.run.is_multiple_of(4))));
        step.set("PHI", Const::Bool(self.phi.is_some()));
        step.set("STRIDED", Const::Bool(self.inner > 1));
    }

    fn rows_of(&self, operand: usize, layout: Layout, row0: u64, rows: u64) -> Part {
        Part { operand, layout, start: row0 * self.len, elements: rows * self.len }
    }

    /// Fills x, the residual, what comes before the norm, and the sum where it is written.
    fn value(&self, step: &mut Builder, params: &mut NormParams, row0: u64, rows: u64, write_sum: bool) {
        let read = |operand, layout| match self.list {
            None => self.rows_of(operand, layout, row0, rows),
            Some(_) => Part::whole(operand, layout),
        };
        params.x0 = step.read("x", 1, Some(read(X, self.x)), "slot/read/zero");
        let residual = self.residual.map(|l| read(RESIDUAL, l));
        params.residual0 = step.read("residual", 2, residual, "slot/read/zero");
        match self.list {
            None => step.fill("rows", "slot/rows/all"),
            Some(layout) => {
                step.fill("rows", "slot/rows/listed");
                params.list0 = step.bind(16, Part { operand: ROWS, layout, start: row0, elements: rows }, Access::Read);
            }
        }
        let sum = self.sum.filter(|_| write_sum).map(|l| self.rows_of(SUM, l, row0, rows));
        params.sum0 = step.write("sum", 7, sum);
        match self.pre {
            None => step.fill("pre", "slot/pre/none"),
            Some(layouts) => {
                step.fill("pre", "slot/pre/batch_norm");
                for (i, layout) in layouts.into_iter().enumerate() {
                    params.pre0[i] = step.bind(10 + i as u32, Part::whole(PRE + i, layout), Access::Read);
                }
            }
        }
    }

    fn affine(&self, step: &mut Builder, params: &mut NormParams, loads: Loads) {
        let loads = Loads { quads: loads.quads && self.channels.is_none(), ..loads };
        let whole = |i: usize, l: Option<Layout>| l.map(|l| Part::whole(i, l));
        params.weight0 = step.read_as("weight", 3, whole(WEIGHT, self.weight), "slot/read/one", loads);
        params.bias0 = step.read_as("bias", 4, whole(BIAS, self.bias), "slot/read/zero", loads);
        params.phi0 = step.read_as("phi", 5, whole(PHI, self.phi), "slot/read/zero", loads);
    }

    fn no_affine(step: &mut Builder) {
        step.fill("weight", "slot/read/one");
        step.fill("bias", "slot/read/zero");
        step.fill("phi", "slot/read/zero");
    }

    fn no_value(step: &mut Builder) {
        step.fill("x", "slot/read/zero");
        step.fill("residual", "slot/read/zero");
        step.fill("sum", "slot/write/none");
        step.fill("pre", "slot/pre/none");
        step.fill("rows", "slot/rows/all");
    }

    fn output(&self, step: &mut Builder, params: &mut NormParams, row0: u64, rows: u64) {
        params.y0 = step.write("y", 6, Some(self.rows_of(Y, self.y, row0, rows)));
    }

    fn stats(&self, step: &mut Builder, params: &mut NormParams, row0: u64, rows: u64) {
        match self.stats {
            None => step.fill("stats", "slot/stats/none"),
            Some(layout) => {
                step.fill("stats", "slot/stats/rows");
                let part = Part { operand: STATS, layout, start: row0 * 2, elements: rows * 2 };
                params.stats0 = step.bind(8, part, Access::Write);
            }
        }
    }

    fn codes(&self, step: &mut Builder, params: &mut NormParams, row0: u64, rows: u64) {
        match self.scale {
            None => step.fill("codes", "slot/codes/none"),
            Some(layout) => {
                step.fill("codes", "slot/codes/rows");
                params.scale0 =
                    step.bind(9, Part { operand: SCALE, layout, start: row0, elements: rows }, Access::Write);
            }
        }
    }

    fn loads(&self, means: Means) -> Loads {
        Loads { quads: self.quads(), native_f16: means.native_f16 }
    }

    fn row(&self, caps: &Caps, means: Means, row0: u64, rows: u64) -> Result<Step> {
        self.whole_rows(caps, means, "norm/row", Tile::of(self.len, rows, caps), row0, rows)
    }

    fn again(&self, caps: &Caps, means: Means, tile: Tile, row0: u64, rows: u64) -> Result<Step> {
        self.whole_rows(caps, means, "norm/row_again", tile, row0, rows)
    }

    fn whole_rows(
        &self,
        caps: &Caps,
        means: Means,
        kernel: &'static str,
        tile: Tile,
        row0: u64,
        rows: u64,
    ) -> Result<Step> {
        let loads = self.loads(means);
        let mut params = self.params(row0, rows);
        let mut step = Builder::new(kernel, loads);
        self.consts(&mut step);
        tile.set(&mut step);
        self.value(&mut step, &mut params, row0, rows, true);
        self.affine(&mut step, &mut params, loads);
        self.output(&mut step, &mut params, row0, rows);
        step.fill("stat", self.stat.filling());
        means.reduce(&mut step);
        self.stats(&mut step, &mut params, row0, rows);
        self.codes(&mut step, &mut params, row0, rows);
        let grid = self.grid(caps, rows.div_ceil(u64::from(tile.rows)))?;
        params.fold = grid[0];
        Ok(Self::by_rows(step, &params, grid, row0, tile.rows.into()))
    }

    fn naive(&self, caps: &Caps, means: Means, row0: u64, rows: u64) -> Result<Step> {
        let loads = Loads { quads: false, native_f16: means.native_f16 };
        let mut params = self.params(row0, rows);
        let mut step = Builder::new("norm/naive", loads);
        self.consts(&mut step);
        self.value(&mut step, &mut params, row0, rows, true);
        self.affine(&mut step, &mut params, loads);
        self.output(&mut step, &mut params, row0, rows);
        step.fill("stat", self.stat.filling());
        self.stats(&mut step, &mut params, row0, rows);
        self.codes(&mut step, &mut params, row0, rows);
        let grid = self.grid(caps, rows.div_ceil(64))?;
        params.fold = grid[0];
        Ok(Self::by_rows(step, &params, grid, row0, 64))
    }

    fn axis(&self, caps: &Caps, means: Means, row0: u64, rows: u64) -> Result<Step> {
        let loads = Loads { quads: false, native_f16: means.native_f16 };
        let mut params = self.params(row0, rows);
        let mut step = Builder::new("norm/axis", loads);
        self.consts(&mut step);
        self.value(&mut step, &mut params, row0, rows, true);
        self.affine(&mut step, &mut params, loads);
        self.output(&mut step, &mut params, row0, rows);
        step.fill("stat", self.stat.filling());
        self.codes(&mut step, &mut params, row0, rows);
        let columns = rows.next_power_of_two().min(32);
        let need = self.axis_turns(columns);
        if caps.kind == DeviceKind::Cpu && need > LOOP_TURNS {
            return Err(Error::Limit { op: self.op, limit: "loop turns of a software device", need, have: LOOP_TURNS });
        }
        step.set("COLUMNS", Const::U32(columns as u32));
        let grid = self.grid(caps, rows.div_ceil(columns))?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }

    /// The turns that all loops of `norm/axis` take together.
    fn axis_turns(&self, columns: u64) -> u64 {
        let (depth, walks) = (256 / columns, if self.scale.is_some() { 3 } else { 2 });
        walks * self.len.div_ceil(8 * depth) + 2 * depth
    }

    fn elementwise(&self, caps: &Caps, means: Means, row0: u64, rows: u64) -> Result<Step> {
        let loads = self.loads(means);
        let mut params = self.params(row0, rows);
        let mut step = Builder::new("norm/elementwise", loads);
        self.consts(&mut step);
        self.value(&mut step, &mut params, row0, rows, true);
        self.affine(&mut step, &mut params, loads);
        let mean_loads = Loads { quads: loads.quads && self.channels.is_none(), ..loads };
        let mean = self.mean.map(|l| Part::whole(MEAN, l));
        params.mean0 = step.read_as("mean", 14, mean, "slot/read/zero", mean_loads);
        self.output(&mut step, &mut params, row0, rows);
        let grid = self.grid(caps, (rows * self.len.div_ceil(4)).div_ceil(256))?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }

    /// Slices of rows: statistics, merge, the largest magnitude where codes are written, apply.
    fn split(&self, caps: &Caps, means: Means) -> Result<(Vec<Step>, Vec<u64>)> {
        let loads = self.loads(means);
        let most = self.rows_at_once(caps)?;
        // Longer slices mean fewer partial results; but some hundred workgroups are needed to fill a device.
        let slices_of = |chunks: u64| self.len.div_ceil(1024 * chunks);
        let chunks = [8, 4, 2].into_iter().find(|c| most * slices_of(*c) >= 256).unwrap_or(1);
        let (slice, slices) = (1024 * chunks, slices_of(chunks));
        let scratch = vec![most * slices * 16, most * 16];
        let mut steps = Vec::new();
        for row0 in (0..self.rows).step_by(most as usize) {
            let rows = most.min(self.rows - row0);
            let (slices_bytes, merged_bytes) = (rows * slices * 16, rows * 16);
            let base = NormParams { slices: slices as u32, ..self.params(row0, rows) };
            let sliced = self.grid(caps, rows * slices)?;
            let tile = |step: &mut Builder| {
                self.consts(step);
                step.set("CHUNKS", Const::U32(chunks as u32));
            };

            let mut params = NormParams { fold: sliced[0], ..base };
            let mut step = Builder::new("norm/split_stats", loads);
            tile(&mut step);
            self.value(&mut step, &mut params, row0, rows, true);
            Self::no_affine(&mut step);
            step.fill("y", "slot/write/none");
            step.fill("stat", self.stat.filling());
            means.reduce(&mut step);
            step.scratch(14, 0, slices_bytes, Access::Write);
            steps.push(Self::by_rows(step, &params, sliced, row0, 1));

            let by_row = self.grid(caps, rows)?;
            let mut params = NormParams { fold: by_row[0], ..base };
            let mut step = Builder::new("norm/split_merge", loads);
            step.set("SLICE", Const::U32(slice as u32));
            Self::no_value(&mut step);
            Self::no_affine(&mut step);
            step.fill("y", "slot/write/none");
            step.fill("stat", self.stat.filling());
            means.reduce(&mut step);
            self.stats(&mut step, &mut params, row0, rows);
            step.scratch(14, 0, slices_bytes, Access::Read);
            step.scratch(15, 1, merged_bytes, Access::Write);
            let groups = Groups { first: row0, most: rows, tile: 1, times: 1, each: 1 };
            steps.push(Step { groups: Some(groups), ..step.step(&params, by_row) });

            if self.scale.is_some() {
                let mut params = NormParams { fold: sliced[0], ..base };
                let mut step = Builder::new("norm/split_max", loads);
                tile(&mut step);
                self.value(&mut step, &mut params, row0, rows, false);
                self.affine(&mut step, &mut params, loads);
                step.fill("y", "slot/write/none");
                means.reduce(&mut step);
                step.scratch(15, 1, merged_bytes, Access::Write);
                steps.push(Self::by_rows(step, &params, sliced, row0, 1));
            }

            let mut params = NormParams { fold: sliced[0], ..base };
            let mut step = Builder::new("norm/split_apply", loads);
            tile(&mut step);
            self.value(&mut step, &mut params, row0, rows, false);
            self.affine(&mut step, &mut params, loads);
            self.output(&mut step, &mut params, row0, rows);
            self.codes(&mut step, &mut params, row0, rows);
            step.scratch(15, 1, merged_bytes, Access::Read);
            steps.push(Self::by_rows(step, &params, sliced, row0, 1));
        }
        Ok((steps, scratch))
    }
}
