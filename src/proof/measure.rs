//! Time: how long a kernel takes, what this device can do at best, and how near the kernel comes to it.
//!
//! A sample is one compute pass with many runs of the op, between two GPU timestamps. Where there are no timestamps, or where
//! they are quantised as in browsers, it is the slope between two numbers of runs, so that all that a submission costs cancels.
//!
//! - **Each run waits for the one before**, as an op in a model waits for its input: the copies of an operand lie side by side
//!   in one buffer, and WebGPU puts dispatches that write the same buffer in order.
//! - **Runs turn through copies of all operands**, weights too, so that what a run reads is no longer in a cache
//!   ([`Effort::rotate_bytes`]). [`COPIES_MOST`] of a case that is smaller than that still stay in the cache of a large
//!   device, where a decode step's operands would be as well.
//! - **Bytes** are each operand once, whatever the plan reads: a plan that reads twice shows as a lower bandwidth.
//! - **The roof** is measured with the same clock, in the same way, in the same run: see [`roof`].

use super::cases::Case;
use super::{Prepared, Row, Use};
use crate::caps::Target;
use crate::dispatch::{Dispatcher, Recorder};
use crate::error::{Error, Result};
use crate::ops::Op;
use crate::plan::Plan;
use crate::tensor::Elem;

mod busy;
mod clock;
mod fusion;
mod roof;
mod skipping;
mod swapping;

#[cfg(target_arch = "wasm32")]
use busy::Busy;
#[cfg(not(target_arch = "wasm32"))]
pub use busy::Busy;
use clock::{Record, Stopwatch};
pub use fusion::{FUSION_TOKENS, Fusion, fusion, prologue_fusion};
pub use roof::{Add, Copy, Number, Rate, Roof, RoofParams, RoofProblem, roof, steadiness};
pub use skipping::{
    LayerSizes, SELECTION_TOKENS, SKIPPING_KEPT, SKIPPING_TOKENS, Saving, SkippedLayer, layer_sizes, skipping,
};
pub use swapping::{SWAPPED_RANK, Swap, Swaps, swapping};

/// How GPU time is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// GPU timestamps where a pass begins and ends.
    Timestamps,
    /// The wall clock from a submission to its end, as the slope between two numbers of runs.
    Slope,
}

impl Timer {
    /// As written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamps => "timestamps",
            Self::Slope => "slope",
        }
    }
}

/// How much time a measurement may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Effort {
    /// GPU time of a sample, in milliseconds: as many runs as fit, and one where one takes longer.
    pub sample_ms: f64,
    /// Samples; fewer, but at least 3, where a single run takes longer than a sample should.
    pub samples: usize,
    /// The copies of the operands through which runs turn have this many bytes together that are moved, or more.
    pub rotate_bytes: u64,
    /// What the copies may take, where much of each is not moved.
    pub copies_bytes: u64,
    /// GPU time, in milliseconds, for which runs must not have become quicker before the first sample is taken. A GPU that has waited for the
    /// host runs at a fraction of its clock and comes up over seconds: an NVIDIA H100 was seen to take four times as long over what is
    /// bound by instructions, while its memory was as fast as ever. Software devices do without.
    pub settle_ms: f64,
}

impl Effort {
    /// For a table of results.
    pub fn bench() -> Self {
        Self { sample_ms: 10.0, samples: 15, rotate_bytes: 256 << 20, copies_bytes: 2 << 30, settle_ms: 150.0 }
    }

    /// For a person who waits, on a device that draws the page as well.
    pub fn page() -> Self {
        Self { sample_ms: 6.0, samples: 7, rotate_bytes: 128 << 20, copies_bytes: 384 << 20, settle_ms: 60.0 }
    }
}

/// The most copies of a case's operands through which runs turn.
pub const COPIES_MOST: u64 = 1024;

/// The most runs in one pass: the uniforms and bind groups of more would cost more than they tell.
const RUNS_MOST: usize = 4096;

/// Recorded dispatches over which the host's time is taken.
const HOST_RUNS: usize = 1000;

/// What one run of a case costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// GPU time in microseconds: median, 20th and 80th percentile.
    pub us: [f64; 3],
    /// Host time to record one dispatch, in microseconds.
    pub host_us: f64,
    /// The bytes that runs through all copies of the operands must move: what a cache would have to hold.
    pub rotated_bytes: u64,
}

/// A case on a device, with copies to turn through: made once, judged by many plans.
pub struct Trial {
    gpu: Dispatcher,
    case: Case,
    storage: Elem,
    prepared: Prepared,
    copies: Vec<Prepared>,
}

