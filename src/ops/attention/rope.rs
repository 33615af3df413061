//! Rotary position embedding by itself.

use super::Order;
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::ops::little::Little;
use crate::ops::norm::same_shape;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part, grid, rows_at_once, words_first};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Const, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// Rotary position embedding: `(a, b) → (a·cos − b·sin, b·cos + a·sin)` for the pairs of each row of x; what does not turn is copied.
///
/// A pair is `(i, i + rotary_dim/2)`, or interleaved `(2i, 2i + 1)`, for i below `rotary_dim/2`, the last dimension of the tables.
/// [`RopeTable`](super::tables::RopeTable) makes tables. Angles are not computed in kernels: an f32 angle of position 100,000
/// is off by a 256th, and WGSL promises sines to no better than a 2,048th; the tables come from f64.
///
/// Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (arXiv 2104.09864), interleaved; halves as in
/// GPT-NeoX and Llama.
///
/// # Errors
/// `rotary_dim` odd, above D, or not twice the columns of the tables; tables without a row for each token; tables or positions of another
/// shape; a storage that an operand cannot have.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// F32, f16 or bf16, `[B, H, L, D]`, or as `order` says.
    pub x: &'a Tensor,
    /// Cosines: F32, f16 or bf16; `[L, rotary_dim/2]` for all of the batch, or `[B, L, rotary_dim/2]`; with positions
    /// `[P, rotary_dim/2]`.
    pub cos: &'a Tensor,
    /// Sines, shape of `cos`.
    pub sin: &'a Tensor,
    /// The row of the tables that each token has: I32, `[B, L]`. The device knows them alone: one below 0 is taken as 0, one past the
    /// last as the last. Positions that the host knows are judged where they are uploaded, by [`Dispatcher::positions`](crate::Dispatcher::positions).
    pub positions: Option<&'a Tensor>,
    /// Receives x with its pairs turned. Shape of x; F32, f16 or bf16.
    pub y: &'a Tensor,
    /// The order of the dimensions of x.
    pub order: Order,
    /// Pairs are neighbours.
    pub interleaved: bool,
    /// How many numbers of a row turn; none: all.
    pub rotary_dim: Option<usize>,
}

impl<'a> Rope<'a> {
    /// Heads first, halves, and as many numbers turn as the tables have.
    pub fn new(x: &'a Tensor, cos: &'a Tensor, sin: &'a Tensor, y: &'a Tensor) -> Self {
        let rotary_dim = cos.shape().dims().last().map(|half| 2 * half);
        Self { x, cos, sin, positions: None, y, order: Order::HeadsFirst, interleaved: false, rotary_dim }
    }
}

params! {
    /// The params of the kernels under `shaders/rope/`; see `lib/rope.wgsl`.
    RopeParams {
        /// The grid's x.
        fold: u32,
        /// The first row of this dispatch.
        row0: u32,
        /// Rows of this dispatch.
        rows: u32,
        /// H.
        heads: u32,
        /// L.
        tokens: u32,
        /// D.
        d: u32,
        /// Pairs that turn.
        half: u32,
        /// Tokens or rows of the tables.
        period: u32,
        /// First element of x.
        x0: u32,
        /// First element of y.
        y0: u32,
        /// First cosine.
        cos0: u32,
        /// First sine.
        sin0: u32,
        /// First position.
        position0: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
        /// Nothing.
        pad2: u32,
    }
}

/// Rotary position embedding with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RopeProblem {
    rows: u64,
    heads: u64,
    tokens: u64,
    d: u64,
    half: u64,
    period: u64,
    order: Order,
    interleaved: bool,
    x: Layout,
    cos: Layout,
    sin: Layout,
    y: Layout,
    positions: Little,
    has_positions: bool,
}

const OP: &str = "rope";

/// There is a position past the table.
pub(crate) fn past(op: &'static str, rows: usize, position: usize) -> Error {
    Error::Position { op, rows: rows as u64, position: position as u64 }
}

/// Checks tables for B elements of L tokens: the pairs that turn, and the rows of the tables.
pub(super) fn tables(
    op: &'static str,
    (cos, sin): (&Tensor, &Tensor),
    positions: Option<&Tensor>,
    (batch, tokens): (usize, usize),
) -> Result<(usize, usize)> {
    want_float(op, "cos", cos)?;
    want_float(op, "sin", sin)?;
    same_shape(op, ("sin", sin), ("cos", cos))?;
    let shape = cos.shape();
    let dims = shape.dims();
    let Some((half, rows)) = dims.split_last() else {
        return Err(shape_error!(op, "cos has no dimensions"));
    };
    if let Some(positions) = positions {
        if positions.elem() != Elem::I32 {
            let have = positions.elem().name();
            return Err(Error::Storage { op, operand: "positions", have, want: "i32" });
        }
        let shape = positions.shape();
        // Of two dimensions, but for those of 1.
        let turned = matches!(*shape.dims(), [b, l] if b.min(l) > 1 && [b, l] != [batch, tokens]);
        if positions.elements() != batch * tokens || turned {
            return Err(shape_error!(op, "positions have shape {shape}, but there are {batch} · {tokens} tokens"));
        }
        return match rows {
            [p] if *p > 0 || batch * tokens == 0 => Ok((*half, (*p).max(1))),
            _ => Err(shape_error!(op, "cos has shape {shape}, but with positions a table of rows is wanted")),
        };
    }
    match rows {
        [l] if *l == tokens => Ok((*half, tokens)),
        [b, l] if [*b, *l] == [batch, tokens] => Ok((*half, batch * tokens)),
        [l] | [_, l] if *l < tokens => Err(past(op, *l, tokens - 1)),
        _ => Err(shape_error!(op, "cos has shape {shape}, which is not a row for each of {batch} · {tokens} tokens")),
    }
}

