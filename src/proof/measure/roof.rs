//! The roof: what this device does at best, by kernels that do nothing else.

use std::collections::BTreeMap;

use super::{Effort, Stopwatch, Timer, measure};
use crate::caps::{Caps, DeviceKind, MatrixUnits};
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result, shape_error};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan, fold};
use crate::proof::run::side_by_side;
use crate::tensor::{Elem, Layout, Tensor};

/// What this device does at best, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Roof {
    /// Copies of several sizes: bytes moved (half are read, half written), and GB/s (1e9 bytes). Each turns through
    /// buffers as the cases do, so that small ones show what a dispatch costs.
    pub copies: Vec<(u64, f64)>,
    /// The best of the copies that move 64 MiB or more, which no dispatch's own cost holds back.
    pub copy_gb_s: f64,
    /// f32 multiply-adds, two operations each, in GFLOP/s.
    pub fma_gflop_s: f64,
    /// The same in f16, where the device has it.
    pub f16_gflop_s: Option<f64>,
    /// Multiply-adds of matrix units, f16 with f32 sums, where the device has such.
    pub matrix_gflop_s: Option<f64>,
    /// Packed int8 dot products, eight operations each, in GOP/s; where the device takes them.
    pub dot_gop_s: Option<f64>,
    /// How the time was told.
    pub timer: Timer,
}

impl Roof {
    /// The rate of what the plan of this name computes with: matrix units, products of int8, or else f32.
    pub fn rate_of(&self, plan: &str) -> f64 {
        let special = match () {
            () if plan.contains("_coop") => self.matrix_gflop_s,
            () if plan.contains("_dot") => self.dot_gop_s,
            () => None,
        };
        special.unwrap_or(self.fma_gflop_s)
    }

    /// The larger of the fractions that a run reaches of the bandwidth and of a rate ([`Roof::rate_of`]).
    pub fn fraction(&self, bytes: u64, flops: u64, us: f64, rate: f64) -> f64 {
        let gb_s = bytes as f64 / us / 1e3;
        let gflop_s = flops as f64 / us / 1e3;
        (gb_s / self.copy_gb_s).max(gflop_s / rate)
    }

