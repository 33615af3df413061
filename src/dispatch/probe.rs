//! Finding out whether subgroups are what `slot/reduce/subgroup.wgsl` takes them for, and matrix units what `linear/tiled_coop.wgsl` takes them
//! for, by using them.

use crate::caps::{Caps, MatrixUnits, Subgroups};
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan};
use crate::tensor::{Elem, Layout, Tensor};

/// The invocations of a workgroup, the most that the baseline allows.
const LANE_COUNT: u32 = 256;
/// More than run at once on most devices, so that it is not always the same part of the device that answers.
const WORKGROUPS: u32 = 64;

/// Sums over rows of lanes through `slot/reduce/subgroup.wgsl`, of numbers that tell lanes apart.
#[derive(Clone, Copy, Debug)]
pub struct SubgroupProbe<'a> {
    /// U32, `[workgroups, 256, 4]`: what each lane got.
    pub sums: &'a Tensor,
    /// Lanes that share a row, a power of two up to 256.
    pub lanes: u32,
    /// The size up to which lanes shuffle: a power of two.
    pub size: u32,
    /// Makes the numbers different from one run to the next.
    pub seed: u32,
}

/// Products of matrices of whole numbers that tell places apart, one for each subgroup.
#[derive(Clone, Copy, Debug)]
pub struct MatrixProbe<'a> {
    /// F32, `[workgroups, 4, size, size]`: what each place got.
    pub sums: &'a Tensor,
    /// The units. Matrices are of 8 or 16 rows and columns.
    pub units: MatrixUnits,
    /// Makes the numbers different from one run to the next.
    pub seed: u32,
}

params! {
    /// The params of `shaders/probe/subgroup.wgsl` and `shaders/probe/matrix.wgsl`.
    ProbeParams {
        /// As in the op.
        seed: u32,
    }
}

/// The probe with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeProblem {
    sums: Layout,
    workgroups: u32,
    lanes: u32,
    size: u32,
    seed: u32,
}

const OP: &str = "subgroup_probe";

impl Op for SubgroupProbe<'_> {
    type Problem = ProbeProblem;

    fn problem(&self) -> Result<ProbeProblem> {
        let power = |name, value: u32, most: u32| {
            let rule = "it must be a power of two, and lanes at most 256";
            let fits = value.is_power_of_two() && value <= most;
            if fits { Ok(()) } else { Err(Error::Value { op: OP, name, value: value.to_string(), rule }) }
        };
        power("lanes", self.lanes, LANE_COUNT)?;
        power("size", self.size, u32::MAX)?;
        let workgroups = (self.sums.elements() / (LANE_COUNT as usize * 4)) as u32;
        Ok(ProbeProblem { sums: self.sums.layout(), workgroups, lanes: self.lanes, size: self.size, seed: self.seed })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("sums", Some(self.sums))]
    }
}

impl Problem for ProbeProblem {
    fn op(&self) -> &'static str {
        OP
    }

    /// One plan, whatever the caps say: it is there to find out what they may say.
    fn plans(&self, _: &Caps) -> Result<Vec<Plan>> {
        let mut step = Builder::new("probe/subgroup", Loads { quads: false, native_f16: false });
        step.set("LANES", Const::U32(self.lanes));
        step.set("ROWS", Const::U32(LANE_COUNT / self.lanes));
        step.set("SUBGROUP", Const::U32(self.size));
        step.fill("reduce", "slot/reduce/subgroup");
        step.bind(1, Part::whole(0, self.sums), Access::Write);
        let step = step.step(&ProbeParams { seed: self.seed }, [self.workgroups, 1, 1]);
        let why = "it is the only one";
        Ok(vec![Plan::new(OP, "probe", why, vec![step], Vec::new())])
    }
}

/// The probe with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixProbeProblem {
    sums: Layout,
    workgroups: u32,
    units: MatrixUnits,
    seed: u32,
}

const MATRIX_OP: &str = "matrix_probe";
/// Subgroups of a workgroup.
const SUBGROUPS: u32 = 4;

impl Op for MatrixProbe<'_> {
    type Problem = MatrixProbeProblem;

    fn problem(&self) -> Result<MatrixProbeProblem> {
        let wrong = |name, value: u32, rule| Error::Value { op: MATRIX_OP, name, value: value.to_string(), rule };
        let MatrixUnits { size, subgroup, .. } = self.units;
        if ![8, 16].contains(&size) {
            return Err(wrong("size", size, "it must be 8 or 16"));
        }
        if !subgroup.is_power_of_two() || subgroup > 128 {
            return Err(wrong("subgroup", subgroup, "it must be a power of two, at most 128"));
        }
        let workgroups = (self.sums.elements() / (SUBGROUPS * size * size) as usize) as u32;
        Ok(MatrixProbeProblem { sums: self.sums.layout(), workgroups, units: self.units, seed: self.seed })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("sums", Some(self.sums))]
    }
}

