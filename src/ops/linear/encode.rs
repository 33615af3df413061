//! Numbers as a weight.

use std::sync::Arc;

use super::WeightAt;
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::formats::laid::Laid;
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
/// Formats whose codes and scales follow from neighbours in a row: all but `bitnet` and `bcq`, `group_ic` and `hqq` along its axis 0, scales of
/// `fp8` for blocks of rows, the layout `gemv_fast` of `awq`, and `leanquant`, which has no rule. The numbers that share a scale are a row,
/// a multiple of 32 of a row, or the 16 of the K formats and of NVFP4; of `hqq` 32, 64, 128 or another power of two from there on.
///
/// It is round to nearest: the K and IQ4 formats lose more by it than by the search of llama.cpp, which tries many steps for each block. A
/// weight that came from such a search keeps what it won where an adapter is attached to it live, and loses it where one is merged into it.
///
/// x is finite. Of a row that has a NaN or an infinity codes and scales of the blocks where it stands mean nothing; others are as they would
/// be without it.
///
/// Two things are the host's but for a bit in very rare cases: which zero is the least number of a block that has both zeros; and in `awq`,
/// `gptq`, `owq`, `onnx.nbits` and `hqq` a scale whose range is of numbers more than 2^24 apart, as the host takes the sum in f64 and rounds
/// twice.
///
/// # Errors
/// x is not `[N,K]` in a floating storage, or no kernel writes such a weight: its format, the place of its scales, or a side list.
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
        /// Blocks of 32 of each.
        blocks: u32,
        /// Turns of the lanes that share it.
        turns: u32,
    }
}

/// A weight to be written, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncodeProblem {
    x: Layout,
    w: Arc<Laid>,
    /// Columns that are coded together.
    cols: u32,
}

const OP: &str = "encode";

/// The lanes of a workgroup, each with a block of 32 numbers.
const LANES: u32 = 64;

/// The quads of a workgroup that only changes how numbers are stored.
const DENSE_QUADS: u64 = 256;

/// Rows of a dispatch begin at a multiple of so many rows of its part of the weight, so that scales of a byte begin at whole words, whatever
/// the scales of a row are.
pub(crate) const ROWS: u64 = 16;

impl Op for Encode<'_> {
    type Problem = EncodeProblem;

    fn problem(&self) -> Result<EncodeProblem> {
        want_float(OP, "x", self.x)?;
        let (n, k) = (self.w.n(), self.w.k());
        if self.x.shape().dims() != [n, k] {
            return Err(shape_error!(OP, "x has shape {}, but w is [{n}, {k}]", self.x.shape()));
        }
        let value = || self.w.format().to_string();
        let cols = self.w.laid().written().map_err(|rule| Error::Value { op: OP, name: "w", value: value(), rule })?;
        Ok(EncodeProblem { x: self.x.layout(), w: Arc::clone(self.w.laid()), cols })
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
        let (n, k, size) = (self.w.n() as u64, self.w.k() as u64, self.x.elem.bytes() as u64);
        let most = rows_at_once(OP, caps, n.next_multiple_of(ROWS), ROWS, k * size)?;
        let quads = k.is_multiple_of(4) && (self.x.offset_bytes / size).is_multiple_of(4);
        let dense = self.w.plain().is_some();
        let (kernel, why) = match dense {
            true => ("dense", "neighbouring lanes for neighbouring quads"),
            false => ("blocks", "a lane for a block of 32, neighbouring lanes for a scale"),
        };
        let mut plans = Vec::new();
        for means in Means::without_sums(caps, self.x.elem == Elem::F16) {
            let mut steps = Vec::new();
            for (i, chunk) in self.w.chunks().iter().enumerate() {
                let (from, to) = (u64::from(chunk.rows.0), u64::from(chunk.rows.1));
                for n0 in (from..to).step_by(most as usize) {
                    let rows = most.min(to - n0);
                    let part = Part { operand: 0, layout: self.x, start: n0 * k, elements: rows * k };
                    let read = |step: &mut Builder| step.read("x", 1, Some(part), "slot/read/zero");
                    let loads = Loads { quads, native_f16: means.native_f16 };
                    steps.push(rounded(caps, (&self.w, self.cols), (i, 1 + i), (n0, n0 + rows), loads, read)?);
                }
            }
            let name = format!("{kernel}{}", means.f16());
            plans.push(Plan::new(OP, name, why, steps, Vec::new()));
        }
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

/// The step that rounds rows `n0 … n1` into a part of a weight, of which so many columns are coded together; n0 is a multiple of [`ROWS`] rows
/// of the part, whose number and operand are given. `read` fills the slot of the numbers, of which row n0 is the first.
pub(crate) fn rounded(
    caps: &Caps,
    (w, cols): (&Laid, u32),
    (part, operand): (usize, usize),
    (n0, n1): (u64, u64),
    loads: Loads,
    read: impl FnOnce(&mut Builder) -> u32,
) -> Result<Step> {
    let chunk = &w.chunks()[part];
    let blocks = cols.div_ceil(32);
    let lanes = blocks.next_power_of_two().min(LANES);
    let scales = (w.k() as u32).div_ceil(cols);
    let dense = w.plain().is_some();
    let mut step = Builder::new(if dense { "encode/dense" } else { "encode/blocks" }, loads);
    let mut params = EncodeParams {
        w: bytemuck::cast(chunk.at),
        n0: n0 as u32,
        n1: n1 as u32,
        first: n0 as u32,
        scales,
        blocks,
        turns: blocks.div_ceil(lanes),
        ..Default::default()
    };
    params.x0 = read(&mut step);
    w.fill_into(&mut step);
    step.bind(2, Part::whole(operand, Layout::dense(Elem::U32, chunk.words)), Access::Write);
    let groups = if dense {
        ((n1 - n0) * (w.k() as u64).div_ceil(4)).div_ceil(DENSE_QUADS)
    } else {
        Means::BASELINE.reduce(&mut step);
        step.set("LANES", Const::U32(lanes));
        let whole = w.k().is_multiple_of(32) && u64::from(scales * blocks * 32) == w.k() as u64;
        step.set("FLAT", Const::Bool(whole && lanes == blocks));
        ((n1 - n0) * u64::from(scales)).div_ceil(u64::from(LANES / lanes))
    };
    let grid = grid(OP, caps, groups)?;
    params.fold = grid[0];
    Ok(step.step(&params, grid))
}