    /// GB/s of a copy that moves so many bytes, between those that were measured: what a dispatch of that size can reach.
    pub fn copy_of(&self, bytes: u64) -> f64 {
        let at = |i: usize| self.copies.get(i).map_or((1.0, self.copy_gb_s), |(b, g)| ((*b as f64).log2(), *g));
        let above = self.copies.iter().position(|(b, _)| *b >= bytes).unwrap_or(self.copies.len().saturating_sub(1));
        let ((low, below), (high, over)) = (at(above.saturating_sub(1)), at(above));
        if high <= low {
            return over;
        }
        below + (over - below) * (((bytes.max(1) as f64).log2() - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// Bytes moved by the copies.
const COPIES: [u64; 5] = [1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20];

/// Copies of at least so many bytes make the roof.
const LARGE: u64 = 64 << 20;

/// Measures the roof.
///
/// # Errors
/// What the dispatcher says: no memory, a lost device, a shader that the device rejects.
pub async fn roof(gpu: &Dispatcher, effort: &Effort) -> Result<Roof> {
    let mut stopwatch = Stopwatch::new(gpu)?;
    // Memory that was never written may be one page of zeros many times over, or compressed.
    let most = (effort.rotate_bytes.max(LARGE) / 2).min(gpu.caps().storage_binding_bytes).min(gpu.caps().buffer_bytes);
    let sizes: Vec<u64> = COPIES.into_iter().filter(|bytes| bytes / 2 <= most).collect();
    let noise = noise(sizes.last().map_or(0, |bytes| bytes / 2 / 4) as usize);

    // The best shape is found at the size that decides, and kept for the others.
    let decisive = decisive(&sizes);
    let best = best_copy(gpu, &mut stopwatch, effort, &noise, decisive).await?;
    let mut copies = Vec::with_capacity(sizes.len());
    for bytes in sizes {
        let gb_s =
            if bytes == decisive { best.0 } else { copy(gpu, &mut stopwatch, effort, &noise, bytes, best.1).await? };
        copies.push((bytes, gb_s));
    }
    let copy_gb_s = copies.iter().filter(|(b, _)| *b >= LARGE.min(decisive)).map(|(_, g)| *g).fold(0.0, f64::max);

    let fma_gflop_s = rate(gpu, &mut stopwatch, effort, Number::F32).await?;
    let f16_gflop_s = match gpu.caps().f16 {
        true => Some(rate(gpu, &mut stopwatch, effort, Number::F16).await?),
        false => None,
    };
    #[cfg(not(target_arch = "wasm32"))]
    let matrix_gflop_s = match gpu.caps().matrix_units() {
        Some(units) => Some(rate(gpu, &mut stopwatch, effort, Number::Matrix(units)).await?),
        None => None,
    };
    // No browser has such units.
    #[cfg(target_arch = "wasm32")]
    let matrix_gflop_s = None;
    let dot_gop_s = match gpu.caps().int8_products {
        true => Some(rate(gpu, &mut stopwatch, effort, Number::Dot).await?),
        false => None,
    };
    Ok(Roof { copies, copy_gb_s, fma_gflop_s, f16_gflop_s, matrix_gflop_s, dot_gop_s, timer: stopwatch.timer() })
}

/// The best copy measured once more, as a part of what it was: far from 1 where the device did other work meanwhile, so that
/// fractions of the roof mean little.
///
/// # Errors
/// As [`roof`].
pub async fn steadiness(gpu: &Dispatcher, roof: &Roof, effort: &Effort) -> Result<f64> {
    let sizes: Vec<u64> = roof.copies.iter().map(|(bytes, _)| *bytes).collect();
    let bytes = decisive(&sizes);
    let noise = noise((bytes / 2 / 4) as usize);
    let (gb_s, _) = best_copy(gpu, &mut Stopwatch::new(gpu)?, effort, &noise, bytes).await?;
    Ok(gb_s / roof.copy_of(bytes))
}

/// The first of the large sizes, or else the largest.
fn decisive(sizes: &[u64]) -> u64 {
    sizes.iter().copied().find(|b| *b >= LARGE).or(sizes.last().copied()).unwrap_or_default()
}

/// GB/s and the name of the best shape.
async fn best_copy(
    gpu: &Dispatcher,
    stopwatch: &mut Stopwatch,
    effort: &Effort,
    noise: &[u32],
    bytes: u64,
) -> Result<(f64, &'static str)> {
    let mut best = (0.0, SHAPES[0].0);
    for (shape, ..) in SHAPES {
        let gb_s = copy(gpu, stopwatch, effort, noise, bytes, shape).await?;
        if gb_s > best.0 {
            best = (gb_s, shape);
        }
    }
    Ok(best)
}

/// GB/s of a copy that moves so many bytes.
async fn copy(
    gpu: &Dispatcher,
    stopwatch: &mut Stopwatch,
    effort: &Effort,
    noise: &[u32],
    bytes: u64,
    shape: &str,
) -> Result<f64> {
    let words = (bytes / 2 / 4) as usize;
    let x = gpu.upload_bytes(bytemuck::cast_slice(&noise[..words]), [words], Elem::U32)?;
    let tensors = BTreeMap::from([("x".to_owned(), x), ("y".to_owned(), gpu.zeros([words], Elem::U32)?)]);
    let sets = side_by_side(gpu, &tensors, effort, 0)?;
    drop(tensors);
    let mut turn = sets.iter().cycle();
    let [us, ..] = measure(stopwatch, effort, &mut |recorder| match turn.next() {
        Some(set) => recorder.run_plan(Copy { x: &set["x"], y: &set["y"] }, shape),
        None => Ok(()),
    })
    .await?;
    Ok(bytes as f64 / us / 1e3)
}

/// Operations that a lane makes in a round of the rate kernels that compute with numbers.
const LANE_ROUND: u64 = 128;
/// Products of matrices that a subgroup makes in a round.
const MATRIX_ROUND: u64 = 8;
/// Lanes of their workgroups.
const LANES: u64 = 256;

/// 1e9 operations a second.
async fn rate(gpu: &Dispatcher, stopwatch: &mut Stopwatch, effort: &Effort, number: Number) -> Result<f64> {
    // A dispatch of about 2 ms: first more rounds, then more workgroups, from a size that a software device does soon.
    let (mut groups, mut rounds) = (64, 16);
    let probe = gpu.zeros([(groups * LANES * 4) as usize], Elem::F32)?;
    gpu.warm(&Rate { number, rounds, y: &probe }.problem()?.plans(gpu.caps())?).await?;
    let short = Effort { sample_ms: 1.0, samples: 3, ..effort.clone() };
    let [us, ..] = measure(stopwatch, &short, &mut |r| r.run(Rate { number, rounds, y: &probe })).await?;
    let more = (2e3 / us).max(1.0);
    let more_rounds = more.min(16.0);
    rounds = (f64::from(rounds) * more_rounds) as u32;
    groups = (groups as f64 * (more / more_rounds)).min(8192.0) as u64;
    // Software devices gain nothing from more workgroups than processors, and a grid costs them time.
    if gpu.caps().kind == DeviceKind::Cpu {
        groups = groups.min(256);
    }
    let y = gpu.zeros([(groups * LANES * 4) as usize], Elem::F32)?;
    let [us, ..] = measure(stopwatch, effort, &mut |r| r.run(Rate { number, rounds, y: &y })).await?;
    let operations = groups * LANES * u64::from(rounds) * number.lane_round();
    Ok(operations as f64 / us / 1e3)
}

/// Words without any order (splitmix64).
pub(super) fn noise(words: usize) -> Vec<u32> {
    let mut state = 0u64;
    let next = |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    };
    (0..words).map(next).collect()
}

/// `y = x`, by plans that differ in their shape: the roof of all that moves bytes.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// Any storage; its bytes are a multiple of 16.
    pub x: &'a Tensor,
    /// As x.
    pub y: &'a Tensor,
}

/// What [`Rate`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// f32 multiply-adds.
    F32,
    /// f16 multiply-adds.
    F16,
    /// Dot products of four int8 each.
    Dot,
    /// Products of matrices by these units.
    Matrix(MatrixUnits),
}

impl Number {
    /// Operations of a lane in a round: a product of matrices is `2·size³` of a subgroup.
    fn lane_round(self) -> u64 {
        match self {
            Self::Matrix(units) => MATRIX_ROUND * 2 * u64::from(units.size).pow(3) / u64::from(units.subgroup),
            _ => LANE_ROUND,
        }
    }
}

/// Multiply-adds in registers: the roof of all that computes.
#[derive(Clone, Copy, Debug)]
pub struct Rate<'a> {
    /// What is counted.
    pub number: Number,
    /// Rounds of 128 operations a lane, or of 8 products a subgroup.
    pub rounds: u32,
    /// F32; each lane writes four numbers.
    pub y: &'a Tensor,
}