impl Problem for MatrixProbeProblem {
    fn op(&self) -> &'static str {
        MATRIX_OP
    }

    /// One plan, whatever the caps say: it is there to find out what they may say.
    fn plans(&self, _: &Caps) -> Result<Vec<Plan>> {
        let mut step = Builder::new("probe/matrix", Loads { quads: false, native_f16: false });
        step.set("SUBGROUP", Const::U32(self.units.subgroup));
        step.set("SUBGROUPS", Const::U32(SUBGROUPS));
        step.fill("matrix", self.units.filling());
        step.bind(1, Part::whole(0, self.sums), Access::Write);
        let step = step.step(&ProbeParams { seed: self.seed }, [self.workgroups, 1, 1]);
        Ok(vec![Plan::new(MATRIX_OP, "probe", "it is the only one", vec![step], Vec::new())])
    }
}

/// What each place must get: the shader's formula.
fn wanted_sums(probe: &MatrixProbe<'_>, places: usize) -> Vec<f32> {
    let size = probe.units.size as usize;
    let number = |at: usize| (at as u32 + 1).wrapping_mul(0x9e37_79b1) ^ probe.seed;
    let a = |at| i64::from(number(at) >> 24) - 128;
    let b = |at| i64::from((number(at) >> 16) & 255) - 128;
    let of = |place: usize| {
        let (row, col) = (place / size, place / size / size * size + place % size);
        let products: i64 = (0..size).map(|k| a(row * size + k) * b(col * size + k)).sum();
        (products + i64::from(number(place) & 0xf_ffff)) as f32
    };
    (0..places).map(of).collect()
}

/// What each lane must get: the shader's formula.
fn wanted(probe: &SubgroupProbe<'_>, words: usize) -> Vec<u32> {
    let lanes = probe.lanes as usize;
    let value = |at: usize| (at as u32 + 1).wrapping_mul(0x9e37_79b1) ^ probe.seed;
    let row = |row: usize| {
        let values = (row * lanes..(row + 1) * lanes).map(value);
        let sums = values.fold([0; 4], |s, x| [s[0] + (x & 0xffff), s[1] + (x >> 16), s[2].max(x), 0]);
        std::iter::repeat_n(sums, lanes).flatten()
    };
    (0..words / 4 / lanes).flat_map(row).collect()
}

impl Dispatcher {
    /// True where subgroups of these sizes do on this device what our kernels take for granted: the lanes of a
    /// one-dimensional workgroup lie in subgroups in their order, and each reaches the others of its subgroup. It
    /// compiles a kernel, runs it, and compares what every lane got.
    ///
    /// Where [`Caps::subgroups`] comes from the driver this need not be asked. In a browser [`Dispatcher::request`] asks; it is
    /// public for those who own a device there.
    ///
    /// # Errors
    /// A shader that the device rejects, which is how a device without subgroups answers; no memory; a lost device.
    pub async fn proves(&self, sizes: Subgroups) -> Result<bool> {
        if !(4..=128).contains(&sizes.min) || !sizes.min.is_power_of_two() || sizes.max < sizes.min {
            return Ok(false);
        }
        // Rows of one subgroup, as long rows have after the first shuffles; whole workgroups; and two rows in a subgroup.
        for lanes in [sizes.min, LANE_COUNT, sizes.min / 2] {
            let sums = self.zeros([WORKGROUPS as usize, LANE_COUNT as usize, 4], Elem::U32)?;
            let probe = SubgroupProbe { sums: &sums, lanes, size: sizes.min, seed: 0x5bd1_e995 ^ lanes };
            self.run(probe)?;
            let got = sums.read_words().await?;
            if got != wanted(&probe, got.len()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// True where the matrix units of [`Caps::matrix_units`] do on this device what our kernels take for granted: operands and sums lie
    /// in memory as they are said to, for each subgroup by itself, and sums are f32. It compiles a kernel, runs it, and compares every
    /// number. False where there are none.
    ///
    /// [`Dispatcher::request`] asks, and takes the units away from a device that fails; it is public for those who own a device.
    ///
    /// # Errors
    /// A shader that the device rejects; no memory; a lost device.
    pub async fn proves_matrices(&self) -> Result<bool> {
        let Some(units) = self.caps().matrix_units() else { return Ok(false) };
        let sums = self.zeros([WORKGROUPS as usize, (SUBGROUPS * units.size * units.size) as usize], Elem::F32)?;
        let probe = MatrixProbe { sums: &sums, units, seed: 0x5bd1_e995 };
        self.run(probe)?;
        let got = sums.read().await?;
        Ok(got == wanted_sums(&probe, got.len()))
    }
}
