//! Quantisation of activations: whole numbers of 2 to 8 bits, and a scale for each row.

use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::ops::norm::{CODE_FLOOR, NAIVE_ROW, REGISTER_ROW, Tile, number, same_shape, want_elem};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once, words_first};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// Dynamic quantisation: each row of `x[.., K]` by a scale of its own, which follows from the row.
///
/// Symmetric, where there is no `zero`: with `Q = 2^(bits−1) − 1`,
/// `scale = max(max|x|, floor) / Q` and `q = clamp(round(x / scale), −Q − 1, Q)`; then `x ≈ q · scale`.
///
/// Not symmetric: with `Q = 2^bits − 1`, `lo = min(0, min x)` and `hi = max(0, max x)`,
/// `scale = (hi − lo) / Q`, `zero = clamp(round(−lo / scale), 0, Q)` and `q = clamp(round(x / scale) + zero, 0, Q)`; then
/// `x ≈ (q − zero) · scale`.
///
/// `round` is to nearest, ties to even. A code takes a byte, whatever `bits` is. Where `max(max|x|, floor)` or `hi − lo` is below
/// 2^-100 the scale is 1, so that all codes stand for 0: f32 could not divide by the true one on every device. Nor by one above 2^126, which
/// only rows of 2 bits with magnitudes (or `hi − lo`) above 8.5e37 (2.5e38) have: a device may make zeros of their codes.
///
/// x is finite, and where not symmetric so is `hi − lo`. Of a row that breaks this neither codes nor scale nor zero mean
/// anything, but they alone are written, and other rows are as they would be without it. (A NaN among x makes the scale one, on
/// devices that keep NaN.)
///
/// Source: symmetric, the activations of BitNet (Ma et al., "The Era of 1-bit LLMs", arXiv 2402.17764) as `BitLinear` of
/// `transformers` has them; not symmetric, `DynamicQuantizeLinear` of ONNX, row by row.
///
/// # Errors
/// `bits` outside 2 to 8, `floor` negative or not finite, K of 0, an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct QuantizeRows<'a> {
    /// F32, f16 or bf16, shape `[.., K]`.
    pub x: &'a Tensor,
    /// Receives the codes. Shape of x; i8, or u8 where `zero` is given.
    pub q: &'a Tensor,
    /// Receives the scales. F32, one number a row.
    pub scale: &'a Tensor,
    /// Receives the codes that stand for 0, and makes the codes not symmetric. I32, one number a row.
    pub zero: Option<&'a Tensor>,
    /// Bits of a code.
    pub bits: u32,
    /// Symmetric: a row's largest magnitude is taken to be at least this. Otherwise it is not used.
    pub floor: f32,
}

impl<'a> QuantizeRows<'a> {
    /// 8 bits, symmetric, floor 1e-5.
    pub fn new(x: &'a Tensor, q: &'a Tensor, scale: &'a Tensor) -> Self {
        Self { x, q, scale, zero: None, bits: 8, floor: CODE_FLOOR }
    }
}

params! {
    /// The params of the kernels under `shaders/quantize/`; see `lib/quantize.wgsl`.
    QuantizeParams {
        /// The grid's x.
        fold: u32,
        /// Rows of this dispatch.
        rows: u32,
        /// Numbers in a row.
        len: u32,
        /// First element of x.
        x0: u32,
        /// First element of the codes.
        q0: u32,
        /// First element of the scales.
        scale0: u32,
        /// First element of the zeros.
        zero0: u32,
        /// As in the op; 0 where not symmetric.
        floor: f32,
        /// The least code.
        low: f32,
        /// The greatest.
        high: f32,
    }
}

/// Quantisation with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuantizeProblem {
    rows: u64,
    len: u64,
    bits: u32,
    floor: u32,
    x: Layout,
    q: Layout,
    scale: Layout,
    zero: Option<Layout>,
}

const OP: &str = "quantize_rows";

impl Op for QuantizeRows<'_> {
    type Problem = QuantizeProblem;

    fn problem(&self) -> Result<QuantizeProblem> {
        let Self { x, q, scale, zero, bits, floor } = *self;
        if !(2..=8).contains(&bits) {
            return Err(Error::Value { op: OP, name: "bits", value: bits.to_string(), rule: "it must be from 2 to 8" });
        }
        number(OP, "floor", floor, |f| f >= 0.0, "it must be a number of at least 0")?;
        want_float(OP, "x", x)?;
        let (rows, len) = x.shape().rows(OP, "x")?;
        if len == 0 {
            return Err(shape_error!(OP, "x of shape {} has rows of no numbers", x.shape()));
        }
        same_shape(OP, ("q", q), ("x", x))?;
        let (elem, want) = match zero {
            None => (Elem::I8, "i8 where there is no zero"),
            Some(_) => (Elem::U8, "u8 where zero is given"),
        };
        want_elem(OP, "q", q, elem, want)?;
        for (name, tensor, elem) in [("scale", Some(scale), Elem::F32), ("zero", zero, Elem::I32)] {
            let Some(tensor) = tensor else { continue };
            want_elem(OP, name, tensor, elem, elem.name())?;
            if tensor.elements() != rows {
                return Err(shape_error!(OP, "{name} has shape {}, but there are {rows} rows", tensor.shape()));
            }
        }
        Ok(QuantizeProblem {
            rows: rows as u64,
            len: len as u64,
            bits,
            // A zero without its sign, as kernels compare bits.
            floor: if zero.is_some() { 0 } else { floor.abs().to_bits() },
            x: x.layout(),
            q: q.layout(),
            scale: scale.layout(),
            zero: zero.map(Tensor::layout),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("x", Some(self.x)), ("q", Some(self.q)), ("scale", Some(self.scale)), ("zero", self.zero)]
    }
}