/// `sum = x + residual`, rounded to the storage of the sum: what a fused norm saves.
#[derive(Clone, Copy, Debug)]
pub struct Add<'a> {
    /// F32, f16 or bf16; a multiple of four elements.
    pub x: &'a Tensor,
    /// As x.
    pub residual: &'a Tensor,
    /// As x.
    pub sum: &'a Tensor,
}

params! {
    /// The params of the kernels under `shaders/roof/`: see `lib/roof.wgsl`.
    RoofParams {
        /// The grid's x.
        fold: u32,
        /// Vec4s.
        count: u32,
        /// Rounds of a rate kernel.
        rounds: u32,
        /// Four int8 numbers.
        word: u32,
        /// What floats are multiplied by.
        scale: f32,
        /// What is added to them.
        shift: f32,
    }
}

/// A kernel of the roof with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoofProblem {
    /// [`struct@Copy`]: x and y.
    Copy([Layout; 2]),
    /// [`Rate`]: what is counted, the rounds, and y.
    Rate(Number, u32, Layout),
    /// [`Add`]: x, the residual and the sum.
    Add([Layout; 3]),
}

/// The shapes of copies: name, lanes of a workgroup, vec4s of a lane.
const SHAPES: [(&str, u32, u32); 4] = [("256x1", 256, 1), ("256x4", 256, 4), ("64x1", 64, 1), ("64x4", 64, 4)];

