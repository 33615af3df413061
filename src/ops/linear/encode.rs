//! Numbers as a weight.

use std::sync::Arc;

use super::WeightAt;
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::formats::form::{Place, greatest_divisor};
use crate::formats::laid::Laid;
use crate::formats::nearest::Spread;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once, words_first};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};
use crate::weight::Weight;

/// The numbers `x[N,K]`, rounded to nearest into the format of a weight by its published rule: bit for bit the codes and scales that
/// [`Packed::encode`](crate::formats::Packed::encode) makes of the numbers that x stores. What w held before is gone.
/// [`Dispatcher::encode`](crate::Dispatcher::encode) makes the weight and runs this.
///
/// Every format that has a rule: all but `leanquant`. Where the numbers that share a scale are neighbours in a row (a row, a multiple of 32 of it, the
/// 16 of the K formats and of NVFP4), one dispatch moves the numbers once; where they are not (`group_ic`, `hqq` along its axis 0, blocks of rows of
/// `fp8`, groups of 8 or 48, runs that go on over the ends of rows; the sums of signed scales of `bcq`), a second one does so again. `bitnet`, whose scale
/// is the mean of all magnitudes, takes four dispatches, three of which move the numbers.
///
/// It is round to nearest: the K and IQ4 formats lose more by it than by the search of llama.cpp, which tries many steps for each block. A
/// weight that came from such a search keeps what it won where an adapter is attached to it live, and loses it where one is merged into it.
///
/// x is finite. Of a row that has a NaN or an infinity codes and scales of the blocks where it stands mean nothing, in `bitnet` those of all; others are
/// as they would be without it.
///
/// Two things are the host's but for a bit in very rare cases: which zero is the least number of a block that has both zeros; and in `awq`,
/// `gptq`, `owq`, `onnx.nbits` and `hqq` a scale whose range is of numbers more than 2^24 apart, as the host takes the sum in f64 and rounds
/// twice.
///
/// # Errors
/// x is not `[N,K]` in a floating storage, or no kernel writes such a weight: its format, the place of its scales, or a side list. Rows that share a
/// scale, or that runs go on over, do not fit a binding of the device, or lie in several parts of w.
#[derive(Clone, Copy, Debug)]
pub struct Encode<'a> {
    /// F32, f16 or bf16, `[N,K]`.
    pub x: &'a Tensor,
    /// Receives the numbers. `[N,K]`.
    pub w: &'a Weight,
}

params! {
    /// The params of the kernels under `shaders/encode/`, explained in `lib/encode.wgsl`.
    EncodeParams {
        /// The weight.
        w: WeightAt,
        /// The grid's x.
        fold: u32,
        /// The first row of this dispatch.
        n0: u32,
        /// One past the last.
        n1: u32,
        /// The row at which the binding of x begins.
        first: u32,
        /// Its first element there.
        x0: u32,
        /// Scales of a row, or super-scales.
        scales: u32,
        /// Blocks of 32 of each, or the workgroups that share all numbers.
        blocks: u32,
        /// Turns of the lanes that share it.
        turns: u32,
        /// Which numbers a scale has, where scales are found before codes.
        runs: EncodeRuns,
    }
}

params! {
    /// Which numbers a scale has, told by where they are among those of a dispatch. `struct encode_Runs` of `shaders/lib/encode.wgsl`.
    EncodeRuns {
        /// The first scale of this dispatch.
        scale0: u32,
        /// Its scales.
        count: u32,
        /// Scales of a row of them.
        per: u32,
        /// Numbers from the first of a scale to the first of that in the next row.
        major: u32,
        /// And to that of its neighbour: the numbers of a run.
        minor: u32,
        /// Numbers of a row of scales.
        width: u32,
        /// Runs of a scale.
        runs: u32,
        /// Numbers from a run to the next.
        apart: u32,
    }
}

