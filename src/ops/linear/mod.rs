//! Linear layers on weights in any format.
//!
//! | op | formula |
//! |---|---|
//! | [`Linear`] | `y = residual + row_scale ⊙ activation(x·wᵀ + bias)`, or `… ⊙ (x·upᵀ)` with a second matrix |
//! | [`Dequantize`] | the numbers of a weight |
//! | [`Encode`] | the weight of numbers |
//!
//! Sums are f32, whatever the storage. A weight is decoded where it is multiplied, and its packed bytes are all that is read of it.
//!
//! Matrix units take f16. Where x and the weight are stored in 16 bits or less (f16, bf16 and int8 pass exactly, a weight's decoded numbers are
//! rounded by 2^-11 of themselves) and a device has such units, they are used for many rows; a power of two for each row keeps numbers in
//! the range of f16. Where x or a dense weight is f32 they are used by the plan's name only: `GRISTMILL_PLAN=linear=tiled_coop/64x64`, or
//! [`Recorder::run_plan`](crate::dispatch::Recorder::run_plan).

use std::sync::Arc;

use crate::adapters::{AdapterSet, Held, Magnitudes, PoolAt};
use crate::caps::{Caps, DeviceKind, MatrixUnits};
use crate::error::{Result, shape_error};
use crate::formats::laid::{Decode, Integers, Laid, Slot, WeightAt};
use crate::ops::counted;
use crate::ops::norm::want_elem;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Groups, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};
use crate::weight::Weight;

mod dequantize;
pub(crate) mod encode;
mod live;

pub use dequantize::{Dequantize, DequantizeParams, DequantizeProblem};
pub use encode::{Encode, EncodeParams, EncodeProblem, EncodeRuns};
pub use live::DownParams;

/// What is done to a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(v, 0)`.
    Relu,
    /// `v·Φ(v)`, Φ the normal distribution: the erf form.
    Gelu,
    /// `v/2·(1 + tanh(sqrt(2/π)·(v + 0.044715·v³)))`.
    GeluTanh,
    /// `v / (1 + exp(−v))`; also called swish.
    Silu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Relu, Self::Gelu, Self::GeluTanh, Self::Silu];

    /// As in `attrs.activation` of a golden case.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Silu => "silu",
        }
    }

    fn filling(self) -> &'static str {
        match self {
            Self::None => "slot/activation/none",
            Self::Relu => "slot/activation/relu",
            Self::Gelu => "slot/activation/gelu",
            Self::GeluTanh => "slot/activation/gelu_tanh",
            Self::Silu => "slot/activation/silu",
        }
    }
}

/// A linear layer: `y = residual + row_scale ⊙ activation(x·wᵀ + bias)`, with a second matrix
/// `y = residual + row_scale ⊙ activation(x·wᵀ + bias) ⊙ (x·upᵀ)`.
///
/// Where x is int8 codes it stands for `x_scale ⊙ x` in both products.
///
/// With live adapters the sums of row m are `rows ⊙ ((cols ⊙ x)·wᵀ + scale·((cols ⊙ x)·Aᵀ)·Bᵀ)` of the adapter `adapter_index[m]`, which may be
/// another one in each row; rows and cols are the factors of DoRA and BoRA, and 1 for others. The weight stays as it is, and is streamed
/// once. The R terms of each row are made by a dispatch before, or, for one row and ranks up to 64, by the first workgroups of the same. An
/// index that is negative, or not below the places of the set, is no adapter, and so is an empty place.
///
/// The weight may be in any format, the second in another. M, N and K need not be multiples of anything; where M is 0 nothing is done.
/// A NaN in a row of x makes NaN of that row of y and of no other.
///
/// ```
/// use gristmill::formats::{Format, Packed};
/// use gristmill::ops::linear::{Activation, Linear};
/// use gristmill::{Caps, Elem, Op as _, Problem as _, Tensor, Weight};
///
/// // In Llama's feed-forward layer: silu(x·gateᵀ) ⊙ (x·upᵀ) in one dispatch, of weights in 4 bits.
/// let sample = Packed::encode(Format::Q4_0, 4, 4096, &[0.5; 4 * 4096])?;
/// let (gate, up) = (Weight::outline(&sample, 14336)?, Weight::outline(&sample, 14336)?);
/// let (x, y) = (Tensor::outline([1, 4096], Elem::F16)?, Tensor::outline([1, 14336], Elem::F16)?);
/// let layer = Linear { up: Some(&up), activation: Activation::Silu, ..Linear::new(&x, &gate, &y) };
/// assert_eq!(layer.problem()?.plan(&Caps::baseline())?.steps.len(), 1);
/// # Ok::<(), gristmill::Error>(())
/// ```
///
/// Source: Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202, for the two-matrix form.
///
/// # Errors
/// A width of x that is not the weight's K, an operand of another shape or storage than is said at it, weights of different shapes. Adapters of
/// another shape than their weight, an index without them; magnitudes of columns beside a second matrix, which would ask for two x; more
/// operands than the device binds at a time, which is 8 where it has no more than it must: x, w, y and the terms, a set and a second matrix
/// with its set, and then bias, residual and scales.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// F32, f16 or bf16, `[…, K]`: M rows. Or int8 codes, where `x_scale` is given: as [`QuantizeRows`](crate::ops::quantize::QuantizeRows)
    /// and the norms write them.
    pub x: &'a Tensor,
    /// F32, M numbers: what each row of codes is multiplied with.
    pub x_scale: Option<&'a Tensor>,
    /// `[N,K]`.
    pub w: &'a Weight,
    /// The second matrix, `[N,K]`.
    pub up: Option<&'a Weight>,
    /// Any floating storage, `[N]`.
    pub bias: Option<&'a Tensor>,
    /// Any floating storage, `[…, N]` with M rows. Not y itself.
    pub residual: Option<&'a Tensor>,
    /// F32, M numbers: what each row is multiplied with, after the activation.
    pub row_scale: Option<&'a Tensor>,
    /// What is done to the sums.
    pub activation: Activation,
    /// Live adapters of w.
    pub adapters: Option<&'a AdapterSet>,
    /// Live adapters of the second matrix, by the same index.
    pub up_adapters: Option<&'a AdapterSet>,
    /// I32, M numbers: the adapter of each row. Where it is not given, all rows have the first.
    pub adapter_index: Option<&'a Tensor>,
    /// Any floating storage, `[…, N]` with M rows.
    pub y: &'a Tensor,
    /// How many of the rows there are, where only the device knows: what [`Select::grids`](crate::ops::depth::Select::grids)
    /// received. Those of y past them are left as they are, or are what comes of what is in x there.
    pub grids: Option<&'a Tensor>,
}

