//! Plans: what will run, as plain data.
//!
//! A [`Plan`] is made from a problem and [`Caps`](crate::Caps) without a GPU. It can be printed,
//! hashed and compared, and holds everything that [`dispatch`](crate::dispatch) needs.

use std::fmt;

use crate::tensor::Elem;

/// A value that a plan gives to a `#const`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Const {
    /// `u32`.
    U32(u32),
    /// `bool`.
    Bool(bool),
}

impl fmt::Display for Const {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U32(v) => write!(f, "{v}u"),
            Self::Bool(v) => write!(f, "{v}"),
        }
    }
}

/// A kernel with its slots filled and its constants set: the only cache key in the house.
///
/// Names are paths under `shaders/` without the ending.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PipelineKey {
    /// The kernel, such as `norm/row`.
    pub kernel: &'static str,
    /// Slot and filling, such as `("reduce", "slot/reduce/tree")`.
    pub fillings: Vec<(&'static str, &'static str)>,
    /// Constant and value.
    pub consts: Vec<(&'static str, Const)>,
}

impl fmt::Display for PipelineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kernel)?;
        for (slot, filling) in &self.fillings {
            write!(f, " {slot}={}", filling.strip_prefix("slot/").unwrap_or(filling))?;
        }
        for (name, value) in &self.consts {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

/// What a binding refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An operand of the op, by its place in [`Op::operands`](crate::ops::Op::operands).
    Operand(usize),
    /// A buffer of the dispatcher's arena, by number.
    Scratch(usize),
}

/// How a binding is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// One storage binding of a step. The params are always binding 0, a uniform with a dynamic offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bind {
    /// `@binding(n)` in group 0.
    pub binding: u32,
    /// What is bound.
    pub source: Source,
    /// How.
    pub access: Access,
    /// Where the binding begins in the *buffer*: a multiple of [`BIND_ALIGN_BYTES`].
    pub offset_bytes: u64,
    /// How long it is.
    pub size_bytes: u64,
}

/// Storage offsets are multiples of this on every device: the largest alignment that WebGPU lets a device ask for.
pub const BIND_ALIGN_BYTES: u64 = 256;

/// Where a step finds its grid when it runs: three words of a buffer, x, y and z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Indirect {
    /// The buffer, which must have usage `INDIRECT`.
    pub source: Source,
    /// Where the three words are in the *buffer*: a multiple of 4.
    pub offset_bytes: u64,
}

/// How the workgroups of a step follow from its rows: `⌈⌈rows / tile⌉ · times / each⌉`, the workgroups of the first rows being first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Groups {
    /// The row of the op with which the step begins.
    pub first: u64,
    /// The rows that it has at most.
    pub most: u64,
    /// Rows that are made together.
    pub tile: u64,
    /// Parts of each such tile.
    pub times: u64,
    /// Parts of a workgroup.
    pub each: u64,
}

impl Groups {
    /// The workgroups for so many of the step's rows. A tile or a workgroup has one at least.
    pub fn of(&self, rows: u64) -> u64 {
        (rows.div_ceil(self.tile.max(1)) * self.times).div_ceil(self.each.max(1))
    }
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What is compiled.
    pub key: PipelineKey,
    /// What is bound.
    pub binds: Vec<Bind>,
    /// The bytes of the kernel's params.
    pub params: Vec<u8>,
    /// Workgroups in x, y, z; the most that there may be where the grid is `indirect`.
    pub grid: [u32; 3],
    /// How the workgroups follow from the rows, of ops whose rows the device may count.
    pub groups: Option<Groups>,
    /// The grid is on the device.
    pub indirect: Option<Indirect>,
}

/// How to compute one problem on one device: steps that run one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The op.
    pub op: &'static str,
    /// Unique among the plans of its problem, such as `row/subgroup`.
    pub name: String,
    /// Why one would choose it, in a phrase.
    pub why: &'static str,
    /// What numbers are rounded to before they are multiplied, where that may be less than they are stored in. No plan but those by matrix
    /// units does it. Whoever judges its results must allow for it.
    pub operands: Option<Elem>,
    /// The dispatches; none where there is nothing to compute.
    pub steps: Vec<Step>,
    /// The bytes of each scratch buffer that the steps use.
    pub scratch_bytes: Vec<u64>,
}

impl Plan {
    /// A plan that takes operands as they are stored.
    pub(crate) fn new(
        op: &'static str,
        name: impl Into<String>,
        why: &'static str,
        steps: Vec<Step>,
        scratch_bytes: Vec<u64>,
    ) -> Self {
        Self { op, name: name.into(), why, operands: None, steps, scratch_bytes }
    }

    /// The one plan of a problem without numbers: no steps.
    pub(crate) fn empty(op: &'static str) -> Self {
        Self::new(op, "empty", "there is nothing to compute", Vec::new(), Vec::new())
    }

    /// The keys of all steps, for [`Dispatcher::warm`](crate::Dispatcher::warm).
    pub fn keys(&self) -> impl Iterator<Item = &PipelineKey> {
        self.steps.iter().map(|s| &s.key)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} by {} ({})", self.op, self.name, self.why)?;
        for step in &self.steps {
            let most = if step.indirect.is_some() { "up to " } else { "" };
            writeln!(f, "  {most}{:?} × {}", step.grid, step.key)?;
        }
        Ok(())
    }
}

/// A grid of at least `groups` workgroups, folded into y where x would pass the device's limit.
/// Kernels find their number by `id.x + id.y * fold` with `fold` the grid's x, and leave where it is not below their count.
pub fn fold(groups: u64, limit: u32) -> Option<[u32; 3]> {
    let limit = u64::from(limit);
    let y = groups.div_ceil(limit.max(1)).max(1);
    let x = groups.div_ceil(y).max(1);
    (y <= limit).then_some([x as u32, y as u32, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_folded_past_the_limit() {
        assert_eq!(fold(1, 65_535), Some([1, 1, 1]));
        assert_eq!((fold(1, 0), fold(0, 0)), (None, None));
        assert_eq!(fold(65_535, 65_535), Some([65_535, 1, 1]));
        assert_eq!(fold(65_536, 65_535), Some([32_768, 2, 1]));
        let [x, y, _] = fold(4_000_000_001, 65_535).unwrap_or_default();
        assert!(u64::from(x) * u64::from(y) >= 4_000_000_001);
        assert_eq!(fold(5_000_000_000, 65_535), None);
    }
}
