//! Factors of rows and columns.

use super::{ANY, PrepareParams, one, output, vector};
use crate::caps::Caps;
use crate::error::{Error, Result};
use crate::ops::norm::number;
use crate::ops::step::{Builder, Part, grid};
use crate::ops::{Op, Operand, Problem};
use crate::plan::Plan;
use crate::tensor::{Layout, Tensor};

/// Which deviation a weight is standardised by: its implementations disagree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standard {
    /// `sqrt(var) + eps`, unbiased. Source: Qiao et al., "Weight Standardization", arXiv 1903.10520, whose code has eps = 1e-5.
    Outside(f32),
    /// `sqrt(var + eps)`, unbiased: that paper's later code on ImageNet, eps = 1e-5.
    Unbiased(f32),
    /// `sqrt(var + eps)`, biased: `StdConv2d` of timm, eps = 1e-6; with the factor `gamma/sqrt(K)`, its `ScaledStdConv2d`.
    Biased(f32),
    /// `sqrt(max(var·K, eps))`, biased. Source: Brock et al., "High-Performance Large-Scale Image Recognition Without
    /// Normalization", arXiv 2102.06171, whose code has eps = 1e-4.
    Scaled(f32),
}

/// How factors are made: `scale`, and beside it `shift`. Vectors are f32, f16 or bf16, of as many numbers as there are factors; those
/// of statistics are [`MatrixStats`](super::MatrixStats)'s.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// `scale = sqrt(squares + count·mean²)`: the L2 norm of `count` numbers.
    Norm {
        /// Means.
        mean: &'a Tensor,
        /// Squares about them.
        squares: &'a Tensor,
        /// Numbers of each.
        count: u32,
    },
    /// `scale = length / norm`, and 0 where the norm is 0.
    Unit {
        /// Means.
        mean: &'a Tensor,
        /// Squares about them.
        squares: &'a Tensor,
        /// Lengths; absent, 1.
        length: Option<&'a Tensor>,
        /// Numbers of each.
        count: u32,
    },
    /// `scale = gain·factor / deviation`, and 0 where the deviation is 0; `shift = mean`.
    Standard {
        /// Means.
        mean: &'a Tensor,
        /// Squares about them.
        squares: &'a Tensor,
        /// A gain for each; absent, 1.
        gain: Option<&'a Tensor>,
        /// Numbers of each.
        count: u32,
        /// What is the deviation.
        by: Standard,
        /// A gain for all.
        factor: f32,
    },
    /// `scale = over / under`, and 0 where under is 0.
    Ratio {
        /// Numerators; absent, 1.
        over: Option<&'a Tensor>,
        /// Denominators.
        under: &'a Tensor,
    },
    /// A norm of kept statistics, `x·scale + shift`: `scale = weight / sqrt(variance + eps)`, `shift = bias − mean·scale`.
    Affine {
        /// Variances, or second moments.
        variance: &'a Tensor,
        /// Means; absent, 0.
        mean: Option<&'a Tensor>,
        /// Weights; absent, 1.
        weight: Option<&'a Tensor>,
        /// Biases; absent, 0.
        bias: Option<&'a Tensor>,
        /// Added to variances.
        eps: f32,
    },
    /// `scale = sqrt(after / before)`, `shift = sqrt(before / after)`; 1 where either is no more than `least`.
    Equal {
        /// Ranges of channels where they are made.
        before: &'a Tensor,
        /// Ranges of the same channels where they are used.
        after: &'a Tensor,
        /// Ranges that are left alone.
        least: f32,
    },
    /// `scale = max(magnitude, least)^power`, `shift = 1 / scale`.
    Power {
        /// Mean magnitudes of channels.
        magnitude: &'a Tensor,
        /// The exponent.
        power: f32,
        /// The least that is taken to a power.
        least: f32,
    },
    /// `scale = magnitude + deviations·deviation`, of magnitudes, unbiased (0 of one number).
    Limit {
        /// Means.
        mean: &'a Tensor,
        /// Squares about them.
        squares: &'a Tensor,
        /// Mean magnitudes.
        magnitude: &'a Tensor,
        /// Numbers of each.
        count: u32,
        /// How many deviations.
        deviations: f32,
    },
}