impl<'a> Linear<'a> {
    /// `y = x·wᵀ`.
    pub fn new(x: &'a Tensor, w: &'a Weight, y: &'a Tensor) -> Self {
        Self {
            x,
            x_scale: None,
            w,
            up: None,
            bias: None,
            residual: None,
            row_scale: None,
            activation: Activation::None,
            adapters: None,
            up_adapters: None,
            adapter_index: None,
            y,
            grids: None,
        }
    }
}

// The places of the operands; the parts of the weights follow.
const X: usize = 0;
const BIAS: usize = 1;
const RESIDUAL: usize = 2;
const ROW_SCALE: usize = 3;
const Y: usize = 4;
const X_SCALE: usize = 5;
const GRIDS: usize = 6;
const INDEX: usize = 7;
const POOL: usize = 8;
const UP_POOL: usize = 9;
const TRAY: usize = 10;
const W: usize = 11;

/// The most rows of x that the kernel for few rows takes.
pub const FEW_ROWS: u64 = 8;

/// The longest row of the naive kernel, in blocks of 32: lavapipe ends a shader, without a word, after 65,535 turns of its loops, of which
/// a block takes 80 where two weights have a loop over each number (sums of signs, scales in the order of the columns).
const NAIVE_BLOCKS: u64 = 800;

params! {
    /// The params of the kernels under `shaders/linear/` that import `lib/linear.wgsl`, where each is explained.
    LinearParams {
        /// The weight.
        w: WeightAt,
        /// The second weight.
        up: WeightAt,
        /// Adapters of the weight.
        live: PoolAt,
        /// And of the second.
        up_live: PoolAt,
        /// The grid's x.
        fold: u32,
        /// Rows of this dispatch.
        m: u32,
        /// Outputs of a row.
        n: u32,
        /// The first of this dispatch.
        n0: u32,
        /// One past the last.
        n1: u32,
        /// Inputs.
        k: u32,
        /// Slices of K.
        slices: u32,
        /// First element of x.
        x0: u32,
        /// First element of the bias.
        bias0: u32,
        /// First element of the residual.
        residual0: u32,
        /// First element of the scales.
        row_scale0: u32,
        /// First element of y.
        y0: u32,
        /// First element of the scales of codes.
        x_scale0: u32,
        /// First element of the index, where the dispatch makes terms itself.
        index0: u32,
        /// The workgroups that make them.
        makers: u32,
        /// Words of a half of the tray.
        room: u32,
        /// Adapters for which there is room.
        entries: u32,
        /// And of the second weight.
        up_entries: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
    }
}

/// A linear layer with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinearProblem {
    m: u64,
    n: u64,
    k: u64,
    x: Layout,
    x_scale: Option<Layout>,
    w: Arc<Laid>,
    up: Option<Arc<Laid>>,
    bias: Option<Layout>,
    residual: Option<Layout>,
    row_scale: Option<Layout>,
    activation: Activation,
    adapters: Option<Held>,
    up_adapters: Option<Held>,
    index: Option<Layout>,
    y: Layout,
    grids: Option<Layout>,
}