impl EncodeRuns {
    /// Those of the scales of rows `n0 … n1` of a matrix of width `k`; their part begins at row `row0`. The rows are whole units
    /// ([`unit`]), or the last.
    fn of(place: Place, k: u64, row0: u64, (n0, n1): (u64, u64)) -> Self {
        let numbers = (n1 - n0) * k;
        let of = |scale0: u64, count: u64, per: u64, [major, minor, width]: [u64; 3], runs: u64, apart: u64| {
            let [scale0, count, per, major] = [scale0, count, per, major].map(|v| v as u32);
            let [minor, width, runs, apart] = [minor, width, runs, apart].map(|v| v as u32);
            Self { scale0, count, per, major, minor, width, runs, apart }
        };
        match place {
            Place::Block { rows, cols } => {
                let (rows, cols) = (u64::from(rows), u64::from(cols).min(k));
                let per = k.div_ceil(cols);
                let scales = |of: u64| of.div_ceil(rows) * per;
                let runs = rows.min(n1 - n0);
                of(scales(n0 - row0), scales(n1 - n0), per, [runs * k, cols, k], runs, k)
            }
            Place::Flat(size) => {
                let size = u64::from(size);
                let count = numbers.div_ceil(size);
                of(n0 * k / size, count, count, [0, size, numbers], 1, numbers)
            }
            Place::Wrapped(cols) => {
                let cols = u64::from(cols);
                of(0, cols, cols, [0, 1, cols], numbers / cols, cols)
            }
            Place::Ordered => Self::default(),
        }
    }
}

/// The rows of a matrix of `n` by `k` whose scales serve no other rows.
fn unit(place: Place, n: u64, k: u64) -> u64 {
    match place {
        Place::Block { rows, .. } => u64::from(rows).min(n),
        Place::Flat(size) => u64::from(size / greatest_divisor(size, k as u32)).min(n),
        Place::Wrapped(_) => n,
        Place::Ordered => 1,
    }
}

/// A weight to be written, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncodeProblem {
    x: Layout,
    w: Arc<Laid>,
    spread: Spread,
}

const OP: &str = "encode";

/// The lanes of a workgroup, each with a block of 32 numbers.
const LANES: u32 = 64;

/// The quads of a workgroup that only changes how numbers are stored.
const DENSE_QUADS: u64 = 256;

/// Rows of a dispatch begin at a multiple of so many rows of its part of the weight, so that scales of a byte begin at whole words, whatever
/// the scales of a row are.
const ROWS: u64 = 16;

impl Op for Encode<'_> {
    type Problem = EncodeProblem;

    fn problem(&self) -> Result<EncodeProblem> {
        want_float(OP, "x", self.x)?;
        let (n, k) = (self.w.n(), self.w.k());
        if self.x.shape().dims() != [n, k] {
            return Err(shape_error!(OP, "x has shape {}, but w is [{n}, {k}]", self.x.shape()));
        }
        let value = || self.w.format().to_string();
        let spread =
            self.w.laid().written().map_err(|rule| Error::Value { op: OP, name: "w", value: value(), rule })?;
        Ok(EncodeProblem { x: self.x.layout(), w: Arc::clone(self.w.laid()), spread })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let mut list: Vec<Operand<'_>> = vec![("x", Some(self.x))];
        list.extend(self.w.chunks().iter().map(|chunk| ("w", Some(chunk))));
        list
    }
}

impl Problem for EncodeProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let (k, size) = (self.w.k() as u64, self.x.elem.bytes() as u64);
        let target = Target { w: &self.w, spread: self.spread };
        let most = target.rows_at_once(OP, caps, size, u64::MAX)?;
        let quads = k.is_multiple_of(4) && (self.x.offset_bytes / size).is_multiple_of(4);
        let (kernel, why) = match (self.w.plain(), self.spread) {
            (Some(_), _) => ("dense", "neighbouring lanes for neighbouring quads"),
            _ if self.w.sparse() => ("sparse", "a lane for a block of 32"),
            (_, Spread::Row(_)) => ("blocks", "a lane for a block of 32, neighbouring lanes for a scale"),
            (_, Spread::Runs) => {
                ("runs", "a dispatch that finds the scales, wherever their numbers lie, then a lane for a block of 32")
            }
        };
        let mut plans = Vec::new();
        for means in Means::without_sums(caps, self.x.elem == Elem::F16) {
            let (mut steps, mut scratch) = (Vec::new(), Vec::new());
            let grids = target.grids(most, &mut scratch);
            for (i, chunk) in self.w.chunks().iter().enumerate() {
                let (from, to) = (u64::from(chunk.rows.0), u64::from(chunk.rows.1));
                for n0 in (from..to).step_by(most as usize) {
                    let rows = most.min(to - n0);
                    let part = Part { operand: 0, layout: self.x, start: n0 * k, elements: rows * k };
                    let read = |step: &mut Builder, loads| step.read_as("x", 1, Some(part), "slot/read/zero", loads);
                    let loads = Loads { quads, native_f16: means.native_f16 };
                    steps.extend(target.rounded(caps, (i, 1 + i), (n0, n0 + rows), grids, loads, &read)?);
                }
            }
            let name = format!("{kernel}{}", means.f16());
            plans.push(Plan::new(OP, name, why, steps, scratch));
        }
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