/// Tensors whose elements are the same in number and lie in whole vec4s from a multiple of 256 bytes on.
fn aligned<const N: usize>(op: &'static str, tensors: [(&'static str, &Tensor); N], bytes: u64) -> Result<[Layout; N]> {
    let (first, x) = tensors[0];
    for (name, tensor) in tensors {
        if tensor.bytes() != x.bytes() || tensor.elem() != x.elem() {
            return Err(shape_error!(op, "{name} has {} bytes, but {first} has {}", tensor.bytes(), x.bytes()));
        }
        if !tensor.bytes().is_multiple_of(bytes) || !tensor.offset_bytes().is_multiple_of(256) {
            return Err(shape_error!(op, "{name} has bytes that are not whole vec4s from a multiple of 256 on"));
        }
    }
    Ok(tensors.map(|(_, t)| t.layout()))
}

impl Op for Copy<'_> {
    type Problem = RoofProblem;

    fn problem(&self) -> Result<RoofProblem> {
        Ok(RoofProblem::Copy(aligned("copy", [("x", self.x), ("y", self.y)], 16)?))
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("x", Some(self.x)), ("y", Some(self.y))]
    }
}

impl Op for Rate<'_> {
    type Problem = RoofProblem;

    fn problem(&self) -> Result<RoofProblem> {
        let [y] = aligned("rate", [("y", self.y)], 16)?;
        Ok(RoofProblem::Rate(self.number, self.rounds, y))
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("y", Some(self.y))]
    }
}

impl Op for Add<'_> {
    type Problem = RoofProblem;

    fn problem(&self) -> Result<RoofProblem> {
        let bytes = 4 * self.x.elem().bytes() as u64;
        let tensors = [("x", self.x), ("residual", self.residual), ("sum", self.sum)];
        tensors.iter().try_for_each(|(name, t)| crate::tensor::want_float("add", name, t))?;
        Ok(RoofProblem::Add(aligned("add", tensors, bytes)?))
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("x", Some(self.x)), ("residual", Some(self.residual)), ("sum", Some(self.sum))]
    }
}