impl Op for Linear<'_> {
    type Problem = LinearProblem;

    fn problem(&self) -> Result<LinearProblem> {
        let op = "linear";
        let (n, k) = (self.w.n(), self.w.k());
        match self.x_scale {
            None => want_float(op, "x", self.x)?,
            Some(_) => want_elem(op, "x", self.x, Elem::I8, "i8 where x_scale is given")?,
        }
        want_float(op, "y", self.y)?;
        let m = rows(op, "x", self.x, k, "K")?;
        if let Some(up) = self.up {
            if (up.n(), up.k()) != (n, k) {
                return Err(shape_error!(op, "up is [{}, {}], but w is [{n}, {k}]", up.n(), up.k()));
            }
        }
        if let Some(bias) = self.bias {
            want_float(op, "bias", bias)?;
            if bias.shape().dims() != [n] {
                return Err(shape_error!(op, "bias has shape {}, but w has N = {n}", bias.shape()));
            }
        }
        for (name, tensor) in [("residual", self.residual), ("y", Some(self.y))] {
            let Some(tensor) = tensor else { continue };
            want_float(op, name, tensor)?;
            let have = rows(op, name, tensor, n, "N")?;
            if have != m {
                return Err(shape_error!(op, "{name} has {have} rows, but x has {m}"));
            }
        }
        for (operand, scale) in [("row_scale", self.row_scale), ("x_scale", self.x_scale)] {
            let Some(scale) = scale else { continue };
            want_elem(op, operand, scale, Elem::F32, "f32")?;
            if scale.elements() != m {
                return Err(shape_error!(op, "{operand} has shape {}, but x has {m} rows", scale.shape()));
            }
        }
        if self.up_adapters.is_some() && self.up.is_none() {
            return Err(shape_error!(op, "up_adapters are given, but no second matrix"));
        }
        for (name, set) in [("adapters", self.adapters), ("up_adapters", self.up_adapters)] {
            let Some(set) = set else { continue };
            let [rows, width] = set.shape();
            if (rows, width) != (n, k) {
                return Err(shape_error!(op, "{name} are for [{rows}, {width}], but w is [{n}, {k}]"));
            }
            if self.up.is_some() && set.room().magnitudes == Magnitudes::Both {
                return Err(shape_error!(
                    op,
                    "{name} have magnitudes of columns, so that each matrix wants an x of its own"
                ));
            }
        }
        if let Some(index) = self.adapter_index {
            want_elem(op, "adapter_index", index, Elem::I32, "i32")?;
            if self.adapters.is_none() && self.up_adapters.is_none() {
                return Err(shape_error!(op, "adapter_index is given, but no adapters"));
            }
            if index.elements() != m {
                return Err(shape_error!(op, "adapter_index has shape {}, but x has {m} rows", index.shape()));
            }
        }
        let layout = |t: Option<&Tensor>| t.map(Tensor::layout);
        Ok(LinearProblem {
            m: m as u64,
            n: n as u64,
            k: k as u64,
            x: self.x.layout(),
            x_scale: layout(self.x_scale),
            w: Arc::clone(self.w.laid()),
            up: self.up.map(|up| Arc::clone(up.laid())),
            bias: layout(self.bias),
            residual: layout(self.residual),
            row_scale: layout(self.row_scale),
            activation: self.activation,
            adapters: self.adapters.map(AdapterSet::held),
            up_adapters: self.up_adapters.map(AdapterSet::held),
            index: layout(self.adapter_index),
            y: self.y.layout(),
            grids: counted::check(op, self.grids)?,
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let mut list = vec![
            ("x", Some(self.x)),
            ("bias", self.bias),
            ("residual", self.residual),
            ("row_scale", self.row_scale),
            ("y", Some(self.y)),
            ("x_scale", self.x_scale),
            ("grids", self.grids),
            ("adapter_index", self.adapter_index),
            ("adapters", self.adapters.map(AdapterSet::pool)),
            ("up_adapters", self.up_adapters.map(AdapterSet::pool)),
            ("the tray of adapters", self.adapters.or(self.up_adapters).map(AdapterSet::tray)),
        ];
        list.extend(self.w.chunks().iter().map(|chunk| ("w", Some(chunk))));
        list.extend(self.up.iter().flat_map(|up| up.chunks()).map(|chunk| ("up", Some(chunk))));
        list
    }
}

/// The rows of a tensor whose last dimension must be this.
fn rows(op: &'static str, name: &'static str, tensor: &Tensor, width: usize, called: &str) -> Result<usize> {
    let dims = tensor.shape();
    let dims = dims.dims();
    match dims.split_last() {
        Some((last, rest)) if *last == width => Ok(rest.iter().product()),
        _ => Err(shape_error!(op, "{name} has shape {}, but w has {called} = {width}", tensor.shape())),
    }
}

/// A part of the outputs whose weights lie in one buffer each.
#[derive(Clone, Copy)]
struct Range {
    n0: u32,
    n1: u32,
    /// The part of the first weight, and of the second.
    w: usize,
    up: usize,
}

impl Range {
    fn outputs(&self) -> u64 {
        u64::from(self.n1 - self.n0)
    }
}

/// The steps that make the sums of a part of the work, and the bytes of those of slices.
struct Sums {
    steps: Vec<Step>,
    scratch_bytes: u64,
}

impl From<Step> for Sums {
    fn from(step: Step) -> Self {
        Self { steps: vec![step], scratch_bytes: 0 }
    }
}

/// A part of the work of a dispatch: rows of x.
#[derive(Clone, Copy)]
struct Rows {
    m0: u64,
    m: u64,
}

/// What a step does with its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// They are those of a slice of K: it stores them by themselves.
    Parts,
    /// It finishes them; terms of live adapters have been made before.
    Whole,
    /// It finishes them, and makes the terms itself.
    Here,
}

impl End {
    fn of(slices: u64) -> Self {
        if slices == 1 { Self::Whole } else { Self::Parts }
    }
}

/// A shape of `linear/tiled`.
struct Tile {
    name: &'static str,
    /// Rows of x.
    rows: u64,
    /// Rows of the weight.
    cols: u64,
    /// Rows of x of a lane.
    lane_rows: u64,
}

const TILES: [Tile; 4] = [
    Tile { name: "tiled/128x128", rows: 128, cols: 128, lane_rows: 8 },
    Tile { name: "tiled/64x64", rows: 64, cols: 64, lane_rows: 8 },
    Tile { name: "tiled/32x64", rows: 32, cols: 64, lane_rows: 4 },
    Tile { name: "tiled/16x64", rows: 16, cols: 64, lane_rows: 2 },
];

/// The shape of `linear/tiled_dot`.
const DOT_TILE: Tile = Tile { name: "tiled_dot/64x64", rows: 64, cols: 64, lane_rows: 4 };

/// A shape of `linear/tiled_coop`.
struct Matrices {
    name: &'static str,
    /// Rows of x.
    rows: u64,
    /// Rows of the weight.
    cols: u64,
    /// Rows of x of a subgroup.
    sub_rows: u64,
    /// Tiles that a multiprocessor has at a time.
    together: u64,
    /// What 32 inputs of so many tiles take by turns of 64, in hundredths of a microsecond of an NVIDIA H100.
    block_time: u64,
}

/// The largest first.
const MATRICES: [Matrices; 3] = [
    Matrices { name: "tiled_coop/128x128", rows: 128, cols: 128, sub_rows: 64, together: 1, block_time: 84 },
    Matrices { name: "tiled_coop/64x64", rows: 64, cols: 64, sub_rows: 32, together: 2, block_time: 60 },
    Matrices { name: "tiled_coop/32x64", rows: 32, cols: 64, sub_rows: 16, together: 2, block_time: 59 },
];