/// A weight that steps write.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub w: &'a Laid,
    pub spread: Spread,
}

impl Target<'_> {
    /// Which scale a number has, where scales are found before codes.
    fn place(self) -> Option<Place> {
        self.w.place().filter(|_| self.spread == Spread::Runs)
    }

    /// The rows of one dispatch, whose numbers have so many bytes: whole units, so that no binding passes the device's limit, and about `want`.
    pub fn rows_at_once(self, op: &'static str, caps: &Caps, number_bytes: u64, want: u64) -> Result<u64> {
        let (n, k) = (self.w.n() as u64, self.w.k() as u64);
        let (unit, scales) = match self.place() {
            Some(place) => {
                let unit = unit(place, n, k);
                // As many as are whole words of scales too, but not where all rows are one unit.
                let unit = if unit < n {
                    unit / u64::from(greatest_divisor(unit as u32, ROWS as u32)) * ROWS
                } else {
                    n.next_multiple_of(ROWS)
                };
                (unit, u64::from(EncodeRuns::of(place, k, 0, (0, unit.min(n))).count).div_ceil(unit))
            }
            None => (ROWS, 0),
        };
        let all = n.next_multiple_of(unit);
        let fit = rows_at_once(op, caps, all, unit, (k * number_bytes).max(scales * GRID_BYTES))?;
        Ok((want / unit * unit).clamp(unit, fit))
    }

    /// Scratch for what makes codes of the scales of so many rows: its number and bytes, where there is need of it.
    pub fn grids(self, rows: u64, scratch: &mut Vec<u64>) -> Option<(usize, u64)> {
        let (n, k) = (self.w.n() as u64, self.w.k() as u64);
        let place = self.place()?;
        let rows = rows.min(n);
        let shares = if self.w.by_mean() { shares(rows * k) * SHARE_BYTES } else { 0 };
        let bytes = u64::from(EncodeRuns::of(place, k, 0, (0, rows)).count) * GRID_BYTES + shares;
        scratch.push(bytes);
        Some((scratch.len() - 1, bytes))
    }

    /// The steps that round rows `n0 … n1` into a part of the weight, whose number and operand are given; n0 is a multiple of
    /// [`Target::rows_at_once`] rows of it. `read` fills the slot of the numbers, of which row n0 is the first.
    pub fn rounded(
        self,
        caps: &Caps,
        (part, operand): (usize, usize),
        (n0, n1): (u64, u64),
        grids: Option<(usize, u64)>,
        loads: Loads,
        read: &dyn Fn(&mut Builder, Loads) -> u32,
    ) -> Result<Vec<Step>> {
        let w = self.w;
        let chunk = &w.chunks()[part];
        let (k, rows) = (w.k() as u64, n1 - n0);
        let params = EncodeParams {
            w: bytemuck::cast(chunk.at),
            n0: n0 as u32,
            n1: n1 as u32,
            first: n0 as u32,
            ..Default::default()
        };
        let write = |step: &mut Builder, alone| {
            w.fill_into(step, alone);
            step.bind(2, Part::whole(operand, Layout::dense(Elem::U32, chunk.words)), Access::Write);
        };
        let begin = |kernel, loads, alone| {
            let mut step = Builder::new(kernel, loads);
            let x0 = read(&mut step, loads);
            write(&mut step, alone);
            (step, x0)
        };
        let end = |step: Builder, params: EncodeParams, x0, groups| -> Result<Step> {
            let grid = grid(OP, caps, groups)?;
            Ok(step.step(&EncodeParams { fold: grid[0], x0, ..params }, grid))
        };
        if w.plain().is_some() {
            let (step, x0) = begin("encode/dense", loads, false);
            return Ok(vec![end(step, params, x0, (rows * k.div_ceil(4)).div_ceil(DENSE_QUADS))?]);
        }
        let of_row = k.div_ceil(32);
        let each = EncodeParams { scales: of_row as u32, blocks: 1, turns: 1, ..params };
        if w.sparse() {
            let (mut step, x0) = begin("encode/sparse", loads, false);
            step.set("FLAT", Const::Bool(k.is_multiple_of(32)));
            return Ok(vec![end(step, each, x0, (rows * of_row).div_ceil(u64::from(LANES)))?]);
        }
        if let Spread::Row(cols) = self.spread {
            let blocks = cols.div_ceil(32);
            let lanes = blocks.next_power_of_two().min(LANES);
            let scales = (k as u32).div_ceil(cols);
            let (mut step, x0) = begin("encode/blocks", loads, false);
            Means::BASELINE.reduce(&mut step);
            step.set("LANES", Const::U32(lanes));
            let whole = k.is_multiple_of(32) && u64::from(scales * blocks * 32) == k;
            step.set("FLAT", Const::Bool(whole && lanes == blocks));
            let params = EncodeParams { scales, blocks, turns: blocks.div_ceil(lanes), ..params };
            let groups = (rows * u64::from(scales)).div_ceil(u64::from(LANES / lanes));
            return Ok(vec![end(step, params, x0, groups)?]);
        }
        let (Some(place), Some((scratch, bytes))) = (self.place(), grids) else { return Ok(Vec::new()) };
        let runs = EncodeRuns::of(place, k, chunk.rows.0.into(), (n0, n1));
        let reduce = |mut step: Builder, lanes| {
            step.scratch(3, scratch, bytes, Access::Write);
            Means::BASELINE.reduce(&mut step);
            step.set("LANES", Const::U32(lanes));
            step
        };
        let singly = Loads { quads: false, ..loads };
        let mut steps = Vec::new();
        if w.by_mean() {
            let shares = shares(rows * k);
            let turns = (rows * k).div_ceil(4).div_ceil(shares * u64::from(LANES) * 8) as u32;
            let params = EncodeParams { blocks: shares as u32, turns, ..params };
            for sums in [false, true] {
                let mut step = Builder::new("encode/magnitudes", loads);
                let x0 = read(&mut step, loads);
                step.set("SUMS", Const::Bool(sums));
                steps.push(end(reduce(step, LANES), params, x0, shares)?);
            }
            let mut step = Builder::new("encode/mean", loads);
            step.fill("x", "slot/read/zero");
            write(&mut step, true);
            steps.push(end(reduce(step, LANES), params, 0, 1)?);
        } else if w.signs().is_some() {
            let lanes = if u64::from(runs.minor) * u64::from(runs.runs) < 1024 { LANES } else { 256 };
            let (mut step, x0) = begin("encode/signs", singly, true);
            step.set("LANE_COUNT", Const::U32(lanes));
            steps.push(end(reduce(step, lanes), EncodeParams { runs, ..params }, x0, runs.count.into())?);
        } else {
            // Scales of a byte are put together in words by a workgroup.
            let lanes = runs.minor.next_power_of_two().min(if w.scale_bits(1).0 < 32 { 16 } else { LANES });
            let (step, x0) = begin("encode/scales", singly, true);
            let groups = u64::from(runs.count).div_ceil(u64::from(LANES / lanes));
            steps.push(end(reduce(step, lanes), EncodeParams { runs, ..params }, x0, groups)?);
        }

        let (mut step, x0) = begin("encode/codes", loads, true);
        w.fill_place(place, &mut step, ["place", "place_ROWS", "place_COLS", "place_SIZE"]);
        step.set("EACH", Const::Bool(!w.by_fours()));
        step.set("FLAT", Const::Bool(k.is_multiple_of(32)));
        step.scratch(3, scratch, bytes, Access::Read);
        // Signed scales lie by columns, but what they are found by lies by rows.
        let at = match w.signs() {
            Some(_) => WeightAt { scales_row: runs.per, ..each.w },
            None => each.w,
        };
        let params = EncodeParams { w: at, runs, ..each };
        steps.push(end(step, params, x0, (rows * of_row).div_ceil(u64::from(LANES)))?);
        Ok(steps)
    }
}

/// What a dispatch that finds scales leaves beside each for the next.
const GRID_BYTES: u64 = 16;

/// The workgroups that share so many numbers: enough loads on their way for any device, and few to add up.
fn shares(numbers: u64) -> u64 {
    numbers.div_ceil(u64::from(LANES) * 32).min(256)
}

/// What each leaves.
const SHARE_BYTES: u64 = 12;