/// A rule as the kernel has it: its filling, its vectors by name, what stands for those that are absent, its numbers.
struct Lowered<'a> {
    filling: &'static str,
    vectors: [(&'static str, Option<&'a Tensor>, &'static str); 4],
    numbers: [f32; 5],
}

const ZERO: &str = "slot/read/zero";
const ONE: &str = "slot/read/one";

impl<'a> Rule<'a> {
    fn lowered(&self) -> Lowered<'a> {
        let none = ("", None, ZERO);
        let all = |filling, vectors, numbers| Lowered { filling, vectors, numbers };
        match *self {
            Rule::Norm { mean, squares, count } => {
                let vectors = [("mean", Some(mean), ZERO), ("squares", Some(squares), ZERO), none, none];
                all("slot/factor/norm", vectors, [count as f32, 0.0, 0.0, 0.0, 0.0])
            }
            Rule::Unit { mean, squares, length, count } => {
                let vectors =
                    [("mean", Some(mean), ZERO), ("squares", Some(squares), ZERO), ("length", length, ONE), none];
                all("slot/factor/unit", vectors, [count as f32, 0.0, 0.0, 0.0, 0.0])
            }
            Rule::Standard { mean, squares, gain, count, by, factor } => {
                let (n, less) = (count as f32, (count as f32 - 1.0).max(1.0));
                let numbers = match by {
                    Standard::Outside(eps) => [less, 0.0, 0.0, eps, factor],
                    Standard::Unbiased(eps) => [less, eps, 0.0, 0.0, factor],
                    Standard::Biased(eps) => [n, eps, 0.0, 0.0, factor],
                    // The variance times the count.
                    Standard::Scaled(eps) => [1.0, 0.0, eps, 0.0, factor],
                };
                let vectors = [("mean", Some(mean), ZERO), ("squares", Some(squares), ZERO), ("gain", gain, ONE), none];
                all("slot/factor/standard", vectors, numbers)
            }
            Rule::Ratio { over, under } => {
                all("slot/factor/ratio", [("under", Some(under), ZERO), none, ("over", over, ONE), none], [0.0; 5])
            }
            Rule::Affine { variance, mean, weight, bias, eps } => {
                let vectors = [
                    ("variance", Some(variance), ZERO),
                    ("mean", mean, ZERO),
                    ("weight", weight, ONE),
                    ("bias", bias, ZERO),
                ];
                all("slot/factor/affine", vectors, [eps, 0.0, 0.0, 0.0, 0.0])
            }
            Rule::Equal { before, after, least } => {
                let vectors = [("before", Some(before), ZERO), ("after", Some(after), ZERO), none, none];
                all("slot/factor/equal", vectors, [least, 0.0, 0.0, 0.0, 0.0])
            }
            Rule::Power { magnitude, power, least } => {
                let vectors = [("magnitude", Some(magnitude), ZERO), none, none, none];
                all("slot/factor/power", vectors, [power, least, 0.0, 0.0, 0.0])
            }
            Rule::Limit { mean, squares, magnitude, count, deviations } => {
                let vectors = [
                    ("mean", Some(mean), ZERO),
                    ("squares", Some(squares), ZERO),
                    ("magnitude", Some(magnitude), ZERO),
                    none,
                ];
                all("slot/factor/limit", vectors, [count as f32, deviations, 0.0, 0.0, 0.0])
            }
        }
    }

    fn check(&self, op: &'static str) -> Result<()> {
        let eps = |name, v| number(op, name, v, |v| v >= 0.0, "it must be a number of at least 0");
        let finite = |name, v| number(op, name, v, f32::is_finite, "it must be a finite number");
        let counted = |count: u32, least: u32, rule| {
            if count < least {
                return Err(Error::Value { op, name: "count", value: count.to_string(), rule });
            }
            Ok(())
        };
        match *self {
            Rule::Norm { count, .. } | Rule::Unit { count, .. } => counted(count, 1, "it must be at least 1"),
            Rule::Standard { count, by, factor, .. } => {
                let (Standard::Outside(e) | Standard::Unbiased(e) | Standard::Biased(e) | Standard::Scaled(e)) = by;
                eps("eps", e)?;
                finite("factor", factor)?;
                match by {
                    Standard::Outside(_) | Standard::Unbiased(_) => {
                        counted(count, 2, "an unbiased variance needs at least 2")
                    }
                    _ => counted(count, 1, "it must be at least 1"),
                }
            }
            Rule::Ratio { .. } => Ok(()),
            Rule::Affine { eps: e, .. } => eps("eps", e),
            Rule::Equal { least, .. } => eps("least", least),
            Rule::Power { power, least, .. } => {
                number(op, "power", power, |v| v.abs() <= 8.0, "it must be a number from -8 to 8")?;
                number(op, "least", least, |v| v > 0.0, "it must be a number above 0")
            }
            Rule::Limit { count, deviations, .. } => {
                counted(count, 1, "it must be at least 1")?;
                eps("deviations", deviations)
            }
        }
    }
}