impl Matrices {
    /// The best number of slices of so many blocks of 32 inputs for so many tiles, no more than `most`, and about what all takes. A last round of few
    /// tiles takes as long as one of many, which slices make shorter; but their sums go through memory twice, and one dispatch more.
    fn slices(&self, depth: u64, tiles: u64, blocks: u64, most: u64) -> (u64, u64) {
        // That H100 took 1.6 times as long by turns of 32.
        let block_time = if depth < 64 { self.block_time * 8 / 5 } else { self.block_time };
        let time = |slices: u64| {
            let rounds = (tiles * slices).div_ceil(MULTIPROCESSORS * self.together);
            // 3 µs, and 8 bytes a sum at some 2.5 TB/s.
            let merge = if slices > 1 { 300 + slices * tiles * self.rows * self.cols / 3125 } else { 0 };
            let time = rounds * blocks.div_ceil(slices) * block_time + merge;
            // A tenth is within what this knows.
            (if slices > 1 { time * 11 / 10 } else { time }, slices)
        };
        let (time, slices) = (1..=most.clamp(1, SLICES_MOST)).map(time).min().unwrap_or_default();
        (slices, time)
    }

    /// Inputs of a turn: 64, or 32 where there is no workgroup memory for more.
    fn depth(&self, caps: &Caps, units: MatrixUnits) -> Option<u64> {
        let (size, subgroup) = (u64::from(units.size), u64::from(units.subgroup));
        let lanes = self.rows / self.sub_rows * (self.cols / 32) * subgroup;
        // A band of sums, powers, levels, and what the reduce filling has.
        let sums = self.rows / self.sub_rows * size * (self.cols / 2 + 4) * 4;
        let bytes = (self.rows + self.cols) * 8 + sums + 16 + LEVELS_BYTES + lanes / 8 * 28 + 32;
        // A row of an operand has 16 bytes more than its numbers.
        let room = u64::from(caps.workgroup_bytes).saturating_sub(bytes) / (self.rows + self.cols);
        let depth = if room >= 144 { 64 } else { 32 };
        let fits = room >= 80 && lanes <= u64::from(caps.invocations) && (self.rows * 8).is_multiple_of(lanes);
        fits.then_some(depth)
    }

    /// Rows of the weight, or of each of two.
    fn outputs(&self, gated: bool) -> u64 {
        if gated { self.cols / 2 } else { self.cols }
    }
}

/// Workgroups that fill a device: 4 of 64 lanes on each of 32 cores. Larger devices want more, and lose the less the more there are.
const FILLED: u64 = 128;

/// Workgroups of `linear/gemv` that fill a device, where slices of K can: an NVIDIA H100 took 57 µs for 8 rows of 4,096 inputs and outputs of 4 bits by 64 of
/// them, 37 by 128, 28 by 256, and the same by 512, all with what the sums of slices cost.
const FEW_FILLED: u64 = 256;

/// Words of the weight that a lane of `linear/gemv` has at most where it asks for them before it has x. Formats of more bits would take too many registers,
/// and have enough on their way as it is: f16 reached 96 % of an NVIDIA H100's copy bandwidth, 8 bits 85, 4 bits 67.
const FEW_EARLY: u64 = 48;

/// The same where, of one row of x, it asks for them while it works on as many: formats of up to 6 bits, of one matrix.
const FEW_AHEAD: u64 = 24;

/// Tiles that fill a device: each is of 128 lanes or more, which wait for each other, so that a core wants two.
const TILES_FILLED: u64 = 256;

/// Multiprocessors of a large GPU. Tiles by matrix units are few and long: what a device is busy for are whole rounds of them.
const MULTIPROCESSORS: u64 = 128;

/// Slices of K at most.
const SLICES_MOST: u64 = 16;

/// The most that the sums of slices may take.
const SLICES_BYTES: u64 = 64 << 20;

/// Workgroup memory of the levels of two weights.
const LEVELS_BYTES: u64 = 128;

impl Tile {
    /// Workgroup memory: both halves of a tile have 32 numbers to a row.
    fn bytes(&self) -> u64 {
        (self.rows + self.cols) * 128
    }

    fn fits(&self, caps: &Caps) -> bool {
        self.bytes() <= u64::from(caps.workgroup_bytes)
            && self.cols / 8 * (self.rows / self.lane_rows) <= u64::from(caps.invocations)
    }

    /// Rows of the weight, or of each of two.
    fn outputs(&self, gated: bool) -> u64 {
        if gated { self.cols / 2 } else { self.cols }
    }

    /// What an output costs by this shape, next to the others: workgroup memory is what the kernel waits for, of which a lane loads
    /// `lane_rows + 8` quads to multiply `lane_rows·8` of them, for rows that are there and for those that are not; decoding is six
    /// operations a weight, once a tile; and cores without a tile do nothing.
    fn cost(&self, m: u64, n: u64, gated: bool, cpu: bool) -> u64 {
        let outputs = self.outputs(gated);
        let down = m.div_ceil(self.rows);
        let (tiles, padded) = (down * n.div_ceil(outputs), down * self.rows);
        let loads = padded * 1000 * (self.lane_rows + 8) / (self.lane_rows * 8);
        let decoding = down * 1000 * 6 / 4;
        let idle = if cpu { 1 } else { FILLED.div_ceil(tiles).max(1) };
        // Of two that cost the same, the larger moves fewer bytes.
        (loads + decoding) * idle * 1024 - self.rows
    }
}

