//! How much each token is worth to a layer.

use super::{Gate, GateOf, even, flags, list, want_flags};
use crate::caps::Caps;
use crate::error::{Result, shape_error};
use crate::ops::norm::{Tile, number, want_elem};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once, words_first};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// The router: a score for each token, `r = x · weight + bias`, and its gate, `g = alpha · f(r) + bias` (see [`Gate`]).
///
/// A NaN in a row makes NaN of its score and gate alone (of the gates of its sample with [`GateOf::Softmax`], where it is a
/// candidate; scores are to be finite there). What is no candidate has the gate `bias` with softmax; no op uses it.
///
/// # Errors
/// No features; `alpha` or the gate's bias not finite; a router of another width than x; target or valid with a gate that does not
/// ask for them; an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// F32, f16 or bf16, shape `[.., C]`; with softmax `[B, T, C]`.
    pub x: &'a Tensor,
    /// `[C]` or `[1, C]`, any floating storage.
    pub weight: &'a Tensor,
    /// One number, any floating storage; 0 where absent.
    pub bias: Option<&'a Tensor>,
    /// Of softmax: which tokens may be skipped. U8, `[B, T]`; all where absent.
    pub target: Option<&'a Tensor>,
    /// Of softmax: which tokens are not padding. U8, `[B, T]`; all where absent.
    pub valid: Option<&'a Tensor>,
    /// Receives the scores. F32, a number for each row of x.
    pub score: &'a Tensor,
    /// Receives the gates. F32, shape of the scores.
    pub gate: Option<&'a Tensor>,
    /// How a gate is made of a score.
    pub by: Gate,
}

impl<'a> Route<'a> {
    /// Scores alone, without a bias.
    pub fn new(x: &'a Tensor, weight: &'a Tensor, score: &'a Tensor) -> Self {
        Self { x, weight, bias: None, target: None, valid: None, score, gate: None, by: Gate::TANH_NORM }
    }
}

params! {
    /// The params of `shaders/depth/route.wgsl`.
    RouteParams {
        /// The grid's x.
        fold: u32,
        /// Rows of this dispatch.
        rows: u32,
        /// Numbers in a row.
        len: u32,
        /// First element of x.
        x0: u32,
        /// First element of the weight.
        weight0: u32,
        /// First element of the bias.
        bias0: u32,
        /// First element of the scores.
        score0: u32,
        /// First element of the gates.
        gates0: u32,
        /// Of the gate.
        alpha: f32,
        /// The gate's bias.
        add: f32,
    }
}

params! {
    /// The params of `shaders/depth/route_softmax.wgsl`.
    SoftmaxParams {
        /// The grid's x.
        fold: u32,
        /// Samples.
        samples: u32,
        /// Tokens of a sample.
        tokens: u32,
        /// First element of the scores.
        score0: u32,
        /// First element of the targets.
        target0: u32,
        /// First element of the flags of validity.
        valid0: u32,
        /// First element of the gates.
        gates0: u32,
        /// Of the gate.
        alpha: f32,
        /// The gate's bias.
        add: f32,
    }
}

/// The router with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteProblem {
    samples: u64,
    rows: u64,
    len: u64,
    of: GateOf,
    alpha: u32,
    add: u32,
    x: Layout,
    weight: Layout,
    bias: Option<Layout>,
    target: Option<Layout>,
    valid: Option<Layout>,
    score: Layout,
    gate: Option<Layout>,
}

const OP: &str = "mod_route";

impl Op for Route<'_> {
    type Problem = RouteProblem;

    fn problem(&self) -> Result<RouteProblem> {
        let Self { x, weight, bias, target, valid, score, gate, by } = *self;
        number(OP, "alpha", by.alpha, |_| true, "it must be a finite number")?;
        number(OP, "bias", by.bias, |_| true, "it must be a finite number")?;
        want_float(OP, "x", x)?;
        let (rows, len) = x.shape().rows(OP, "x")?;
        if len == 0 {
            return Err(shape_error!(OP, "x of shape {} has rows of no numbers", x.shape()));
        }
        want_float(OP, "weight", weight)?;
        if weight.shape().dims().last() != Some(&len) || weight.elements() != len {
            return Err(shape_error!(OP, "weight has shape {}, but x has {len} features", weight.shape()));
        }
        if let Some(bias) = bias {
            want_float(OP, "bias", bias)?;
            if bias.elements() != 1 {
                return Err(shape_error!(OP, "bias has shape {}, but a router has one", bias.shape()));
            }
        }
        for (name, tensor) in [("score", Some(score)), ("gate", gate)] {
            let Some(tensor) = tensor else { continue };
            want_elem(OP, name, tensor, Elem::F32, "f32")?;
            if tensor.elements() != rows {
                return Err(shape_error!(OP, "{name} has shape {}, but x has {rows} rows", tensor.shape()));
            }
        }
        let softmax = gate.is_some() && by.of == GateOf::Softmax;
        let mut samples = 1;
        if softmax {
            (samples, _) = super::tokens_of(OP, "score", score)?;
            want_flags(OP, &[("target", target), ("valid", valid)], ("score", score))?;
        } else if let Some((name, _)) = [("target", target), ("valid", valid)].iter().find(|(_, t)| t.is_some()) {
            return Err(shape_error!(OP, "{name} is given, but only gates by softmax ask for it"));
        }
        let layout = |t: Option<&Tensor>| t.map(Tensor::layout);
        // Without gates it is all the same what they are of.
        let by = if gate.is_some() { by } else { Gate::SCORE };
        Ok(RouteProblem {
            samples: samples as u64,
            rows: rows as u64,
            len: len as u64,
            of: by.of,
            alpha: by.alpha.to_bits(),
            add: by.bias.to_bits(),
            x: x.layout(),
            weight: weight.layout(),
            bias: layout(bias),
            target: layout(target),
            valid: layout(valid),
            score: score.layout(),
            gate: layout(gate),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![
            ("x", Some(self.x)),
            ("weight", Some(self.weight)),
            ("bias", self.bias),
            ("score", Some(self.score)),
            ("gate", self.gate),
            ("target", self.target),
            ("valid", self.valid),
        ]
    }
}

impl Problem for RouteProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        if self.rows == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        let mut plans = Vec::new();
        let f16 = [Some(self.x), Some(self.weight), self.bias].into_iter().flatten().any(|l| l.elem == Elem::F16);
        for means in Means::all(caps, f16) {
            plans.push(Plan::new(
                OP,
                means.name("row"),
                "lanes share a row: one read",
                self.steps(caps, means)?,
                Vec::new(),
            ));
        }
        words_first(caps, &mut plans);
        Ok(plans)
    }
}

