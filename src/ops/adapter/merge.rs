//! Base and adapter as one weight.

use std::sync::Arc;

use super::{Adapted, Delta, Kind, Order};
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::formats::laid::{Decode, Laid, Slot, WeightAt};
use crate::formats::nearest::Spread;
use crate::ops::linear::encode::Target;
use crate::ops::linear::weight;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, read_filling, rows_at_once, words_first, write_filling};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Bind, Const, Plan, Source, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};
use crate::weight::Weight;

/// The weight that a base and an adapter make together, `y[N,K]` (see [`Kind`]). The base may be in any format; it is decoded where it is
/// added to, and left as it is. So may the result, of the formats that devices encode ([`Encode`](crate::ops::linear::Encode)): its codes
/// and scales are those of the merged f32 numbers, of which there is never a whole matrix, but of formats whose scale follows from all
/// numbers (`bitnet`) or all of some columns (groups of all outputs).
///
/// The base is streamed once, and once more for each norm: DoRA reads it twice, BoRA three times.
///
/// Merging with `scale` and then with `−scale` gives the base again, but for roundings, for the kinds of which the delta is added:
/// [`AdapterMerge::reversed`].
///
/// ```
/// use gristmill::formats::{Format, Packed};
/// use gristmill::ops::adapter::{AdapterMerge, Kind};
/// use gristmill::{Caps, Elem, Op as _, Problem as _, Tensor, Weight};
///
/// let w0 = Weight::outline(&Packed::encode(Format::Q4_0, 4, 4096, &[0.5; 4 * 4096])?, 4096)?;
/// let (a, b) = (Tensor::outline([16, 4096], Elem::F16)?, Tensor::outline([4096, 16], Elem::F16)?);
/// let (magnitude, y) = (Tensor::outline([4096], Elem::F32)?, Tensor::outline([4096, 4096], Elem::F16)?);
/// let dora = Kind::Dora { a: &a, b: &b, magnitude: &magnitude };
/// // Sums of squares, factors of rows, merge.
/// assert_eq!(AdapterMerge::new(&w0, dora, 2.0, &y).problem()?.plan(&Caps::baseline())?.steps.len(), 3);
/// # Ok::<(), gristmill::Error>(())
/// ```
///
/// # Errors
/// A tensor of the adapter whose shape does not follow from the base and the other tensors, which the error names; a scale that is not
/// finite, or of BAT, which has none, is not 1; y of another shape or storage than is said at it; or a format that no kernel writes.
#[derive(Clone, Copy, Debug)]
pub struct AdapterMerge<'a> {
    /// `[N,K]`.
    pub w0: &'a Weight,
    /// The adapter.
    pub kind: Kind<'a>,
    /// What the delta is multiplied with.
    pub scale: f32,
    /// Receives the weight, `[N,K]`.
    pub y: Merged<'a>,
}

/// What receives a merged weight.
#[derive(Clone, Copy, Debug)]
pub enum Merged<'a> {
    /// Numbers in f32, f16 or bf16.
    Numbers(&'a Tensor),
    /// A weight, of which nothing stays. It is another than the base.
    Weight(&'a Weight),
}

impl<'a> From<&'a Tensor> for Merged<'a> {
    fn from(y: &'a Tensor) -> Self {
        Self::Numbers(y)
    }
}

impl<'a> From<&'a Weight> for Merged<'a> {
    fn from(y: &'a Weight) -> Self {
        Self::Weight(y)
    }
}

impl<'a> AdapterMerge<'a> {
    /// An op from its operands; y is a [`Tensor`] or a [`Weight`].
    pub fn new(w0: &'a Weight, kind: Kind<'a>, scale: f32, y: impl Into<Merged<'a>>) -> Self {
        Self { w0, kind, scale, y: y.into() }
    }

    /// The op that takes the adapter out of a weight into which it was merged.
    ///
    /// # Errors
    /// A kind whose delta is not added. The norms of DoRA and BoRA are gone with the base. BAT multiplies, and would be taken out by the
    /// inverse of `1 + block` of each block, which need not be there, and of a weight in few bits enlarges what its rounding has lost: keep the base.
    pub fn reversed(self) -> Result<Self> {
        if self.kind.is_added() {
            return Ok(Self { scale: -self.scale, ..self });
        }
        Err(shape_error!(OP, "an adapter that does more than add cannot be taken out again"))
    }
}