impl Problem for LinearProblem {
    fn op(&self) -> &'static str {
        "linear"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let mut plans = Vec::new();
        if self.m == 0 {
            plans.push(Plan::new("linear", "none", "there are no rows", Vec::new(), Vec::new()));
            return Ok(plans);
        }
        self.check_live(caps)?;
        let cpu = caps.kind == DeviceKind::Cpu;
        if let Some(rows) = self.products(caps) {
            plans.extend(self.few_rows(caps, Some(rows))?);
            let (steps, scratch) = self.each(caps, DOT_TILE.rows, &|range, part| {
                self.tiled(caps, Means::BASELINE, &DOT_TILE, Some(rows), range, part)
            })?;
            let why = "a tile of codes, by products of four at a time";
            plans.push(self.plan_of(DOT_TILE.name.into(), why, steps, scratch));
        }
        // Where there is a better way, software devices, which compile for longer than they compute, do without this one.
        if plans.is_empty() || !cpu {
            plans.extend(self.few_rows(caps, None)?);
        }
        let (matrices, at) = (self.matrices(caps)?, plans.len());
        plans.extend(self.tiles(caps)?);
        // The last runs everywhere.
        let at = if self.is_for_matrices() { at } else { plans.len() - 1 };
        plans.splice(at..at, matrices);
        if self.blocks() <= NAIVE_BLOCKS {
            let together = if cpu && self.m > 1 { 4 } else { 1 };
            let (steps, scratch) = self.each(caps, together, &|range, rows| self.naive(caps, together, range, rows))?;
            let plan = self.plan_of("naive".into(), "one lane for four outputs, by the formula", steps, scratch);
            // On a processor nothing is gained by lanes that work together.
            plans.insert(if cpu { 0 } else { plans.len() }, plan);
        }
        self.with_terms(caps, &mut plans)?;
        // One dispatch, where that goes. On a processor all the same the one that comes first does without lanes.
        let at = usize::from(cpu).min(plans.len());
        plans.splice(at..at, self.here(caps)?);
        Ok(plans)
    }
}

impl LinearProblem {
    fn plan_of(&self, name: String, why: &'static str, steps: Vec<Step>, scratch_bytes: Vec<u64>) -> Plan {
        let mut plan = Plan::new("linear", name, why, steps, scratch_bytes);
        if self.is_live() {
            plan.scratch_bytes.insert(0, self.terms_bytes());
        }
        counted::count(&mut plan, GRIDS, self.grids);
        plan
    }

    /// A step whose workgroups take `each` parts of the `times` parts of every `tile` rows.
    fn by_rows(
        caps: &Caps,
        step: Builder,
        params: &mut LinearParams,
        rows: Rows,
        [tile, times, each]: [u64; 3],
    ) -> Result<Step> {
        let groups = Groups { first: rows.m0, most: rows.m, tile, times, each };
        let grid = grid("linear", caps, groups.of(rows.m))?;
        params.fold = grid[0];
        Ok(Step { groups: Some(groups), ..step.step(params, grid) })
    }

    /// The weight, and the second where there are two.
    fn laid(&self) -> impl Iterator<Item = &Arc<Laid>> {
        [Some(&self.w), self.up.as_ref()].into_iter().flatten()
    }

    /// Some operand is f16, the device has it, and reading it as such is worth while: a software device takes longer over it than over
    /// words.
    fn native_f16(&self, caps: &Caps) -> bool {
        let floats = [Some(self.x), Some(self.y), self.bias, self.residual];
        let some = floats.iter().flatten().any(|l| l.elem == Elem::F16) || self.laid().any(|w| w.is_f16());
        caps.f16 && caps.kind != DeviceKind::Cpu && some
    }

    /// Plans for few rows, which these kernels take all at once; `products`: of codes, summed over rows or not.
    fn few_rows(&self, caps: &Caps, products: Option<bool>) -> Result<Vec<Plan>> {
        if self.m > FEW_ROWS || self.rows_at_once(caps, 1)? < self.m {
            return Ok(Vec::new());
        }
        let all = Means::few(caps, self.native_f16(caps));
        let plan = |means: Means| {
            let (kernel, why) = match products {
                Some(_) => ("gemv_dot", "few rows of codes: products of four at a time"),
                None => ("gemv", "few rows: the weight is streamed once"),
            };
            let (steps, scratch) = self.gemv(caps, means, products, false)?;
            Ok(self.plan_of(means.name(kernel), why, steps, scratch))
        };
        all.into_iter().map(plan).collect()
    }

    /// Plans by tiles, the best first.
    fn tiles(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let cpu = caps.kind == DeviceKind::Cpu;
        let mut tiles: Vec<_> = TILES.iter().filter(|tile| tile.fits(caps)).collect();
        tiles.sort_by_cached_key(|tile| tile.cost(self.m, self.n, self.up.is_some(), cpu));
        // Of those that were not chosen, such as every device runs come last.
        let others = tiles.drain(1.min(tiles.len())..);
        let (last, some): (Vec<_>, Vec<_>) = others.partition(|tile| tile.fits(&Caps::baseline()));
        tiles.extend(some.into_iter().chain(last));
        // A software device compiles for longer than it computes, so that it gets the best only, and where that is not for every device
        // one that is; cases that take each shape are in the case table.
        if cpu {
            let last = tiles.pop();
            tiles.truncate(1);
            tiles.extend(last.filter(|_| tiles.iter().all(|tile| !tile.fits(&Caps::baseline()))));
        }
        let mut plans = Vec::new();
        for (i, tile) in tiles.into_iter().enumerate() {
            // Of shapes that were not chosen, one way to read is enough.
            let ways: &[bool] = if self.native_f16(caps) && i == 0 { &[true, false] } else { &[false] };
            for &native_f16 in ways {
                let means = Means { native_f16, ..Means::BASELINE };
                let (steps, scratch) =
                    self.each(caps, tile.rows, &|range, rows| self.tiled(caps, means, tile, None, range, rows))?;
                let name = format!("{}{}", tile.name, means.f16());
                plans.push(self.plan_of(name, "a tile of the weight is decoded once for many rows", steps, scratch));
            }
        }
        Ok(plans)
    }

    /// Whether matrix units may be chosen for the caller: they make both operands f16. What is stored in 16 bits or less passes as it is, and what
    /// is decoded from a few bits loses less than it has lost; who has f32 wants f32.
    fn is_for_matrices(&self) -> bool {
        self.x.elem != Elem::F32 && !self.w.is_f32() && self.up.as_ref().is_none_or(|up| !up.is_f32())
    }

