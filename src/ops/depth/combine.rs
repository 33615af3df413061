//! The rows of kept tokens back to their places.

use super::even;
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::ops::norm::{same_shape, want_elem};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once, words_first};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// What the gate of a chosen token multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateOn {
    /// The branch of the MLP: `y = h + g·m`, as p-MoD's code has it.
    Mlp,
    /// All that the layer adds: `y = x + g·(h + m − x)`.
    Layer,
}

impl GateOn {
    /// The one of this name: `mlp` or `layer`.
    ///
    /// # Errors
    /// There is none.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "mlp" => Ok(Self::Mlp),
            "layer" => Ok(Self::Layer),
            _ => {
                let value = name.to_owned();
                Err(Error::Value { op: OP, name: "gate_on", value, rule: "it must be mlp or layer" })
            }
        }
    }
}

/// Ends a layer that skips tokens, in one dispatch. Every token of x finds what has become of it in `place`, which
/// [`Select`](super::Select) has written:
///
/// | token | y |
/// |---|---|
/// | padding | `x` |
/// | skipped | `g·x` (p-MoD's symmetric reweighting), or `x` without `scale_skipped` |
/// | kept, no target | `h + m` |
/// | chosen | `h + g·m`, or with [`GateOn::Layer`] `x + g·(h + m − x)` |
///
/// `h` is the residual stream after attention and `m` the branch of the MLP, both on the kept rows. Where the last linear layer adds
/// h and applies the gate itself ([`Linear`](crate::ops::linear::Linear): residual and `row_scale`), give its result as `h`
/// and no `m`.
///
/// # Errors
/// An operand of another shape or storage than is said at it; no gate where something is multiplied by it.
#[derive(Clone, Copy, Debug)]
pub struct Combine<'a> {
    /// F32, f16 or bf16, shape `[.., C]`: the rows as they came into the layer.
    pub x: &'a Tensor,
    /// Any floating storage, `[.., C]` with `B·P` rows.
    pub h: &'a Tensor,
    /// Any floating storage, shape of h; zeros where absent.
    pub m: Option<&'a Tensor>,
    /// F32, one number for each row of x.
    pub gate: Option<&'a Tensor>,
    /// U32, one number for each row of x. Rows past the last of h are an error of whoever wrote it, and store nothing.
    pub place: &'a Tensor,
    /// Receives the rows. Shape of x, any floating storage.
    pub y: &'a Tensor,
    /// What the gate multiplies.
    pub gate_on: GateOn,
    /// Skipped tokens are multiplied by their gates.
    pub scale_skipped: bool,
}

impl<'a> Combine<'a> {
    /// As p-MoD has it: the gate on the MLP, and on skipped tokens.
    pub fn new(
        x: &'a Tensor,
        h: &'a Tensor,
        m: &'a Tensor,
        gate: &'a Tensor,
        place: &'a Tensor,
        y: &'a Tensor,
    ) -> Self {
        Self { x, h, m: Some(m), gate: Some(gate), place, y, gate_on: GateOn::Mlp, scale_skipped: true }
    }
}

params! {
    /// The params of `shaders/depth/combine.wgsl`.
    CombineParams {
        /// The grid's x.
        fold: u32,
        /// Tokens of this dispatch.
        rows: u32,
        /// Numbers in a row.
        len: u32,
        /// The first kept row that it has.
        first: u32,
        /// The one after the last.
        end: u32,
        /// It also stores the tokens that are not kept.
        rest: u32,
        /// First element of x.
        x0: u32,
        /// First element of h.
        h0: u32,
        /// First element of m.
        m0: u32,
        /// First element of the gates.
        gate0: u32,
        /// First element of the places.
        place0: u32,
        /// First element of y.
        y0: u32,
    }
}

/// The end of a layer with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CombineProblem {
    rows: u64,
    kept: u64,
    len: u64,
    gate_on: GateOn,
    scale_skipped: bool,
    x: Layout,
    h: Layout,
    m: Option<Layout>,
    gate: Option<Layout>,
    place: Layout,
    y: Layout,
}

const OP: &str = "mod_combine";