params! {
    /// The params of the kernels under `shaders/adapter/` that import `lib/adapter.wgsl`, where each is explained.
    AdapterParams {
        /// The base.
        w: WeightAt,
        /// The grid's x.
        fold: u32,
        /// Rows of the weight.
        n: u32,
        /// The first row of this dispatch.
        n0: u32,
        /// One past the last.
        n1: u32,
        /// Numbers in a row.
        k: u32,
        /// The row at which the binding of y begins.
        first: u32,
        /// Its first element there.
        y0: u32,
        /// Slices of rows or columns.
        slices: u32,
        /// The adapter's rank.
        rank: u32,
        /// Width of the blocks of MiSS, or outputs of an MPO's second core.
        wide: u32,
        /// Inputs of an MPO's second core.
        deep: u32,
        /// Inputs of its first core.
        left: u32,
        /// First element of the first tensor of the delta.
        a0: u32,
        /// Of the second.
        b0: u32,
        /// Of the third.
        c0: u32,
        /// Of the fourth.
        d0: u32,
        /// Of the delta.
        scale: f32,
        /// The first slice of this dispatch.
        slice0: u32,
        /// Scales in a row of the weight that is written.
        scales: u32,
        /// Nothing.
        pad0: u32,
        /// The weight that is written.
        into: WeightAt,
    }
}

params! {
    /// Where the sums of norms lie, and their magnitudes. `struct sums_At` of `shaders/lib/sums.wgsl`.
    SumsAt {
        /// Rows or columns.
        count: u32,
        /// Sums of each.
        slices: u32,
        /// First element of the magnitudes.
        magnitude0: u32,
        /// From the first quad of an adapter that is attached to its factors.
        to: u32,
    }
}

params! {
    /// The params of `adapter/factors`, where each is explained.
    FactorsParams {
        /// The grid's x.
        fold: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
        /// Nothing.
        pad2: u32,
        /// Sums and magnitudes.
        at: SumsAt,
    }
}

params! {
    /// The params of `adapter/contract`, where each is explained.
    ContractParams {
        /// The grid's x.
        fold: u32,
        /// Left bond.
        alpha: u32,
        /// Outputs of the core.
        n: u32,
        /// Inputs of the core.
        k: u32,
        /// The bond between.
        beta: u32,
        /// Outputs of the rest.
        rest_n: u32,
        /// Inputs of the rest.
        rest_k: u32,
        /// First element of the core.
        x0: u32,
        /// First element of the rest.
        rest0: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
        /// Nothing.
        pad2: u32,
    }
}

const OP: &str = "adapter_merge";

/// A merge with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AdapterMergeProblem {
    pub(crate) w: Arc<Laid>,
    pub(crate) adapted: Adapted,
    pub(crate) y: Written,
}

/// How what is made is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Written {
    Numbers(Layout),
    Weight(Arc<Laid>, Spread),
}

impl Op for AdapterMerge<'_> {
    type Problem = AdapterMergeProblem;

    fn problem(&self) -> Result<AdapterMergeProblem> {
        let (n, k) = (self.w0.n(), self.w0.k());
        let adapted = self.kind.adapted(OP, [n, k], self.scale)?;
        let y = match self.y {
            Merged::Numbers(y) => {
                want_float(OP, "y", y)?;
                if y.shape().dims() != [n, k] {
                    return Err(shape_error!(OP, "y has shape {}, but w0 is [{n}, {k}]", y.shape()));
                }
                Written::Numbers(y.layout())
            }
            Merged::Weight(y) => {
                if [y.n(), y.k()] != [n, k] {
                    return Err(shape_error!(OP, "y is [{}, {}], but w0 is [{n}, {k}]", y.n(), y.k()));
                }
                let value = || y.format().to_string();
                let spread =
                    y.laid().written().map_err(|rule| Error::Value { op: OP, name: "y", value: value(), rule })?;
                Written::Weight(Arc::clone(y.laid()), spread)
            }
        };
        Ok(AdapterMergeProblem { w: Arc::clone(self.w0.laid()), adapted, y })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let (y, parts) = match self.y {
            Merged::Numbers(y) => (Some(y), &[][..]),
            Merged::Weight(y) => (None, y.chunks()),
        };
        let mut list = vec![("y", y)];
        list.extend(self.kind.operands());
        list.extend(self.w0.chunks().iter().map(|chunk| ("w0", Some(chunk))));
        list.extend(parts.iter().map(|chunk| ("y", Some(chunk))));
        list
    }
}