impl RouteProblem {
    /// A step for each part of the rows that fits a binding, and the one of softmax.
    fn steps(&self, caps: &Caps, means: Means) -> Result<Vec<Step>> {
        let most = rows_at_once(OP, caps, self.rows, 1, (self.len * self.x.elem.bytes() as u64).max(4))?;
        let mut steps = Vec::new();
        for row0 in (0..self.rows).step_by(most as usize) {
            steps.push(self.step(caps, means, row0, most.min(self.rows - row0))?);
        }
        if let (GateOf::Softmax, Some(gate)) = (self.of, self.gate) {
            steps.push(self.softmax(caps, means, gate)?);
        }
        Ok(steps)
    }

    fn step(&self, caps: &Caps, means: Means, row0: u64, rows: u64) -> Result<Step> {
        let quads = self.len.is_multiple_of(4) && even([self.x, self.weight]);
        let loads = Loads { quads, native_f16: means.native_f16 };
        let mut step = Builder::new("depth/route", loads);
        let mut params = RouteParams {
            rows: rows as u32,
            len: self.len as u32,
            alpha: f32::from_bits(self.alpha),
            add: f32::from_bits(self.add),
            ..Default::default()
        };
        // Of a long row, as many turns as it takes.
        let tile = Tile::of(self.len, rows, caps);
        let tile = Tile { chunks: tile.chunks.min(4), ..tile };
        tile.set(&mut step);
        means.reduce(&mut step);
        let x = Part { operand: 0, layout: self.x, start: row0 * self.len, elements: rows * self.len };
        params.x0 = step.read("x", 1, Some(x), "slot/read/zero");
        params.weight0 = step.read("weight", 2, Some(Part::whole(1, self.weight)), "slot/read/zero");
        let bias = self.bias.map(|l| Part::whole(2, l));
        params.bias0 = step.read_as("bias", 3, bias, "slot/read/zero", Loads { quads: false, ..loads });
        let of_rows = |operand, layout| Part { operand, layout, start: row0, elements: rows };
        params.score0 = list(&mut step, "score", 4, Some(of_rows(3, self.score)));
        let gate = self.gate.filter(|_| self.of != GateOf::Softmax);
        params.gates0 = list(&mut step, "gates", 5, gate.map(|l| of_rows(4, l)));
        step.fill(
            "gate",
            match self.of {
                GateOf::None | GateOf::Softmax => "slot/gate/none",
                GateOf::Tanh => "slot/gate/tanh",
                GateOf::Sigmoid => "slot/gate/sigmoid",
            },
        );
        let grid = grid(OP, caps, rows.div_ceil(u64::from(tile.rows)))?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }

    fn softmax(&self, caps: &Caps, means: Means, gate: Layout) -> Result<Step> {
        rows_at_once(OP, caps, 1, 1, self.rows * 4)?;
        let mut step = Builder::new("depth/route_softmax", Loads { quads: false, native_f16: false });
        means.reduce(&mut step);
        let mut params = SoftmaxParams {
            samples: self.samples as u32,
            tokens: (self.rows / self.samples) as u32,
            alpha: f32::from_bits(self.alpha),
            add: f32::from_bits(self.add),
            ..Default::default()
        };
        params.score0 = step.bind(1, Part::whole(3, self.score), Access::Read);
        params.target0 = flags(&mut step, "target", 2, 5, self.target);
        params.valid0 = flags(&mut step, "valid", 3, 6, self.valid);
        params.gates0 = step.bind(5, Part::whole(4, gate), Access::Write);
        let grid = grid(OP, caps, self.samples)?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }
}
