//! SimbaV2's step on the unit sphere.

use super::{NAIVE_ROW, REGISTER_ROW, Tile, number, same_shape};
use crate::caps::Caps;
use crate::error::{Result, shape_error};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// SimbaV2's residual step on the unit sphere, in one dispatch:
/// `y = l2n(x + alpha·gain ⊙ (l2n(scaler ⊙ h) − x))` along the last dimension, with `l2n(v) = v / max(‖v‖₂, eps)`.
///
/// `h` is the output of a block's second linear, `x` the stream. `alpha` is a scaler with a learned `s` and the constants
/// `init` and `scale`; give `s` as `alpha` and `init / scale` as `gain`. Where `h ≈ −x` and alpha is ½ the sum cancels.
///
/// Source: Lee et al., "Hyperspherical Normalization for Scalable Deep Reinforcement Learning" (arXiv 2502.15280) and the
/// authors' code.
///
/// # Errors
/// No features, `eps` negative or not finite, `gain` not finite, an operand of another shape or storage than is said at it.
#[derive(Clone, Copy, Debug)]
pub struct HypersphericalStep<'a> {
    /// F32, f16 or bf16, shape `[.., C]`.
    pub x: &'a Tensor,
    /// Shape of x, any floating storage.
    pub h: &'a Tensor,
    /// `[C]`.
    pub alpha: &'a Tensor,
    /// `[C]`, multiplies h; ones where absent.
    pub scaler: Option<&'a Tensor>,
    /// Shape of x, any floating storage.
    pub y: &'a Tensor,
    /// Multiplies alpha.
    pub gain: f32,
    /// No norm is taken smaller.
    pub eps: f32,
}

impl<'a> HypersphericalStep<'a> {
    /// Eps 1e-8, gain 1, no scaler on h.
    pub fn new(x: &'a Tensor, h: &'a Tensor, alpha: &'a Tensor, y: &'a Tensor) -> Self {
        Self { x, h, alpha, scaler: None, y, gain: 1.0, eps: 1e-8 }
    }
}

params! {
    /// The params of `shaders/norm/hypersphere.wgsl`.
    HypersphereParams {
        /// The grid's x.
        fold: u32,
        /// Rows of this dispatch.
        rows: u32,
        /// Numbers in a row.
        len: u32,
        /// First element of x.
        x0: u32,
        /// First element of h.
        h0: u32,
        /// First element of alpha.
        alpha0: u32,
        /// First element of the scaler.
        scaler0: u32,
        /// First element of y.
        y0: u32,
        /// As in the op.
        eps: f32,
        /// As in the op.
        gain: f32,
    }
}

/// The step with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HypersphereProblem {
    rows: u64,
    len: u64,
    eps: u32,
    gain: u32,
    x: Layout,
    h: Layout,
    alpha: Layout,
    scaler: Option<Layout>,
    y: Layout,
}

const OP: &str = "hyperspherical_step";