impl Op for Rope<'_> {
    type Problem = RopeProblem;

    fn problem(&self) -> Result<RopeProblem> {
        let Self { x, cos, sin, positions, y, order, interleaved, rotary_dim } = *self;
        want_float(OP, "x", x)?;
        want_float(OP, "y", y)?;
        same_shape(OP, ("y", y), ("x", x))?;
        let shape = x.shape();
        let [batch, one, other, d] = *shape.dims() else {
            return Err(shape_error!(OP, "x has shape {shape}, which is not of four dimensions"));
        };
        let (heads, tokens) = if order == Order::HeadsFirst { (one, other) } else { (other, one) };
        let (half, period) = tables(OP, (cos, sin), positions, (batch, tokens))?;
        let rotary_dim = rotary_dim.unwrap_or(d);
        if rotary_dim % 2 != 0 || rotary_dim > d {
            let rule = "it must be even, and not above the size of a head";
            return Err(Error::Value { op: OP, name: "rotary_dim", value: rotary_dim.to_string(), rule });
        }
        if rotary_dim != 2 * half {
            return Err(shape_error!(OP, "rotary_dim = {rotary_dim}, but cos has {half} columns, not half as many"));
        }
        Ok(RopeProblem {
            rows: (batch * heads * tokens) as u64,
            heads: heads as u64,
            tokens: tokens as u64,
            d: d as u64,
            half: half as u64,
            period: period as u64,
            order,
            interleaved,
            x: x.layout(),
            cos: cos.layout(),
            sin: sin.layout(),
            y: y.layout(),
            positions: Little::of(3, &[positions]),
            has_positions: positions.is_some(),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![
            ("x", Some(self.x)),
            ("cos", Some(self.cos)),
            ("sin", Some(self.sin)),
            ("positions", self.positions),
            ("y", Some(self.y)),
        ]
    }
}

impl Problem for RopeProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let plan = |name: &str, why, steps| Plan::new(OP, name, why, steps, Vec::new());
        if self.rows * self.d == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        let mut plans = Vec::new();
        let half = self.x.elem == Elem::F16 || self.y.elem == Elem::F16;
        for native in [true, false].into_iter().filter(|native| !native || (caps.f16 && half)) {
            let name = if native { "pairs/f16" } else { "pairs" };
            plans.push(plan(name, "a lane turns four pairs", self.steps(caps, native, true)?));
        }
        plans.push(plan("naive", "one lane a number, by the formula", self.steps(caps, false, false)?));
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

impl RopeProblem {
    /// A step for each part of the rows that fits a binding.
    fn steps(&self, caps: &Caps, native_f16: bool, pairs: bool) -> Result<Vec<Step>> {
        let widest = self.x.elem.bytes().max(self.y.elem.bytes()) as u64;
        let most = rows_at_once(OP, caps, self.rows, 1, self.d * widest)?;
        let mut steps = Vec::new();
        for row0 in (0..self.rows).step_by(most as usize) {
            steps.push(self.step(caps, native_f16, pairs, row0, most.min(self.rows - row0))?);
        }
        Ok(steps)
    }

    fn step(&self, caps: &Caps, native_f16: bool, pairs: bool, row0: u64, rows: u64) -> Result<Step> {
        let even = |l: Layout| (l.offset_bytes / l.elem.bytes() as u64).is_multiple_of(4);
        let even_pairs = self.half.is_multiple_of(4);
        let quads = pairs && even_pairs && self.d.is_multiple_of(4) && even(self.x) && even(self.y);
        let of_tables = Loads { quads: pairs && even_pairs && even(self.cos) && even(self.sin), native_f16 };
        let mut step = Builder::new(if pairs { "rope/pairs" } else { "rope/naive" }, Loads { quads, native_f16 });
        step.set("INTERLEAVED", Const::Bool(self.interleaved));
        step.set("TOKENS_FIRST", Const::Bool(self.order == Order::TokensFirst));
        step.set("POSITIONS", Const::Bool(self.has_positions));
        let mut params = RopeParams {
            row0: row0 as u32,
            rows: rows as u32,
            heads: self.heads as u32,
            tokens: self.tokens as u32,
            d: self.d as u32,
            half: self.half as u32,
            period: self.period as u32,
            ..Default::default()
        };
        let part = |operand, layout| Part { operand, layout, start: row0 * self.d, elements: rows * self.d };
        params.x0 = step.read("x", 1, Some(part(0, self.x)), "");
        // Tables without a column are not there.
        let table = |operand, layout| (self.half > 0).then(|| Part::whole(operand, layout));
        params.cos0 = step.read_as("cosines", 2, table(1, self.cos), "slot/read/one", of_tables);
        params.sin0 = step.read_as("sines", 3, table(2, self.sin), "slot/read/zero", of_tables);
        // One operand is never gathered.
        let words = self.positions.gather(OP, caps, &mut Vec::new(), &mut Vec::new())?;
        words.bind(&mut step, "positions", 4);
        params.position0 = if self.has_positions { words.at[0] } else { 0 };
        params.y0 = step.write("y", 5, Some(part(4, self.y)));
        let units = if pairs { self.half.div_ceil(4) + (self.d - 2 * self.half).div_ceil(8) } else { self.d };
        let grid = grid(OP, caps, (rows * units).div_ceil(64))?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }
}