impl Trial {
    /// A case with its reference's answer, to be checked; and timed where there is an effort to spend on that.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn new(gpu: &Dispatcher, case: &Case, storage: Elem, effort: Option<&Effort>) -> Result<Self> {
        let prepared = Prepared::new(gpu, case, storage)?;
        let copies = effort.map_or(Ok(Vec::new()), |e| prepared.copies(e, case.unmoved_bytes(storage)))?;
        Ok(Self { gpu: gpu.clone(), case: case.clone(), storage, prepared, copies })
    }

    /// The plans on this device, best first.
    ///
    /// # Errors
    /// As [`Prepared::plans`].
    pub fn plans(&self) -> Result<Vec<Plan>> {
        self.prepared.plans()
    }

    /// Checks the case by a plan against the reference, then times it where a roof is given. A kernel that fails its
    /// check is never timed. Errors are the row's message.
    pub async fn row(&self, plan: &str, roof: Option<&Roof>, effort: &Effort) -> Row {
        let mut row = blank(&self.case, self.storage, plan);
        row.bytes = self.prepared.bytes().saturating_sub(self.case.unmoved_bytes(self.storage));
        if let Err(error) = self.judge(plan, roof, effort, &mut row).await {
            (row.ok, row.message) = (false, Some(error.to_string()));
        }
        row
    }

    async fn judge(&self, plan: &str, roof: Option<&Roof>, effort: &Effort, row: &mut Row) -> Result<()> {
        let verdict = {
            let _busy = roof.and_then(|_| Busy::new(&self.gpu));
            self.prepared.run(plan).await?
        };
        if let Some(worst) = verdict.outcomes.first() {
            (row.error, row.bound, row.operand) = (worst.error, worst.bound, worst.role.clone());
        }
        row.ok = verdict.ok();
        if !row.ok {
            row.message = Some(verdict.to_string().trim_end().to_owned());
            return Ok(());
        }
        let Some(roof) = roof else { return Ok(()) };
        let timing = self.time(plan, effort).await?;
        row.us = Some(timing.us);
        row.host_us = Some(timing.host_us);
        row.roof_fraction = Some(roof.fraction(row.bytes, row.flops, timing.us[0], roof.rate_of(plan)));
        Ok(())
    }

    /// Times the case by a plan, without checking it.
    ///
    /// # Errors
    /// What the dispatcher says.
    pub async fn time(&self, plan: &str, effort: &Effort) -> Result<Timing> {
        struct Run<'a, 'e>(&'a mut Recorder<&'e mut wgpu::CommandEncoder>, &'a str);
        impl Use for Run<'_, '_> {
            type Out = ();
            fn with(self, op: &impl Op) -> Result<()> {
                self.0.run_plan(op, self.1)
            }
        }
        let sets = if self.copies.is_empty() { std::slice::from_ref(&self.prepared) } else { &self.copies };
        let mut turn = (0..sets.len()).cycle();
        let mut stopwatch = Stopwatch::new(&self.gpu)?;
        let us = measure(&mut stopwatch, effort, &mut |recorder| {
            sets[turn.next().unwrap_or_default()].with(Run(recorder, plan))
        })
        .await?;
        let host_us = sets[0].with(Host { gpu: &self.gpu, plan })?;
        let bytes = self.prepared.bytes().saturating_sub(self.case.unmoved_bytes(self.storage));
        Ok(Timing { us, host_us, rotated_bytes: bytes * sets.len() as u64 })
    }
}

/// Checks a case by a plan against the reference, then times it where a roof is given: [`Trial::row`] of a case that is run
/// by one plan only.
pub async fn row(
    gpu: &Dispatcher,
    case: &Case,
    storage: Elem,
    plan: &str,
    roof: Option<&Roof>,
    effort: &Effort,
) -> Row {
    match Trial::new(gpu, case, storage, roof.is_some().then_some(effort)) {
        Ok(trial) => trial.row(plan, roof, effort).await,
        Err(error) => Row { message: Some(error.to_string()), ..blank(case, storage, plan) },
    }
}

fn blank(case: &Case, storage: Elem, plan: &str) -> Row {
    Row {
        case: case.name.clone(),
        op: case.op.to_owned(),
        storage: storage.name().to_owned(),
        plan: plan.to_owned(),
        flops: case.flops,
        ..Row::default()
    }
}

/// Microseconds of the host to record one dispatch where all has been recorded before: the median of a few loops, because
/// a host has other things to do. Nothing is submitted.
struct Host<'a> {
    gpu: &'a Dispatcher,
    plan: &'a str,
}

impl Use for Host<'_> {
    type Out = f64;

    fn with(self, op: &impl Op) -> Result<f64> {
        let mut loops = [0.0; 5];
        for us in &mut loops {
            let mut recorder = self.gpu.record()?;
            // The ring of params, and the pass.
            recorder.run_plan(op, self.plan)?;
            let (before, start) = (recorder.dispatches(), clock::now_us());
            for _ in 0..HOST_RUNS {
                recorder.run_plan(op, self.plan)?;
            }
            *us = (clock::now_us() - start) / (recorder.dispatches() - before).max(1) as f64;
        }
        Ok(percentiles(&mut loops)[0])
    }
}