/// Lanes of a workgroup: 8 share a row.
const LANE_COUNT: u64 = 128;

/// Columns of a tile: 8 blocks of 32.
const TILE_COLS: u64 = 256;

/// Workgroups of a pass that only sums: four for each core of a large device, so that its memory always has something to do.
const FILLED: u64 = 512;

/// The most slices of a sum, which one lane adds.
const SLICES: u64 = 16;

/// The numbers of a merge that are in memory before they are encoded: 8 MiB, which the caches of large devices hold, and which is
/// workgroups enough for each of their cores.
const SLAB_NUMBERS: u64 = 2 << 20;

/// Where factors are held: in a buffer of the plan, or in a pool.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    pub source: Source,
    pub offset_bytes: u64,
    pub bytes: u64,
}

impl Factors {
    fn bind(self, binding: u32, access: Access) -> Bind {
        Bind { binding, source: self.source, access, offset_bytes: self.offset_bytes, size_bytes: self.bytes }
    }
}

/// Sums of squares of rows or columns, and the magnitudes that those are to have.
pub(crate) struct Sums {
    scratch: (usize, u64),
    pub at: SumsAt,
    magnitude: Origin,
}

impl Sums {
    /// Fills the slot `normed` of a kernel, from this binding on. Where they are.
    pub fn fill(&self, step: &mut Builder, binding: u32, any: Loads) -> SumsAt {
        step.fill("normed", "slot/normed/sums");
        let magnitude0 = read(step, "normed_magnitude", binding, self.magnitude, any);
        step.scratch(binding + 1, self.scratch.0, self.scratch.1, Access::Read);
        SumsAt { magnitude0, ..self.at }
    }
}

/// Where the delta comes from, once cores have been contracted.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    Operand(usize, Layout),
    Scratch(usize, u64),
    /// A core of one number, which is 1.
    One,
}

/// Steps and scratch in the making.
pub(crate) struct Making {
    /// How f16 is read and written.
    pub means: Means,
    pub steps: Vec<Step>,
    pub scratch_bytes: Vec<u64>,
}

impl Making {
    pub(crate) fn new() -> Self {
        Self { means: Means::BASELINE, steps: Vec::new(), scratch_bytes: Vec::new() }
    }

    /// Element by element, at any alignment.
    fn any(&self) -> Loads {
        Loads { quads: false, native_f16: self.means.native_f16 }
    }

    /// A buffer of so many f32, whole quads of them.
    fn scratch(&mut self, caps: &Caps, elements: u64) -> Result<(usize, u64)> {
        let bytes = elements.next_multiple_of(4) * 4;
        let have = caps.storage_binding_bytes.min(caps.buffer_bytes);
        if bytes > have {
            return Err(Error::Limit { op: OP, limit: "storage_binding_bytes", need: bytes, have });
        }
        self.scratch_bytes.push(bytes);
        Ok((self.scratch_bytes.len() - 1, bytes))
    }
}

impl Problem for AdapterMergeProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let Adapted { row, col, order, ref tensors, .. } = self.adapted;
        whole(OP, caps, tensors.iter().chain(&row).chain(&col))?;
        let mut plans = Vec::new();
        let lanes = self.lanes();
        let (kernel, why) = match (&self.y, lanes) {
            (Written::Numbers(_), _) => ("tile", "the base is streamed once for each norm, and once to merge"),
            (_, Some(_)) => ("tile_encode", "as by tile, and a lane encodes its block"),
            (_, None) => ("slab", "as by tile, into numbers of some rows, which are encoded then"),
        };
        for means in Means::without_sums(caps, self.has_f16()) {
            let mut making = Making { means, ..Making::new() };
            let delta = self.contracted(caps, &mut making)?;
            let (mut of_rows, mut of_cols) = (None, None);
            let rows_first = order == Order::RowCol;
            for rows in [rows_first, !rows_first] {
                let Some(magnitude) = (if rows { row } else { col }) else { continue };
                let sums = self.sums(caps, &mut making, rows, magnitude, &delta, (of_rows, of_cols))?;
                let factors = self.factors(caps, &mut making, &sums, None)?;
                *(if rows { &mut of_rows } else { &mut of_cols }) = Some(factors);
            }
            match (&self.y, lanes) {
                (Written::Numbers(y), _) => self.merge(caps, &mut making, &delta, (of_rows, of_cols), *y)?,
                (Written::Weight(y, _), Some((cols, lanes))) => {
                    self.encode(caps, &mut making, &delta, (of_rows, of_cols), (y, cols, lanes))?;
                }
                (Written::Weight(y, spread), None) => {
                    let target = Target { w: y, spread: *spread };
                    self.slabs(caps, &mut making, &delta, (of_rows, of_cols), target)?;
                }
            }
            let Making { steps, scratch_bytes, .. } = making;
            plans.push(Plan::new(OP, format!("{kernel}{}", means.f16()), why, steps, scratch_bytes));
        }
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