impl Op for Combine<'_> {
    type Problem = CombineProblem;

    fn problem(&self) -> Result<CombineProblem> {
        let Self { x, h, m, gate, place, y, gate_on, scale_skipped } = *self;
        for (name, tensor) in [("x", Some(x)), ("h", Some(h)), ("m", m), ("y", Some(y))] {
            tensor.map_or(Ok(()), |t| want_float(OP, name, t))?;
        }
        let (rows, len) = x.shape().rows(OP, "x")?;
        same_shape(OP, ("y", y), ("x", x))?;
        if h.shape().dims().last() != Some(&len) {
            return Err(shape_error!(OP, "h has shape {}, but x has {len} features", h.shape()));
        }
        m.map_or(Ok(()), |m| same_shape(OP, ("m", m), ("h", h)))?;
        let kept = h.elements() / len.max(1);
        if kept >= 1 << 30 {
            let value = kept.to_string();
            return Err(Error::Value { op: OP, name: "rows of h", value, rule: "there must be fewer than 2^30" });
        }
        for (name, tensor, elem) in [("gate", gate, Elem::F32), ("place", Some(place), Elem::U32)] {
            let Some(tensor) = tensor else { continue };
            want_elem(OP, name, tensor, elem, elem.name())?;
            if tensor.elements() != rows {
                return Err(shape_error!(OP, "{name} has shape {}, but x has {rows} rows", tensor.shape()));
            }
        }
        let multiplied = scale_skipped || gate_on == GateOn::Layer || m.is_some();
        if gate.is_none() && multiplied {
            return Err(shape_error!(OP, "gate is missing, but something is multiplied by it"));
        }
        Ok(CombineProblem {
            rows: rows as u64,
            kept: kept as u64,
            len: len as u64,
            gate_on,
            scale_skipped,
            x: x.layout(),
            h: h.layout(),
            m: m.map(Tensor::layout),
            // One that nothing is multiplied by is not bound.
            gate: gate.filter(|_| multiplied).map(Tensor::layout),
            place: place.layout(),
            y: y.layout(),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![
            ("x", Some(self.x)),
            ("h", Some(self.h)),
            ("m", self.m),
            ("gate", self.gate),
            ("place", Some(self.place)),
            ("y", Some(self.y)),
        ]
    }
}

impl Problem for CombineProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        if self.rows * self.len == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        let mut plans = Vec::new();
        for means in Means::without_sums(caps, self.layouts().any(|l| l.elem == Elem::F16)) {
            let why = "four numbers an invocation: one load and one store";
            plans.push(Plan::new(OP, format!("elementwise{}", means.f16()), why, self.steps(caps, means)?, Vec::new()));
        }
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

impl CombineProblem {
    fn layouts(&self) -> impl Iterator<Item = Layout> {
        [Some(self.x), Some(self.h), self.m, Some(self.y)].into_iter().flatten()
    }

    /// A step for each part of the tokens and each part of the kept rows that fit a binding: each stores the tokens whose rows it has,
    /// and the first also those that have none.
    fn steps(&self, caps: &Caps, means: Means) -> Result<Vec<Step>> {
        let widest =
            |layouts: &[Option<Layout>]| layouts.iter().flatten().map(|l| l.elem.bytes()).max().unwrap_or(4) as u64;
        let (of_x, of_h) = (widest(&[Some(self.x), Some(self.y)]), widest(&[Some(self.h), self.m]));
        let tokens = rows_at_once(OP, caps, self.rows, 1, (self.len * of_x).max(4))?;
        let kept = rows_at_once(OP, caps, self.kept.max(1), 1, self.len * of_h)?.max(1);
        let mut steps = Vec::new();
        for row0 in (0..self.rows).step_by(tokens as usize) {
            let rows = tokens.min(self.rows - row0);
            for first in (0..self.kept.max(1)).step_by(kept as usize) {
                steps.push(self.step(caps, means, (row0, rows), (first, kept.min(self.kept.saturating_sub(first))))?);
            }
        }
        Ok(steps)
    }

    fn step(&self, caps: &Caps, means: Means, (row0, rows): (u64, u64), (first, kept): (u64, u64)) -> Result<Step> {
        let quads = self.len.is_multiple_of(4) && even(self.layouts());
        let loads = Loads { quads, native_f16: means.native_f16 };
        let mut step = Builder::new("depth/combine", loads);
        let layer = self.gate_on == GateOn::Layer;
        step.set("LAYER", Const::Bool(layer));
        step.set("SCALED", Const::Bool(self.scale_skipped));
        step.set("MLP", Const::Bool(self.m.is_some()));
        let mut params = CombineParams {
            rows: rows as u32,
            len: self.len as u32,
            first: first as u32,
            end: (first + kept) as u32,
            rest: u32::from(first == 0),
            ..Default::default()
        };
        let tokens = |operand, layout| Part { operand, layout, start: row0 * self.len, elements: rows * self.len };
        let of_kept = |operand, layout| Part { operand, layout, start: first * self.len, elements: kept * self.len };
        let each = |operand, layout| Part { operand, layout, start: row0, elements: rows };
        params.x0 = step.read("x", 1, Some(tokens(0, self.x)), "slot/read/zero");
        // Of no kept rows there is nothing to bind.
        let some = |l: &Layout| l.elements > 0;
        params.h0 = step.read("h", 2, Some(self.h).filter(some).map(|l| of_kept(1, l)), "slot/read/zero");
        params.m0 = step.read("m", 3, self.m.filter(some).map(|l| of_kept(2, l)), "slot/read/zero");
        let one = Loads { quads: false, ..loads };
        params.gate0 = step.read_as("gate", 4, self.gate.map(|l| each(3, l)), "slot/read/one", one);
        params.place0 = step.bind(5, each(4, self.place), Access::Read);
        params.y0 = step.write("y", 6, Some(tokens(5, self.y)));
        let grid = grid(OP, caps, (rows * self.len.div_ceil(4)).div_ceil(256))?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }
}