impl Op for HypersphericalStep<'_> {
    type Problem = HypersphereProblem;

    fn problem(&self) -> Result<HypersphereProblem> {
        number(OP, "eps", self.eps, |e| e >= 0.0, "it must be a number of at least 0")?;
        number(OP, "gain", self.gain, |_| true, "it must be a finite number")?;
        let (rows, len, (features, _)) = super::from_last(OP, "x", self.x)?;
        if len == 0 {
            return Err(shape_error!(OP, "x of shape {} has a normalised dimension of 0", self.x.shape()));
        }
        for (name, tensor) in [("x", self.x), ("h", self.h), ("y", self.y)] {
            want_float(OP, name, tensor)?;
            same_shape(OP, (name, tensor), ("x", self.x))?;
        }
        for (name, tensor) in [("alpha", Some(self.alpha)), ("scaler", self.scaler)] {
            let Some(tensor) = tensor else { continue };
            want_float(OP, name, tensor)?;
            if tensor.shape() != features {
                return Err(shape_error!(OP, "{name} has shape {}, but x has {len} features", tensor.shape()));
            }
        }
        Ok(HypersphereProblem {
            rows: rows as u64,
            len: len as u64,
            // As of norms: −0 is 0.
            eps: self.eps.abs().to_bits(),
            gain: self.gain.to_bits(),
            x: self.x.layout(),
            h: self.h.layout(),
            alpha: self.alpha.layout(),
            scaler: self.scaler.map(Tensor::layout),
            y: self.y.layout(),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![
            ("x", Some(self.x)),
            ("h", Some(self.h)),
            ("alpha", Some(self.alpha)),
            ("scaler", self.scaler),
            ("y", Some(self.y)),
        ]
    }
}

impl Problem for HypersphereProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let plan = |name, why, steps| Plan::new(OP, name, why, steps, Vec::new());
        if self.rows == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        let mut plans = Vec::new();
        let (kernel, why) = if self.len <= REGISTER_ROW {
            (Kernel::Registers, "both rows fit a workgroup's registers")
        } else {
            (Kernel::Wide, "rows too long for registers: three walks")
        };
        for means in Means::all(caps, self.layouts().any(|l| l.elem == Elem::F16)) {
            plans.push(plan(means.name(kernel.name()), why, self.steps(caps, means, kernel)?));
        }
        if self.len <= NAIVE_ROW {
            let steps = self.steps(caps, Means::BASELINE, Kernel::Naive)?;
            plans.push(plan("naive".into(), "one invocation a row, by the formula", steps));
        }
        Ok(plans)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kernel {
    Registers,
    Wide,
    Naive,
}

impl Kernel {
    fn name(self) -> &'static str {
        match self {
            Self::Registers => "row",
            Self::Wide => "wide",
            Self::Naive => "naive",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Registers => "norm/hypersphere",
            Self::Wide => "norm/hypersphere_wide",
            Self::Naive => "norm/hypersphere_naive",
        }
    }
}

impl HypersphereProblem {
    fn layouts(&self) -> impl Iterator<Item = Layout> {
        [Some(self.x), Some(self.h), Some(self.y), Some(self.alpha), self.scaler].into_iter().flatten()
    }

    fn steps(&self, caps: &Caps, means: Means, kernel: Kernel) -> Result<Vec<Step>> {
        let widest = self.layouts().map(|l| l.elem.bytes()).max().unwrap_or(4) as u64;
        let most = rows_at_once(OP, caps, self.rows, 1, self.len * widest)?;
        let aligned = self.layouts().all(|l| (l.offset_bytes / l.elem.bytes() as u64).is_multiple_of(4));
        let quads = kernel != Kernel::Naive && aligned && self.len.is_multiple_of(4);
        let loads = Loads { quads, native_f16: means.native_f16 };
        let mut steps = Vec::new();
        for row0 in (0..self.rows).step_by(most as usize) {
            let rows = most.min(self.rows - row0);
            let part = |operand, layout| Part { operand, layout, start: row0 * self.len, elements: rows * self.len };
            let mut step = Builder::new(kernel.file(), loads);
            let mut params = HypersphereParams {
                rows: rows as u32,
                len: self.len as u32,
                eps: f32::from_bits(self.eps),
                gain: f32::from_bits(self.gain),
                ..Default::default()
            };
            params.x0 = step.read("x", 1, Some(part(0, self.x)), "slot/read/zero");
            params.h0 = step.read("h", 2, Some(part(1, self.h)), "slot/read/zero");
            params.alpha0 = step.read("alpha", 3, Some(Part::whole(2, self.alpha)), "slot/read/zero");
            params.scaler0 = step.read("scaler", 4, self.scaler.map(|l| Part::whole(3, l)), "slot/read/one");
            params.y0 = step.write("y", 5, Some(part(4, self.y)));
            let rows_of_group = match kernel {
                Kernel::Registers => {
                    let tile = Tile::of(self.len, rows, caps);
                    tile.set(&mut step);
                    means.reduce(&mut step);
                    tile.rows
                }
                Kernel::Wide => {
                    means.reduce(&mut step);
                    1
                }
                Kernel::Naive => 64,
            };
            let groups = rows.div_ceil(u64::from(rows_of_group));
            let grid = grid(OP, caps, groups)?;
            params.fold = grid[0];
            steps.push(step.step(&params, grid));
        }
        Ok(steps)
    }
}