impl AdapterMergeProblem {
    pub(crate) fn n(&self) -> u64 {
        self.w.n() as u64
    }

    pub(crate) fn k(&self) -> u64 {
        self.w.k() as u64
    }

    /// Something is stored as f16.
    fn has_f16(&self) -> bool {
        let Adapted { row, col, ref tensors, .. } = self.adapted;
        let y = if let Written::Numbers(y) = self.y { Some(y) } else { None };
        self.w.plain() == Some(Elem::F16)
            || tensors.iter().copied().chain(row).chain(col).chain(y).any(|layout| layout.elem == Elem::F16)
    }

    /// The columns that are coded together and their lanes, where a tile has all of these, and the words of their scales whole.
    fn lanes(&self) -> Option<(u32, u64)> {
        let Written::Weight(y, Spread::Row(cols)) = &self.y else { return None };
        let (bits, over) = y.scale_bits(*cols);
        let (together, cols) = (*cols, u64::from(*cols));
        let (blocks, scales) = (cols.div_ceil(32), self.k().div_ceil(cols));
        let lanes = blocks.next_power_of_two();
        let within = lanes <= 8 && (blocks == lanes || scales == 1);
        let whole = |of_tile: u64, of_row: u64| of_tile.is_multiple_of(32) && of_row.is_multiple_of(32);
        let over = u64::from(over);
        let words = whole(8 / lanes * bits, scales * bits) && whole(8 / lanes * over, scales * over);
        (within && words).then_some((together, lanes))
    }

    /// Rows of a lane: two, where registers allow it.
    fn lane_rows(&self) -> u64 {
        match self.adapted.delta {
            Delta::Lora { .. } => 2,
            _ => 1,
        }
    }

    fn tile_rows(&self) -> u64 {
        LANE_COUNT / 8 * self.lane_rows()
    }

    /// The place of the first part of the base among the operands.
    fn w_operand(&self) -> usize {
        1 + self.adapted.tensors.len()
            + usize::from(self.adapted.row.is_some())
            + usize::from(self.adapted.col.is_some())
    }

    /// The tensors of the delta; an MPO of more than two cores is contracted to two.
    fn contracted(&self, caps: &Caps, making: &mut Making) -> Result<Vec<Origin>> {
        let operand = |i: usize| Origin::Operand(1 + i, self.adapted.tensors[i]);
        let Delta::Mpo { cores } = &self.adapted.delta else {
            return Ok((0..self.adapted.tensors.len()).map(operand).collect());
        };
        if cores.len() == 1 {
            return Ok(vec![Origin::One, operand(0)]);
        }
        let mut rest = operand(cores.len() - 1);
        let (mut rest_n, mut rest_k) = (cores[cores.len() - 1][1], cores[cores.len() - 1][2]);
        for at in (1..cores.len() - 1).rev() {
            let [alpha, n, k, beta] = cores[at];
            let outputs = alpha * n * rest_n * k * rest_k;
            let (scratch, bytes) = making.scratch(caps, outputs)?;
            let mut step = Builder::new("adapter/contract", making.any());
            let mut params = ContractParams {
                alpha: alpha as u32,
                n: n as u32,
                k: k as u32,
                beta: beta as u32,
                rest_n: rest_n as u32,
                rest_k: rest_k as u32,
                ..Default::default()
            };
            params.x0 = read(&mut step, "x", 1, operand(at), making.any());
            params.rest0 = read(&mut step, "rest", 2, rest, making.any());
            step.scratch(3, scratch, bytes, Access::Write);
            let grid = grid(OP, caps, outputs.div_ceil(64))?;
            params.fold = grid[0];
            making.steps.push(step.step(&params, grid));
            rest = Origin::Scratch(scratch, bytes);
            (rest_n, rest_k) = (rest_n * n, rest_k * k);
        }
        Ok(vec![operand(0), rest])
    }

