//! Rows whose number only the device knows: dispatches whose grids it tells.
//!
//! [`Select`](crate::ops::depth::Select) writes how many rows there are into its `grids`, and an op that is given them runs for those
//! rows alone. Where a kernel takes a power of two of rows a workgroup its grid is there already; for others `depth/grids` makes the
//! grids of all of the plan's steps in one small dispatch before them. Kernels know nothing of it: their first workgroups have the first
//! rows, and fewer workgroups make fewer rows.

use crate::error::{Result, shape_error};
use crate::ops::depth::{GRIDS, GRIDS_FOLD, ROWS_GRID};
use crate::ops::norm::want_elem;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part};
use crate::plan::{Access, Groups, Indirect, Plan, Source, Step};
use crate::tensor::{Elem, Layout, Tensor};

params! {
    /// The grid of a step, in `depth/grids`.
    GridsStep {
        /// See [`Groups`].
        first: u32,
        /// See [`Groups`].
        most: u32,
        /// See [`Groups`].
        tile: u32,
        /// See [`Groups`].
        times: u32,
        /// See [`Groups`].
        each: u32,
        /// Where grids are folded.
        fold: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
    }
}

params! {
    /// The params of `depth/grids`, where each is explained.
    GridsParams {
        /// A step.
        s0: GridsStep,
        /// Another.
        s1: GridsStep,
        /// Another.
        s2: GridsStep,
        /// Another.
        s3: GridsStep,
        /// Another.
        s4: GridsStep,
        /// Another.
        s5: GridsStep,
        /// Another.
        s6: GridsStep,
        /// The word that has the rows.
        rows0: u32,
        /// Steps.
        count: u32,
        /// The first grid of this dispatch.
        first: u32,
        /// Nothing.
        pad: u32,
    }
}

/// Steps whose grids one dispatch makes.
const AT_ONCE: usize = 7;

/// What [`Select::grids`](crate::ops::depth::Select::grids) receives, as an operand.
pub(crate) fn check(op: &'static str, grids: Option<&Tensor>) -> Result<Option<Layout>> {
    let Some(grids) = grids else { return Ok(None) };
    want_elem(op, "grids", grids, Elem::U32, "u32")?;
    if grids.shape().dims() != [GRIDS, 3] {
        return Err(shape_error!(op, "grids has shape {}, but must have [{GRIDS}, 3]", grids.shape()));
    }
    Ok(Some(grids.layout()))
}

/// The steps of a plan take their grids from the device, where grids are given; they are this operand.
pub(crate) fn count(plan: &mut Plan, operand: usize, grids: Option<Layout>) {
    let Some(grids) = grids else { return };
    let scratch = Source::Scratch(plan.scratch_bytes.len());
    let mut made = Vec::new();
    for step in &mut plan.steps {
        let Some(groups) = step.groups else { continue };
        if let Some(entry) = entry(&groups) {
            let offset_bytes = grids.offset_bytes + entry * 12;
            step.indirect = Some(Indirect { source: Source::Operand(operand), offset_bytes });
        } else {
            step.indirect = Some(Indirect { source: scratch, offset_bytes: made.len() as u64 * 12 });
            let [first, most, tile, times, each] =
                [groups.first, groups.most, groups.tile, groups.times, groups.each].map(|n| n as u32);
            made.push(GridsStep { first, most, tile, times, each, fold: step.grid[0], ..Default::default() });
        }
    }
    if made.is_empty() {
        return;
    }
    let bytes = made.len() as u64 * 12;
    let before = made.chunks(AT_ONCE).enumerate();
    let before: Vec<_> =
        before.map(|(i, some)| before_steps(operand, grids, scratch, bytes, i * AT_ONCE, some)).collect();
    plan.scratch_bytes.push(bytes);
    plan.steps.splice(0..0, before);
}

/// The entry of the grids of a selection that is the grid of such a step. As far as it goes, no fold is needed.
fn entry(groups: &Groups) -> Option<u64> {
    let Groups { first, most, tile, times, each } = *groups;
    let rows = tile * each;
    let there = rows.is_power_of_two() && rows.ilog2() < ROWS_GRID as u32;
    (first == 0 && times == 1 && there && groups.of(most) <= GRIDS_FOLD.into()).then(|| rows.ilog2().into())
}

/// The step that makes grids of others.
fn before_steps(operand: usize, grids: Layout, scratch: Source, bytes: u64, first: usize, some: &[GridsStep]) -> Step {
    let mut step = Builder::new("depth/grids", Loads { quads: false, native_f16: false });
    let head = step.bind(1, Part::whole(operand, grids), Access::Read);
    if let Source::Scratch(number) = scratch {
        step.scratch(2, number, bytes, Access::Write);
    }
    let mut steps = [GridsStep::default(); AT_ONCE];
    steps[..some.len()].copy_from_slice(some);
    let [s0, s1, s2, s3, s4, s5, s6] = steps;
    let (rows0, count) = (head + ROWS_GRID as u32 * 3, some.len() as u32);
    step.step(&GridsParams { s0, s1, s2, s3, s4, s5, s6, rows0, count, first: first as u32, pad: 0 }, [1, 1, 1])
}