    /// Plans by matrix units, the best first. Where nobody gets them without asking, one is enough.
    fn matrices(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let Some(units) = caps.matrix_units().filter(|_| self.m > FEW_ROWS) else { return Ok(Vec::new()) };
        let cpu = caps.kind == DeviceKind::Cpu;
        let mut shapes: Vec<_> = MATRICES.iter().filter(|shape| shape.depth(caps, units).is_some()).collect();
        let tiles = |shape: &Matrices| self.m.div_ceil(shape.rows) * self.n.div_ceil(shape.outputs(self.up.is_some()));
        if cpu {
            // The largest whose rows are there.
            let best = shapes.iter().position(|shape| self.m * 2 > shape.rows);
            let best = best.unwrap_or(shapes.len().saturating_sub(1));
            shapes.rotate_left(best);
        } else {
            let depth = |shape: &Matrices| shape.depth(caps, units).unwrap_or_default();
            shapes.sort_by_key(|shape| shape.slices(depth(shape), tiles(shape), self.blocks(), self.slices_most()).1);
        }
        if cpu || !self.is_for_matrices() {
            shapes.truncate(1);
        }
        let means = Means { subgroup: Some(units.subgroup), native_f16: self.native_f16(caps) };
        let plan = |shape: &Matrices| {
            let (steps, scratch) =
                self.each(caps, shape.rows, &|range, rows| self.coop(caps, means, units, shape, range, rows))?;
            let why = "many rows: f16 operands, by matrix units";
            Ok(Plan { operands: Some(Elem::F16), ..self.plan_of(shape.name.into(), why, steps, scratch) })
        };
        shapes.into_iter().map(plan).collect()
    }

    /// The parts of the outputs, by the borders of the parts of both weights.
    fn ranges(&self) -> Vec<Range> {
        let mut all = Vec::new();
        let (mut n0, mut w, mut up) = (0, 0, 0);
        while let Some(chunk) = self.w.chunks().get(w) {
            let up_chunk = self.up.as_ref().and_then(|laid| laid.chunks().get(up));
            let n1 = up_chunk.map_or(chunk.rows.1, |c| c.rows.1.min(chunk.rows.1));
            all.push(Range { n0, n1, w, up });
            n0 = n1;
            w += usize::from(chunk.rows.1 == n1);
            up += usize::from(up_chunk.is_some_and(|c| c.rows.1 == n1));
        }
        all
    }

    /// The steps for each part of the outputs and of the rows whose operands fit a binding; rows in multiples of `together`. And the scratch
    /// buffer of the sums of slices, where there are any.
    fn each(
        &self,
        caps: &Caps,
        together: u64,
        part: &dyn Fn(Range, Rows) -> Result<Sums>,
    ) -> Result<(Vec<Step>, Vec<u64>)> {
        let most = self.rows_at_once(caps, together)?;
        let (mut steps, mut scratch) = (Vec::new(), 0);
        for range in self.ranges() {
            for m0 in (0..self.m).step_by(most as usize) {
                let sums = part(range, Rows { m0, m: most.min(self.m - m0) })?;
                scratch = scratch.max(sums.scratch_bytes);
                steps.extend(sums.steps);
            }
        }
        Ok((steps, if scratch > 0 { vec![scratch] } else { Vec::new() }))
    }

    /// Bytes of the sums of so many slices.
    fn slices_bytes(&self, slices: u64, range: Range, rows: Rows) -> u64 {
        let matrices = if self.up.is_some() { 2 } else { 1 };
        slices * matrices * rows.m * range.outputs().div_ceil(4) * 16
    }

    /// Slices of K for so many workgroups that make whole sums, as many as fill a device, but no more than `most`.
    fn slices(&self, caps: &Caps, filled: u64, groups: u64, most: u64, (range, rows): (Range, Rows)) -> u64 {
        // The merge binds all operands and the sums.
        let operands = [self.bias, self.residual, self.row_scale, self.x_scale].iter().flatten().count();
        let bound = 4 + operands + usize::from(self.up.is_some()) + self.live_bindings();
        let slices = filled.div_ceil(groups).min(most).clamp(1, SLICES_MOST);
        let fits = self.slices_bytes(slices, range, rows) <= caps.storage_binding_bytes.min(SLICES_BYTES);
        if bound > caps.storage_buffers as usize || !fits { 1 } else { slices }
    }

    /// A kernel that makes sums, of `tile` rows in `times` workgroups, and where K is sliced the merge.
    fn sums(
        &self,
        caps: &Caps,
        means: Means,
        (range, rows): (Range, Rows),
        (slices, [tile, times]): (u64, [u64; 2]),
        (mut step, mut params): (Builder, LinearParams),
    ) -> Result<Sums> {
        let bytes = if slices > 1 { self.slices_bytes(slices, range, rows) } else { 0 };
        params.slices = slices as u32;
        // Before it come the terms of live adapters.
        let number = usize::from(self.is_live());
        if slices == 1 {
            step.fill("parts", "slot/parts/none");
        } else {
            step.fill("parts", "slot/parts/write");
            step.scratch(8, number, bytes, Access::Write);
        }
        let mut steps = vec![Self::by_rows(caps, step, &mut params, rows, [tile, times * slices, 1])?];
        if slices > 1 {
            let (mut step, mut params) = self.layer("linear/merge", means, range, rows, End::Whole);
            // Of weights only what is added, where there is something: it is one pipeline for all formats.
            self.weights(&mut step, &mut params, range, Decode::Sums, &|laid| laid.has_side());
            params.slices = slices as u32;
            step.scratch(8, number, bytes, Access::Read);
            let parts = [1, range.outputs().div_ceil(4), 64];
            steps.push(Self::by_rows(caps, step, &mut params, rows, parts)?);
        }
        Ok(Sums { steps, scratch_bytes: bytes })
    }