    /// A kernel that imports `lib/adapter.wgsl`, of rows `n0 … n1` in part `i` of the base: all but its output and the grid.
    fn tile(
        &self,
        kernel: &'static str,
        delta: &[Origin],
        (rows, cols): (Option<Factors>, Option<Factors>),
        (chunk, n0, n1): (usize, u64, u64),
        loads: Loads,
    ) -> (Builder, AdapterParams) {
        let any = Loads { quads: false, ..loads };
        let mut step = Builder::new(kernel, loads);
        let mut params = AdapterParams {
            n: self.n() as u32,
            n0: n0 as u32,
            n1: n1 as u32,
            k: self.k() as u32,
            first: n0 as u32,
            scale: f32::from_bits(self.adapted.scale),
            ..Default::default()
        };
        step.set("LANE_COUNT", Const::U32(LANE_COUNT as u32));
        step.set("LANE_ROWS", Const::U32(self.lane_rows() as u32));
        step.set("TAIL", Const::Bool(!self.k().is_multiple_of(4)));
        for (slot, binding, factors) in [("row_factor", 1, rows), ("col_factor", 2, cols)] {
            match factors {
                None => step.fill(slot, "slot/read/one"),
                Some(factors) => {
                    step.fill(slot, "slot/read/f32");
                    step.bind_range(factors.bind(binding, Access::Read));
                }
            }
        }
        params.w = weight(&mut step, Slot::W, Some(&self.w), chunk, self.w_operand() + chunk, Decode::Exact);
        let set = |params: &mut AdapterParams, rank: u64| params.rank = rank as u32;
        // Rows of K numbers go by fours where they begin at fours.
        let along_k = |i: usize| {
            let Layout { elem, offset_bytes, .. } = self.adapted.tensors[i];
            let even = (offset_bytes / elem.bytes() as u64).is_multiple_of(4);
            Loads { quads: self.k().is_multiple_of(4) && even, ..loads }
        };
        match &self.adapted.delta {
            Delta::Lora { rank } => {
                set(&mut params, *rank);
                step.fill("delta", "slot/delta/lora");
                params.a0 = read(&mut step, "delta_a", 7, delta[0], along_k(0));
                params.b0 = read(&mut step, "delta_b", 8, delta[1], any);
            }
            Delta::Loha { rank } => {
                set(&mut params, *rank);
                step.fill("delta", "slot/delta/loha");
                params.a0 = read(&mut step, "delta_a1", 7, delta[0], any);
                params.b0 = read(&mut step, "delta_b1", 8, delta[1], along_k(1));
                params.c0 = read(&mut step, "delta_a2", 9, delta[2], any);
                params.d0 = read(&mut step, "delta_b2", 10, delta[3], along_k(3));
            }
            Delta::Miss { rank, wide } => {
                set(&mut params, *rank);
                params.wide = *wide as u32;
                step.fill("delta", "slot/delta/miss");
                params.a0 = read(&mut step, "delta_a", 7, delta[0], any);
            }
            Delta::Bat { rank } => {
                set(&mut params, *rank);
                step.fill("delta", "slot/delta/bat");
                params.a0 = read(&mut step, "delta_a", 7, delta[0], any);
            }
            Delta::Mpo { cores } => {
                let [_, n0, k0, bond] = if cores.len() == 1 { [1; 4] } else { cores[0] };
                set(&mut params, bond);
                (params.wide, params.deep, params.left) = ((self.n() / n0) as u32, (self.k() / k0) as u32, k0 as u32);
                step.fill("delta", "slot/delta/mpo");
                params.a0 = read(&mut step, "delta_a", 7, delta[0], any);
                params.b0 = read(&mut step, "delta_b", 8, delta[1], any);
            }
        }
        (step, params)
    }