impl Problem for RoofProblem {
    fn op(&self) -> &'static str {
        match self {
            Self::Copy(_) => "copy",
            Self::Rate(..) => "rate",
            Self::Add(_) => "add",
        }
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        match *self {
            Self::Copy(layouts) => {
                let plan = |(name, lanes, chunks): (&str, u32, u32)| {
                    let mut step = Builder::new("roof/copy", Loads { quads: true, native_f16: false });
                    step.set("LANES", Const::U32(lanes));
                    step.set("CHUNKS", Const::U32(chunks));
                    step.bind(1, Part::whole(0, layouts[0]), Access::Read);
                    step.bind(2, Part::whole(1, layouts[1]), Access::Write);
                    let bytes = layouts[0].elements * layouts[0].elem.bytes() as u64;
                    self.plan_of(caps, name.into(), step, bytes / 16, u64::from(lanes * chunks), 0)
                };
                SHAPES.into_iter().map(plan).collect()
            }
            Self::Rate(number, rounds, y) => {
                let kernel = match number {
                    Number::F32 | Number::F16 => "roof/fma",
                    Number::Dot => "roof/dot",
                    Number::Matrix(_) => "roof/matrix",
                };
                let mut step = Builder::new(kernel, Loads { quads: true, native_f16: true });
                let name = match number {
                    Number::F32 => "f32",
                    Number::F16 => "f16",
                    Number::Dot => "dot",
                    Number::Matrix(_) => "matrix",
                };
                match number {
                    Number::F32 => step.fill("number", "slot/number/f32"),
                    Number::F16 if !caps.f16 => return Err(Error::Missing { op: "rate", capability: "f16" }),
                    Number::F16 => step.fill("number", "slot/number/f16"),
                    Number::Dot => {}
                    Number::Matrix(units) => {
                        step.fill("matrix", units.filling());
                        step.set("SUBGROUP", Const::U32(units.subgroup));
                    }
                }
                step.bind(1, Part::whole(0, y), Access::Write);
                Ok(vec![self.plan_of(caps, name.into(), step, y.elements / 4, LANES, rounds)?])
            }
            Self::Add(layouts) => {
                let native: &[bool] = if caps.f16 && layouts[0].elem == Elem::F16 { &[true, false] } else { &[false] };
                let plan = |native_f16: &bool| {
                    let mut step = Builder::new("roof/add", Loads { quads: true, native_f16: *native_f16 });
                    step.read("x", 1, Some(Part::whole(0, layouts[0])), "");
                    step.read("residual", 2, Some(Part::whole(1, layouts[1])), "");
                    step.write("sum", 3, Some(Part::whole(2, layouts[2])));
                    let name = if *native_f16 { "elementwise/f16" } else { "elementwise" };
                    self.plan_of(caps, name.into(), step, layouts[0].elements / 4, LANES, 0)
                };
                native.iter().map(plan).collect()
            }
        }
    }
}

impl RoofProblem {
    /// The one-step plan of `count` vec4s, `by_group` for each workgroup.
    fn plan_of(
        &self,
        caps: &Caps,
        name: String,
        step: Builder,
        count: u64,
        by_group: u64,
        rounds: u32,
    ) -> Result<Plan> {
        let groups = count.div_ceil(by_group);
        let have = u64::from(caps.workgroups).pow(2);
        let grid = fold(groups, caps.workgroups).ok_or(Error::Limit {
            op: self.op(),
            limit: "workgroups",
            need: groups,
            have,
        })?;
        // Chains of multiply-adds settle at 1, so that none runs away.
        let (scale, shift) = (0.75, 0.25);
        let params = RoofParams { fold: grid[0], count: count as u32, rounds, word: 0x0102_0304, scale, shift };
        let steps = if count == 0 { Vec::new() } else { vec![step.step(&params, grid)] };
        Ok(Plan::new(self.op(), name, "nothing but what is measured", steps, Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_between_two_sizes_lies_between_them() {
        let roof = Roof {
            copies: vec![(1 << 20, 10.0), (4 << 20, 20.0)],
            copy_gb_s: 20.0,
            fma_gflop_s: 100.0,
            f16_gflop_s: None,
            matrix_gflop_s: None,
            dot_gop_s: None,
            timer: Timer::Slope,
        };
        assert_eq!([1, 1 << 20, 2 << 20, 4 << 20, 1 << 30].map(|b| roof.copy_of(b)), [10.0, 10.0, 15.0, 20.0, 20.0]);
        assert_eq!(roof.fraction(20_000, 1, 2.0, 100.0), 0.5);
        assert_eq!(roof.fraction(1, 200_000, 2.0, 100.0), 1.0);
        assert_eq!(roof.fraction(1, 200_000, 2.0, 400.0), 0.25);
        let roof = Roof { matrix_gflop_s: Some(800.0), ..roof };
        assert_eq!(
            ["tiled_coop/64x64", "gemv_dot/tree", "naive"].map(|plan| roof.rate_of(plan)),
            [800.0, 100.0, 100.0]
        );
    }
}