/// Microseconds of one run: median, 20th and 80th percentile of the samples. `record` records one run.
async fn measure(stopwatch: &mut Stopwatch, effort: &Effort, record: Record<'_>) -> Result<[f64; 3]> {
    let target_us = effort.sample_ms * 1e3;
    // The first pass compiles, makes bind groups and touches the memory.
    let busy = Busy::new(stopwatch.gpu());
    stopwatch.pass(1, record).await?;
    if let Some(busy) = busy {
        busy.awake();
    }
    let mut runs = 1;
    let mut us = stopwatch.pass(runs, record).await?;
    while us < target_us / 2.0 && runs < RUNS_MOST {
        let more = (target_us / us.max(1e-3)).clamp(2.0, 16.0);
        runs = ((runs as f64 * more).ceil() as usize).min(RUNS_MOST);
        us = stopwatch.pass(runs, record).await?;
    }
    // Until nothing has become quicker for as long as that; clocks have been seen to rise for seconds.
    let settle_us = if stopwatch.software() { 0.0 } else { effort.settle_ms * 1e3 };
    let (mut least, mut steady_us, mut spent_us) = (us * 1.02, 0.0, 0.0);
    while steady_us < settle_us && spent_us < 20.0 * settle_us {
        us = stopwatch.pass(runs, record).await?;
        let took_us = us.max(target_us / 16.0);
        (spent_us, steady_us) = (spent_us + took_us, steady_us + took_us);
        if us < 0.99 * least {
            (least, steady_us) = (us, 0.0);
        }
    }
    let runs = ((runs as f64 * target_us / us.max(1e-3)).round() as usize).clamp(1, RUNS_MOST);
    let one_us = us / runs as f64;
    // A slope takes three times the runs of a sample.
    let slope = stopwatch.timer() == Timer::Slope || stopwatch.target() == Target::Web;
    let sample_us = one_us * runs as f64 * if slope { 3.0 } else { 1.0 };
    let affordable = (3.0 * target_us * effort.samples as f64 / sample_us.max(1.0)) as usize;
    let count = effort.samples.min(affordable).max(3);
    sampled(async |runs| stopwatch.pass(runs, &mut *record).await, [runs, count], slope).await
}

/// How often samples are taken before a time that cannot be is an error.
const TRIES: usize = 3;

/// The percentiles of so many samples of so many runs each, in microseconds of one run. A slope is what twice as many runs take longer. Where something
/// else keeps the device from its work now and then, the longer pass may end sooner, and a median say that a run takes less than nothing: then
/// all samples are taken again, of twice as many runs, beside which that is less.
async fn sampled(
    mut pass: impl AsyncFnMut(usize) -> Result<f64>,
    [mut runs, count]: [usize; 2],
    slope: bool,
) -> Result<[f64; 3]> {
    let mut tried = 1;
    loop {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let once = pass(runs).await?;
            let us = if slope { pass(2 * runs).await? - once } else { once };
            samples.push(us / runs as f64);
        }
        let us = percentiles(&mut samples);
        if us[0].is_finite() && us[0] > 0.0 {
            return Ok(us);
        }
        if tried == TRIES {
            let message = format!("{runs} runs took {} µs, which cannot be", us[0]);
            return Err(Error::Device { what: "measure".into(), message });
        }
        (tried, runs) = (tried + 1, (2 * runs).min(RUNS_MOST));
    }
}

/// Median, 20th and 80th percentile, between neighbours where they fall between.
fn percentiles(samples: &mut [f64]) -> [f64; 3] {
    // Sorted by insertion: there are few, and a sorting function is two kilobytes of the page's wasm.
    for last in 1..samples.len() {
        let mut at = last;
        while at > 0 && samples[at - 1].total_cmp(&samples[at]).is_gt() {
            samples.swap(at - 1, at);
            at -= 1;
        }
    }
    let at = |fraction: f64| {
        let place = fraction * samples.len().saturating_sub(1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        match (samples.get(below), samples.get(above)) {
            (Some(low), Some(high)) => low + (high - low) * (place - place.floor()),
            _ => f64::NAN,
        }
    };
    [at(0.5), at(0.2), at(0.8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_samples() {
        assert_eq!(percentiles(&mut [3.0, 1.0, 2.0, 5.0, 4.0, 0.0]), [2.5, 1.0, 4.0]);
        assert_eq!(percentiles(&mut [7.0]), [7.0; 3]);
        assert!(percentiles(&mut [])[0].is_nan());
    }

    /// What [`sampled`] makes of passes whose first `late` slopes are negative, and the runs of the last pass.
    fn after(late: usize) -> (Result<[f64; 3]>, usize) {
        let (mut slopes, mut last) = (0, 0);
        let us = pollster::block_on(sampled(
            async |runs| {
                // Every second pass is the longer one; 5 µs a run, but when the first were kept waiting.
                (slopes, last) = (slopes + usize::from(runs == 2 * last), runs);
                let waited = if slopes < late { 1000.0 / runs as f64 } else { 0.0 };
                Ok(5.0 * runs as f64 + waited)
            },
            [1, 3],
            true,
        ));
        (us, last)
    }

    #[test]
    fn a_slope_that_cannot_be_is_taken_again_by_more_runs() {
        assert_eq!(after(0), (Ok([5.0; 3]), 2));
        assert_eq!(after(3), (Ok([5.0; 3]), 4));
        let (told, last) = after(usize::MAX);
        let told = told.expect_err("no time").to_string();
        assert!(told.contains("4 runs took -") && told.contains("cannot be"), "{told}");
        assert_eq!(last, 8, "the runs of the longer pass of the third try");
    }
}