    /// The parts of the base, and the rows of each.
    fn parts(&self) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        self.w.chunks().iter().enumerate().map(|(i, chunk)| (i, chunk.rows.0.into(), chunk.rows.1.into()))
    }

    /// The steps that sum squares of rows, or of columns.
    pub(crate) fn sums(
        &self,
        caps: &Caps,
        making: &mut Making,
        rows: bool,
        magnitude: Layout,
        delta: &[Origin],
        factors: (Option<Factors>, Option<Factors>),
    ) -> Result<Sums> {
        let across = self.k().div_ceil(TILE_COLS);
        let down = |n0: u64, n1: u64| (n1 - n0).div_ceil(self.tile_rows());
        let all: u64 = self.parts().map(|(_, n0, n1)| down(n0, n1)).sum();
        let count = if rows { self.n() } else { self.k() };
        // Each part of the base has slices of columns of its own.
        let (along, beside) = if rows { (across, all) } else { (all, across) };
        let slices = FILLED.div_ceil(beside).min(along).clamp(1, SLICES);
        let of_part = |tiles: u64| if rows { slices } else { (slices * tiles).div_ceil(all).min(tiles) };
        let total = if rows { slices } else { self.parts().map(|(_, n0, n1)| of_part(down(n0, n1))).sum() };
        let sums = making.scratch(caps, total * count)?;
        let mut slice0 = 0;
        for (chunk, n0, n1) in self.parts() {
            let kernel = if rows { "adapter/row_norms" } else { "adapter/col_norms" };
            let (mut step, mut params) = self.tile(kernel, delta, factors, (chunk, n0, n1), making.any());
            let slices = of_part(down(n0, n1));
            (params.slices, params.slice0) = (slices as u32, slice0 as u32);
            step.scratch(3, sums.0, sums.1, Access::Write);
            let grid = grid(OP, caps, slices * if rows { down(n0, n1) } else { across })?;
            params.fold = grid[0];
            making.steps.push(step.step(&params, grid));
            slice0 += slices;
        }
        let operand = self.w_operand()
            - usize::from(self.adapted.col.is_some())
            - usize::from(rows && self.adapted.row.is_some());
        let at = SumsAt { count: count as u32, slices: total as u32, ..Default::default() };
        Ok(Sums { scratch: sums, at, magnitude: Origin::Operand(operand, magnitude) })
    }

    /// The step that makes factors of sums; `home` is where they go, if not into a buffer of the plan.
    pub(crate) fn factors(
        &self,
        caps: &Caps,
        making: &mut Making,
        sums: &Sums,
        home: Option<Factors>,
    ) -> Result<Factors> {
        let count = sums.at.count.into();
        let factors = match home {
            Some(home) => home,
            None => {
                let (number, bytes) = making.scratch(caps, count)?;
                Factors { source: Source::Scratch(number), offset_bytes: 0, bytes }
            }
        };
        let mut step = Builder::new("adapter/factors", making.any());
        let at = sums.fill(&mut step, 1, making.any());
        step.bind_range(factors.bind(3, Access::Write));
        let grid = grid(OP, caps, count.div_ceil(64))?;
        making.steps.push(step.step(&FactorsParams { fold: grid[0], at, ..Default::default() }, grid));
        Ok(factors)
    }

    /// The steps that write y as numbers.
    fn merge(
        &self,
        caps: &Caps,
        making: &mut Making,
        delta: &[Origin],
        factors: (Option<Factors>, Option<Factors>),
        y: Layout,
    ) -> Result<()> {
        let (k, size) = (self.k(), y.elem.bytes() as u64);
        let most = rows_at_once(OP, caps, self.n(), 1, k * size)?;
        let loads = Loads { quads: k.is_multiple_of(4) && (y.offset_bytes / size).is_multiple_of(4), ..making.any() };
        for (chunk, from, to) in self.parts() {
            for n0 in (from..to).step_by(most as usize) {
                let n1 = to.min(n0 + most);
                let (mut step, mut params) = self.tile("adapter/merge", delta, factors, (chunk, n0, n1), loads);
                let part = Part { operand: 0, layout: y, start: n0 * k, elements: (n1 - n0) * k };
                params.y0 = step.write("y", 5, Some(part));
                making.steps.push(self.grown(caps, step, params)?);
            }
        }
        Ok(())
    }

    /// A step of a workgroup for each tile of its rows.
    fn grown(&self, caps: &Caps, step: Builder, mut params: AdapterParams) -> Result<Step> {
        let rows = u64::from(params.n1 - params.n0);
        let grid = grid(OP, caps, rows.div_ceil(self.tile_rows()) * self.k().div_ceil(TILE_COLS))?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }

    /// The parts of y, and those of the base that meet each: their numbers, and the rows in both.
    fn met(&self, y: &Laid) -> Vec<(usize, usize, u64, u64)> {
        let mut all = Vec::new();
        for (into, part) in y.chunks().iter().enumerate() {
            let (from, to) = (u64::from(part.rows.0), u64::from(part.rows.1));
            let meeting = self.parts().map(|(chunk, n0, n1)| (into, chunk, n0.max(from), n1.min(to)));
            all.extend(meeting.filter(|(_, _, n0, n1)| n0 < n1));
        }
        all
    }

    /// The steps that write y as a weight, of which `lanes` lanes of a tile code their numbers together.
    fn encode(
        &self,
        caps: &Caps,
        making: &mut Making,
        delta: &[Origin],
        factors: (Option<Factors>, Option<Factors>),
        (y, cols, lanes): (&Laid, u32, u64),
    ) -> Result<()> {
        for (into, chunk, n0, n1) in self.met(y) {
            let part = &y.chunks()[into];
            let (mut step, mut params) = self.tile("adapter/encode", delta, factors, (chunk, n0, n1), making.any());
            params.into = bytemuck::cast(part.at);
            params.scales = (self.k() as u32).div_ceil(cols);
            y.fill_into(&mut step, false);
            let operand = self.w_operand() + self.w.chunks().len() + into;
            step.bind(5, Part::whole(operand, Layout::dense(Elem::U32, part.words)), Access::Write);
            Means::BASELINE.reduce(&mut step);
            step.set("LANES", Const::U32(lanes as u32));
            making.steps.push(self.grown(caps, step, params)?);
        }
        Ok(())
    }

    /// The steps that write y as a weight by way of the numbers of some rows at a time.
    fn slabs(
        &self,
        caps: &Caps,
        making: &mut Making,
        delta: &[Origin],
        factors: (Option<Factors>, Option<Factors>),
        target: Target<'_>,
    ) -> Result<()> {
        let (k, y) = (self.k(), target.w);
        let most = target.rows_at_once(OP, caps, 4, SLAB_NUMBERS / k)?;
        let (slab, bytes) = making.scratch(caps, most.min(self.n()) * k)?;
        let grids = target.grids(most, &mut making.scratch_bytes);
        let loads = Loads { quads: k.is_multiple_of(4), native_f16: false };
        for (into, part) in y.chunks().iter().enumerate() {
            let (from, to) = (u64::from(part.rows.0), u64::from(part.rows.1));
            for first in (from..to).step_by(most as usize) {
                let last = to.min(first + most);
                for (chunk, n0, n1) in self.parts() {
                    let (n0, n1) = (n0.max(first), n1.min(last));
                    if n0 >= n1 {
                        continue;
                    }
                    let loads = Loads { quads: loads.quads, ..making.any() };
                    let (mut step, mut params) = self.tile("adapter/merge", delta, factors, (chunk, n0, n1), loads);
                    params.first = first as u32;
                    step.fill("y", write_filling(Elem::F32, loads));
                    step.scratch(5, slab, bytes, Access::Write);
                    making.steps.push(self.grown(caps, step, params)?);
                }
                let read = |step: &mut Builder, loads| {
                    step.fill("x", read_filling(Elem::F32, loads));
                    step.scratch(1, slab, bytes, Access::Read);
                    0
                };
                let operand = self.w_operand() + self.w.chunks().len() + into;
                making.steps.extend(target.rounded(caps, (into, operand), (first, last), grids, loads, &read)?);
            }
        }
        Ok(())
    }
}

/// Tensors that are bound as wholes fit a binding.
pub(crate) fn whole<'l>(op: &'static str, caps: &Caps, tensors: impl Iterator<Item = &'l Layout>) -> Result<()> {
    for layout in tensors {
        rows_at_once(op, caps, 1, 1, layout.elements * layout.elem.bytes() as u64)?;
    }
    Ok(())
}

/// Element by element, at any alignment.
pub(crate) const ANY: Loads = Loads { quads: false, native_f16: false };

/// Fills a read slot; the first element of what it reads.
pub(crate) fn read(step: &mut Builder, slot: &'static str, binding: u32, from: Origin, loads: Loads) -> u32 {
    match from {
        Origin::Operand(operand, layout) => {
            step.read_as(slot, binding, Some(Part::whole(operand, layout)), "slot/read/one", loads)
        }
        Origin::Scratch(number, bytes) => {
            step.fill(slot, "slot/read/f32_any");
            step.scratch(binding, number, bytes, Access::Read);
            0
        }
        Origin::One => {
            step.fill(slot, "slot/read/one");
            0
        }
    }
}