impl Problem for QuantizeProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let plan = |name, why, steps| Plan::new(OP, name, why, steps, Vec::new());
        if self.rows == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        let mut plans = Vec::new();
        let one_read = self.len <= REGISTER_ROW;
        if let Some(means) = Means::of_processor(caps).filter(|_| one_read) {
            let why = "a processor: few lanes, and a second read from its cache";
            plans.push(plan(means.name("again"), why, self.steps(caps, means, Kernel::Processor)?));
        }
        let (kernel, name, why) = if one_read {
            (Kernel::Row, "row", "a row fits a workgroup's registers: one read")
        } else {
            (Kernel::Again, "again", "rows too long for registers are read again")
        };
        for means in Means::all(caps, self.x.elem == Elem::F16) {
            plans.push(plan(means.name(name), why, self.steps(caps, means, kernel)?));
        }
        if self.len <= NAIVE_ROW {
            let steps = self.steps(caps, Means::BASELINE, Kernel::Naive)?;
            plans.push(plan("naive".into(), "one invocation a row, by the formula", steps));
        }
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kernel {
    Row,
    Again,
    /// As `Again`, with the tile of a processor.
    Processor,
    Naive,
}

impl QuantizeProblem {
    /// A step for each part of the rows that fits a binding.
    fn steps(&self, caps: &Caps, means: Means, kernel: Kernel) -> Result<Vec<Step>> {
        // Of the shortest rows, the scales are the longest binding.
        let widest = (self.len * self.x.elem.bytes() as u64).max(4);
        let most = rows_at_once(OP, caps, self.rows, 1, widest)?;
        let mut steps = Vec::new();
        for row0 in (0..self.rows).step_by(most as usize) {
            steps.push(self.step(caps, means, kernel, row0, most.min(self.rows - row0))?);
        }
        Ok(steps)
    }

    fn step(&self, caps: &Caps, means: Means, kernel: Kernel, row0: u64, rows: u64) -> Result<Step> {
        let even = |l: Layout| (l.offset_bytes / l.elem.bytes() as u64).is_multiple_of(4);
        let quads = kernel != Kernel::Naive && self.len.is_multiple_of(4) && even(self.x) && even(self.q);
        let (file, tile) = match kernel {
            Kernel::Row => ("quantize/row", Some(Tile::of(self.len, rows, caps))),
            Kernel::Again => ("quantize/again", Some(Tile { chunks: 0, ..Tile::of(self.len, rows, caps) })),
            Kernel::Processor => ("quantize/again", Some(Tile::of_processor(self.len, rows))),
            Kernel::Naive => ("quantize/naive", None),
        };
        let mut step = Builder::new(file, Loads { quads, native_f16: means.native_f16 });
        let most = if self.zero.is_some() { (1u32 << self.bits) - 1 } else { (1 << (self.bits - 1)) - 1 } as f32;
        let mut params = QuantizeParams {
            rows: rows as u32,
            len: self.len as u32,
            floor: f32::from_bits(self.floor),
            low: if self.zero.is_some() { 0.0 } else { -most - 1.0 },
            high: most,
            ..Default::default()
        };
        let numbers = |operand, layout| Part { operand, layout, start: row0 * self.len, elements: rows * self.len };
        let of_rows = |operand, layout| Part { operand, layout, start: row0, elements: rows };
        step.set("SYMMETRIC", Const::Bool(self.zero.is_none()));
        params.x0 = step.read("x", 1, Some(numbers(0, self.x)), "slot/read/zero");
        params.q0 = step.write("q", 2, Some(numbers(1, self.q)));
        params.scale0 = step.bind(3, of_rows(2, self.scale), Access::Write);
        params.zero0 = step.write("zero", 4, self.zero.map(|l| of_rows(3, l)));
        if let Some(tile) = tile {
            tile.set(&mut step);
            means.reduce(&mut step);
        }
        let grid = grid(OP, caps, rows.div_ceil(tile.map_or(64, |t| u64::from(t.rows))))?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }
}