    fn rows_at_once(&self, caps: &Caps, together: u64) -> Result<u64> {
        let bytes = |l: Layout, width: u64| width * l.elem.bytes() as u64;
        let widest =
            bytes(self.x, self.k).max(bytes(self.y, self.n)).max(self.residual.map_or(0, |l| bytes(l, self.n)));
        let most = rows_at_once("linear", caps, self.m, 1, widest)?;
        // The last rows, and rows so wide that few fit, are fewer.
        Ok(if most < self.m && most >= together { most / together * together } else { most })
    }

    /// All rows of both begin at multiples of four elements.
    fn quads(layouts: &[Option<Layout>], width: u64) -> bool {
        let even = |l: &Layout| (l.offset_bytes / l.elem.bytes() as u64).is_multiple_of(4);
        width.is_multiple_of(4) && layouts.iter().flatten().all(even)
    }

    /// A kernel's operands and params, all but the grid.
    fn layer(&self, kernel: &'static str, means: Means, range: Range, rows: Rows, end: End) -> (Builder, LinearParams) {
        self.layer_by(kernel, means, 32, range, rows, end)
    }

    /// The same of a kernel that takes so many inputs at a time.
    fn layer_by(
        &self,
        kernel: &'static str,
        means: Means,
        depth: u64,
        range: Range,
        rows: Rows,
        end: End,
    ) -> (Builder, LinearParams) {
        let x_loads = Loads { quads: Self::quads(&[Some(self.x)], self.k), native_f16: means.native_f16 };
        let outputs = [Some(self.y), self.bias, self.residual];
        let loads = Loads { quads: Self::quads(&outputs, self.n), native_f16: means.native_f16 };
        let mut step = Builder::new(kernel, loads);
        let mut params = LinearParams {
            m: rows.m as u32,
            n: self.n as u32,
            n0: range.n0,
            n1: range.n1,
            k: self.k as u32,
            slices: 1,
            ..Default::default()
        };
        step.set("TAIL", Const::Bool(!self.k.is_multiple_of(depth)));
        step.set("GATED", Const::Bool(self.up.is_some()));
        let part = |operand, layout: Layout, width: u64| Part {
            operand,
            layout,
            start: rows.m0 * width,
            elements: rows.m * width,
        };
        params.x0 = step.read_as("x", 1, Some(part(X, self.x, self.k)), "slot/read/zero", x_loads);
        if end != End::Parts {
            params.bias0 = step.read("bias", 2, self.bias.map(|l| Part::whole(BIAS, l)), "slot/read/zero");
            params.residual0 =
                step.read("residual", 3, self.residual.map(|l| part(RESIDUAL, l, self.n)), "slot/read/zero");
            let any = Loads { quads: false, ..loads };
            params.row_scale0 =
                step.read_as("row_scale", 4, self.row_scale.map(|l| part(ROW_SCALE, l, 1)), "slot/read/one", any);
            params.x_scale0 =
                step.read_as("code_scale", 9, self.x_scale.map(|l| part(X_SCALE, l, 1)), "slot/read/one", any);
            params.y0 = step.write("y", 5, Some(part(Y, self.y, self.n)));
            step.fill("activation", self.activation.filling());
        } else {
            step.fill("bias", "slot/read/zero");
            step.fill("residual", "slot/read/zero");
            step.fill("row_scale", "slot/read/one");
            step.fill("code_scale", "slot/read/one");
            step.fill("y", "slot/write/none");
            step.fill("activation", "slot/activation/none");
        }
        self.live(&mut step, &mut params, rows, end);
        (step, params)
    }

    /// Where x is codes and so is every weight, and the device multiplies codes: their products are summed over whole rows, or not. Codes times
    /// factors of columns are none.
    fn products(&self, caps: &Caps) -> Option<bool> {
        self.x_scale.filter(|_| caps.int8_products && !self.has_cols())?;
        let all = || self.laid().map(|laid| laid.integers());
        all().all(|integers| integers != Integers::None).then(|| all().all(|integers| integers == Integers::Row))
    }

    /// The weights of a part of the outputs, those of them that are `needed`.
    fn weights(
        &self,
        step: &mut Builder,
        params: &mut LinearParams,
        range: Range,
        decode: Decode,
        needed: &dyn Fn(&Laid) -> bool,
    ) {
        let up = W + self.w.chunks().len() + range.up;
        params.w = weight(step, Slot::W, Some(&self.w).filter(|w| needed(w)), range.w, W + range.w, decode);
        params.up = weight(step, Slot::Up, self.up.as_ref().filter(|up| needed(up)), range.up, up, decode);
    }

    fn naive(&self, caps: &Caps, together: u64, range: Range, rows: Rows) -> Result<Sums> {
        let means = Means::BASELINE;
        let (mut step, mut params) = self.layer("linear/naive", means, range, rows, End::Whole);
        self.weights(&mut step, &mut params, range, Decode::Sums, &|_| true);
        step.set("ROWS", Const::U32(together as u32));
        let parts = [together, range.outputs().div_ceil(4), 64];
        Ok(Self::by_rows(caps, step, &mut params, rows, parts)?.into())
    }

    /// By tiles; `products`: of codes, summed over rows or not.
    fn tiled(
        &self,
        caps: &Caps,
        means: Means,
        tile: &Tile,
        products: Option<bool>,
        range: Range,
        rows: Rows,
    ) -> Result<Sums> {
        let kernel = if products.is_some() { "linear/tiled_dot" } else { "linear/tiled" };
        let across = range.outputs().div_ceil(tile.outputs(self.up.is_some()));
        let slices = self.tile_slices(caps, across * rows.m.div_ceil(tile.rows), range, rows);
        let (mut step, mut params) = self.layer(kernel, means, range, rows, End::of(slices));
        // A tile that every device has stays one.
        let least = u64::from(Caps::baseline().workgroup_bytes);
        let room = if tile.bytes() <= least { least } else { u64::from(caps.workgroup_bytes) };
        let decode = match products {
            Some(_) => Decode::Codes,
            None if tile.bytes() + LEVELS_BYTES <= room => Decode::Near,
            None => Decode::Sums,
        };
        self.weights(&mut step, &mut params, range, decode, &|_| true);
        step.set("ROWS", Const::U32(tile.rows as u32));
        step.set("COLS", Const::U32(tile.cols as u32));
        step.set("LANE_ROWS", Const::U32(tile.lane_rows as u32));
        if let Some(integers) = products {
            step.set("INTS", Const::Bool(integers));
        }
        self.sums(caps, means, (range, rows), (slices, [tile.rows, across]), (step, params))
    }