/// Two numbers for each row or column, by a rule.
///
/// # Errors
/// A vector of another length or not of floats; outputs that are not f32 of this length; a number outside its range.
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a> {
    /// The rule, and what it needs.
    pub rule: Rule<'a>,
    /// F32, `[count]`.
    pub scale: &'a Tensor,
    /// The rule's other number: f32, `[count]`.
    pub shift: Option<&'a Tensor>,
}

/// Factors with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FactorsProblem {
    count: u64,
    filling: &'static str,
    numbers: [u32; 5],
    vectors: [(Option<Layout>, &'static str); 4],
    scale: Layout,
    shift: Option<Layout>,
}

impl Op for Factors<'_> {
    type Problem = FactorsProblem;

    fn problem(&self) -> Result<FactorsProblem> {
        let op = "scale_factors";
        let count = self.scale.elements() as u64;
        output(op, "scale", self.scale, count, "it must be a vector of")?;
        if let Some(shift) = self.shift {
            output(op, "shift", shift, count, "scale has")?;
        }
        self.rule.check(op)?;
        let Lowered { filling, vectors, numbers } = self.rule.lowered();
        for (name, tensor, _) in vectors {
            if let Some(tensor) = tensor {
                vector(op, name, tensor, count, "scale has")?;
            }
        }
        Ok(FactorsProblem {
            count,
            filling,
            numbers: numbers.map(f32::to_bits),
            vectors: vectors.map(|(_, tensor, absent)| (tensor.map(Tensor::layout), absent)),
            scale: self.scale.layout(),
            shift: self.shift.map(Tensor::layout),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let mut list: Vec<Operand<'_>> =
            self.rule.lowered().vectors.iter().map(|(name, tensor, _)| (*name, *tensor)).collect();
        list.extend([("scale", Some(self.scale)), ("shift", self.shift)]);
        list
    }
}

impl Problem for FactorsProblem {
    fn op(&self) -> &'static str {
        "scale_factors"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let mut steps = Vec::new();
        if self.count > 0 {
            let mut step = Builder::new("prepare/factors", ANY);
            let [p0, p1, p2, p3, p4] = self.numbers.map(f32::from_bits);
            let mut params = PrepareParams { n: self.count as u32, p0, p1, p2, p3, p4, width: 1, ..Default::default() };
            let mut at = [0; 4];
            for (i, slot) in ["a", "b", "c", "d"].into_iter().enumerate() {
                let (layout, absent) = self.vectors[i];
                at[i] = step.read(slot, 1 + i as u32, layout.map(|l| Part::whole(i, l)), absent);
            }
            [params.at1, params.at2, params.at3, params.at4] = at;
            params.at5 = step.write("scale", 5, Some(Part::whole(4, self.scale)));
            params.at6 = step.write("shift", 6, self.shift.map(|l| Part::whole(5, l)));
            step.fill("factor", self.filling);
            let grid = grid(self.op(), caps, self.count.div_ceil(64))?;
            params.fold = grid[0];
            steps.push(step.step(&params, grid));
        }
        Ok(one(self.op(), "one lane a number", steps))
    }
}