    /// Slices of K for so many tiles. A processor fills its few cores without.
    fn tile_slices(&self, caps: &Caps, tiles: u64, range: Range, rows: Rows) -> u64 {
        let filled = if caps.kind == DeviceKind::Cpu { 8 } else { TILES_FILLED };
        self.slices(caps, filled, tiles, self.slices_most(), (range, rows))
    }

    /// Blocks of 32 inputs.
    fn blocks(&self) -> u64 {
        self.k.div_ceil(32)
    }

    /// Slices of K for tiles at most: each keeps eight turns of its loop.
    fn slices_most(&self) -> u64 {
        self.blocks() / 8
    }

    /// By tiles and matrix units.
    fn coop(
        &self,
        caps: &Caps,
        means: Means,
        units: MatrixUnits,
        shape: &Matrices,
        range: Range,
        rows: Rows,
    ) -> Result<Sums> {
        let depth = shape.depth(caps, units).unwrap_or_default();
        let across = range.outputs().div_ceil(shape.outputs(self.up.is_some()));
        let tiles = across * rows.m.div_ceil(shape.rows);
        let slices = if caps.kind == DeviceKind::Cpu {
            self.tile_slices(caps, tiles, range, rows)
        } else {
            let (best, _) = shape.slices(depth, tiles, self.blocks(), self.slices_most());
            self.slices(caps, best * tiles, tiles, best, (range, rows))
        };
        let (mut step, mut params) = self.layer_by("linear/tiled_coop", means, depth, range, rows, End::of(slices));
        self.weights(&mut step, &mut params, range, Decode::Near, &|_| true);
        step.set("ROWS", Const::U32(shape.rows as u32));
        step.set("COLS", Const::U32(shape.cols as u32));
        step.set("SUB_ROWS", Const::U32(shape.sub_rows as u32));
        step.set("DEPTH", Const::U32(depth as u32));
        // Factors of columns stand before x.
        step.set("X_POWERS", Const::Bool(self.x.elem != Elem::F16 || self.has_cols()));
        step.set("W_POWERS", Const::Bool(!self.laid().all(|w| w.is_f16())));
        step.fill("matrix", units.filling());
        means.reduce(&mut step);
        self.sums(caps, means, (range, rows), (slices, [shape.rows, across]), (step, params))
    }

    /// The kernel for few rows, and where K is sliced the merge.
    /// `here`: it makes the terms of live adapters itself.
    fn gemv(&self, caps: &Caps, means: Means, products: Option<bool>, here: bool) -> Result<(Vec<Step>, Vec<u64>)> {
        // 8 KiB of x in workgroup memory, whatever the rows.
        let (together, lanes) = match self.m {
            1 => (1, 64),
            2 => (2, 32),
            3..=4 => (4, 16),
            _ => (8, 8),
        };
        let lane_count = 128.min(caps.invocations);
        let kernel = if products.is_some() { "linear/gemv_dot" } else { "linear/gemv" };
        self.each(caps, 1, &|range, rows| {
            let groups = range.outputs().div_ceil(4 * u64::from(lane_count / lanes));
            let turns = self.blocks().div_ceil(u64::from(lanes));
            // With live adapters there may be a dispatch before already, and no third is wanted of one row.
            let most = if self.is_live() && self.m == 1 { 1 } else { turns / 2 };
            let slices = self.slices(caps, FEW_FILLED, groups, most, (range, rows));
            let end = if here { End::Here } else { End::of(slices) };
            let (mut step, mut params) = self.layer(kernel, means, range, rows, end);
            step.fill("agree", caps.target.agree());
            let makers = self.makers(&mut step, &mut params, here, u64::from(lane_count / lanes));
            if let Some(integers) = products {
                step.set("INTS", Const::Bool(integers));
            } else {
                // Blocks of four rows.
                let words: u64 = self.laid().map(|w| 4 * w.block_words()).sum();
                step.set("EARLY", Const::Bool(words <= FEW_EARLY));
                step.set("AHEAD", Const::Bool(words <= FEW_AHEAD && self.m == 1 && turns > slices));
                step.set("WHOLE", Const::Bool(self.blocks().is_multiple_of(slices * u64::from(lanes))));
            }
            step.set("ROWS", Const::U32(together));
            step.set("LANES", Const::U32(lanes));
            step.set("LANE_COUNT", Const::U32(lane_count));
            means.reduce(&mut step);
            let decode = if products.is_some() { Decode::Codes } else { Decode::Near };
            self.weights(&mut step, &mut params, range, decode, &|_| true);
            // All rows are made together, or none.
            self.sums(caps, means, (range, rows), (slices, [rows.m, makers + groups]), (step, params))
        })
    }
}

/// Fills a weight's slot and binds its part; where things are in it.
pub(crate) fn weight(
    step: &mut Builder,
    slot: Slot,
    laid: Option<&Arc<Laid>>,
    part: usize,
    operand: usize,
    decode: Decode,
) -> WeightAt {
    let Some((laid, chunk)) = laid.and_then(|laid| Some((laid, laid.chunks().get(part)?))) else {
        step.fill(slot.name(), "slot/weight/none");
        return WeightAt::default();
    };
    laid.fill(step, slot, decode);
    let whole = Part::whole(operand, Layout::dense(Elem::U32, chunk.words));
    step.bind(slot.binding(), whole, Access::Read);
    bytemuck::cast(chunk.at)
}
