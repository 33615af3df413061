//! The recorder: many ops, one compute pass, one submission.

use std::borrow::BorrowMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::dispatch::recording::{Dispatch, Recording};
use crate::dispatch::uniforms::{Chunk, Loan};
use crate::dispatch::{Dispatcher, Ready, grid_of};
use crate::error::{Error, Result};
use crate::ops::{Op, Operand, Planned, Problem};
use crate::plan::{Access, Source};

/// A command encoder, one's own or a caller's.
pub trait Encoder: BorrowMut<wgpu::CommandEncoder> {}

impl<E: BorrowMut<wgpu::CommandEncoder>> Encoder for E {}

/// What becomes of what a recorder records, for those who count on it.
#[derive(Clone, Debug)]
pub(crate) struct Fate(Arc<AtomicU8>);

impl Fate {
    const OPEN: u8 = 0;
    const SEALED: u8 = 1;
    const GONE: u8 = 2;

    fn open() -> Self {
        Self(Arc::new(AtomicU8::new(Self::OPEN)))
    }

    /// It is submitted or kept, or is in the hands of a caller, who does not tell.
    fn sealed() -> Self {
        Self(Arc::new(AtomicU8::new(Self::SEALED)))
    }

    fn seal(&self) {
        self.0.store(Self::SEALED, Ordering::Relaxed);
    }

    /// Of a recorder that is dropped.
    fn lose(&self) {
        let _ = self.0.compare_exchange(Self::OPEN, Self::GONE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// It may yet be dropped.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::OPEN
    }

    /// It never runs.
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::GONE
    }

    /// It is that of the same recorder.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Records ops, one after the other, into an encoder of its own ([`Dispatcher::record`]) or into a caller's
/// ([`Dispatcher::record_into`]). All go into one compute pass; each sees what those before it wrote.
///
/// An op that returns an error records nothing; the recorder can be used on. A recorder with an encoder of its own that is dropped without
/// [`Recorder::submit`] takes all that it recorded with it.
#[must_use = "nothing runs before `submit` or `finish`"]
pub struct Recorder<E: Encoder> {
    gpu: Dispatcher,
    // The pass is closed before the encoder is finished; see `close`.
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<E>,
    timestamps: Option<(wgpu::QuerySet, wgpu::Buffer)>,
    chunks: Vec<Chunk>,
    written: usize,
    /// The params of recordings that are replayed.
    borrowed: Vec<Arc<Vec<Loan>>>,
    dispatches: usize,
    /// What is kept in place of going into an encoder.
    kept: Option<Vec<Dispatch>>,
    fate: Fate,
}

impl<E: Encoder> std::fmt::Debug for Recorder<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("dispatches", &self.dispatches).finish_non_exhaustive()
    }
}

impl<E: Encoder> Recorder<E> {
    fn new(gpu: Dispatcher, encoder: Option<E>, fate: Fate) -> Self {
        Self {
            gpu,
            pass: None,
            encoder,
            timestamps: None,
            chunks: Vec::new(),
            written: 0,
            borrowed: Vec::new(),
            dispatches: 0,
            kept: None,
            fate,
        }
    }

    /// Writes timestamps 0 and 1 of the set where the pass begins and ends, and resolves them into `resolved` (16
    /// bytes, `QUERY_RESOLVE`). Call it before the first op.
    pub fn time_with(&mut self, set: &wgpu::QuerySet, resolved: &wgpu::Buffer) {
        self.timestamps = Some((set.clone(), resolved.clone()));
    }

    /// The dispatcher that records.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.gpu
    }

    /// What becomes of what is recorded.
    pub(crate) fn fate(&self) -> &Fate {
        &self.fate
    }

    /// What is recorded is kept, and runs later ([`Dispatcher::keep`]).
    pub(crate) fn is_kept(&self) -> bool {
        self.encoder.is_none()
    }

    /// The number of dispatches recorded so far.
    pub fn dispatches(&self) -> usize {
        self.dispatches
    }

    /// Records an op by its best plan.
    ///
    /// # Errors
    /// Operands that do not fit (see the op), an output that shares its buffer with another operand, a limit of
    /// the device, a shader that the device rejects, no memory for scratch, or a lost device.
    pub fn run(&mut self, op: impl Op) -> Result<()> {
        self.run_any(&op.problem()?, &op.operands())
    }

    /// Records an op by the plan of this name: for tests and benchmarks, and for the curious.
    ///
    /// # Errors
    /// As [`Recorder::run`], and a name that is not among [`Dispatcher::plans`].
    pub fn run_plan(&mut self, op: impl Op, name: &str) -> Result<()> {
        let ready = self.gpu.ready(&op.problem()?, Some(name))?;
        self.record(&ready, &op.operands())
    }

    /// Whether [`Recorder::run`] would take an op; nothing is recorded.
    pub(crate) fn judge(&self, problem: &dyn Planned, operands: &[Operand<'_>]) -> Result<()> {
        let ready = self.gpu.ready(problem, None)?;
        check_buffers(&self.gpu, &ready, operands)?;
        self.gpu.scratch(&ready.plan.scratch_bytes).map(drop)
    }

    /// [`Recorder::run`] of any op.
    pub(crate) fn run_any(&mut self, problem: &dyn Planned, operands: &[Operand<'_>]) -> Result<()> {
        let ready = self.gpu.ready(problem, None)?;
        self.record(&ready, operands)
    }

    /// Records all that `record` does, or where it fails nothing.
    pub(crate) fn together<T>(&mut self, record: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (before, dispatches) = (self.kept.replace(Vec::new()), self.dispatches);
        let result = record(self);
        let list = std::mem::replace(&mut self.kept, before).unwrap_or_default();
        self.dispatches = dispatches;
        let made = result?;
        list.into_iter().for_each(|dispatch| self.put(dispatch));
        Ok(made)
    }

    fn record(&mut self, ready: &Ready, operands: &[Operand<'_>]) -> Result<()> {
        let op = ready.plan.op;
        self.gpu.check()?;
        check_buffers(&self.gpu, ready, operands)?;
        let scratch = self.gpu.scratch(&ready.plan.scratch_bytes)?;
        // All that can fail comes before the first dispatch, so that an error leaves nothing half recorded.
        let mut steps = Vec::with_capacity(ready.plan.steps.len());
        for (step, pipeline) in ready.plan.steps.iter().zip(&ready.pipelines) {
            let (page, offset) = self.params(op, &step.params)?;
            let group = self.gpu.bind_group(op, step, pipeline, &self.chunks[page], operands, &scratch)?;
            let indirect = step.indirect.map(|i| grid_of(op, i, operands, &scratch)).transpose()?;
            steps.push(Dispatch { pipeline: pipeline.clone(), group, offset, grid: step.grid, indirect });
        }
        steps.into_iter().for_each(|dispatch| self.put(dispatch));
        Ok(())
    }

    /// The next dispatch.
    pub(super) fn put(&mut self, dispatch: Dispatch) {
        self.dispatches += 1;
        if let Some(kept) = &mut self.kept {
            kept.push(dispatch);
            return;
        }
        if self.pass.is_none() {
            let Some(encoder) = self.encoder.as_mut() else { return };
            let timestamp_writes = self.timestamps.as_ref().map(|(query_set, _)| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let pass = encoder
                .borrow_mut()
                .begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("gristmill"), timestamp_writes });
            self.pass = Some(pass.forget_lifetime());
        }
        let Some(pass) = self.pass.as_mut() else { return };
        let [x, y, z] = dispatch.grid;
        pass.set_pipeline(&dispatch.pipeline.raw);
        pass.set_bind_group(0, &dispatch.group, &[dispatch.offset]);
        match &dispatch.indirect {
            None => pass.dispatch_workgroups(x, y, z),
            Some((buffer, at)) => pass.dispatch_workgroups_indirect(buffer, *at),
        }
    }

    /// Params that are a recording's are left to it until our commands are done.
    pub(super) fn borrow(&mut self, loans: &Arc<Vec<Loan>>) {
        self.borrowed.push(loans.clone());
    }

    /// Puts params into the ring: the number of the chunk among ours, and the offset in its page.
    fn params(&mut self, op: &'static str, params: &[u8]) -> Result<(usize, u32)> {
        let most = crate::dispatch::uniforms::SLOT_BYTES as usize;
        if params.len() > most {
            return Err(Error::Limit { op, limit: "params bytes", need: params.len() as u64, have: most as u64 });
        }
        if let Some(offset) = self.chunks.last_mut().and_then(|c| c.push(params)) {
            return Ok((self.chunks.len() - 1, offset));
        }
        let mut chunk = self.gpu.take_chunk()?;
        let offset = chunk.push(params).unwrap_or_default();
        self.chunks.push(chunk);
        Ok((self.chunks.len() - 1, offset))
    }

    /// Ends the pass and sends the params on their way.
    fn close(&mut self) {
        self.pass = None;
        for chunk in &mut self.chunks[self.written..] {
            chunk.flush(self.gpu.queue());
        }
        self.written = self.chunks.len();
        if let (Some((set, resolved)), Some(encoder)) = (&self.timestamps, self.encoder.as_mut()) {
            encoder.borrow_mut().resolve_query_set(set, 0..2, resolved, 0);
        }
    }
}

impl Recorder<wgpu::CommandEncoder> {
    /// Into an encoder of its own.
    pub(super) fn owning(gpu: Dispatcher, encoder: wgpu::CommandEncoder) -> Self {
        Self::new(gpu, Some(encoder), Fate::open())
    }

    /// Keeps what it records.
    pub(super) fn keeping(gpu: Dispatcher) -> Self {
        let mut recorder = Self::new(gpu, None, Fate::open());
        recorder.kept = Some(Vec::new());
        recorder
    }

    /// What it has kept.
    pub(super) fn kept(mut self) -> Recording {
        self.fate.seal();
        let (dispatches, chunks) = (self.kept.take().unwrap_or_default(), std::mem::take(&mut self.chunks));
        Recording::new(self.gpu.clone(), dispatches, chunks, std::mem::take(&mut self.borrowed))
    }

    /// Submits all that was recorded, without waiting for it.
    ///
    /// # Errors
    /// What the device says of the commands (in a browser it says so at the next read), or a lost device.
    pub fn submit(mut self) -> Result<()> {
        let gpu = self.gpu.clone();
        gpu.check()?;
        gpu.scoped("submit", || {
            self.close();
            if let Some(encoder) = self.encoder.take() {
                gpu.queue().submit([encoder.finish()]);
            }
        })?;
        self.fate.seal();
        Ok(())
    }
}

impl<'e> Recorder<&'e mut wgpu::CommandEncoder> {
    /// Into a caller's encoder.
    pub(super) fn borrowing(gpu: Dispatcher, encoder: &'e mut wgpu::CommandEncoder) -> Self {
        Self::new(gpu, Some(encoder), Fate::sealed())
    }

    /// Ends our pass in the caller's encoder. The caller goes on with the encoder and submits it on the
    /// dispatcher's queue; dropping the recorder does the same.
    pub fn finish(self) {}
}

impl<E: Encoder> Drop for Recorder<E> {
    fn drop(&mut self) {
        self.fate.lose();
        self.pass = None;
        // After `submit` there is no encoder, and the chunks may go back at once. Else the caller's encoder still refers to
        // them until its commands are done. An encoder of our own that is dropped unsubmitted frees them with it.
        if self.encoder.is_some() && !(self.chunks.is_empty() && self.borrowed.is_empty()) {
            self.close();
            let loans: Vec<_> = std::mem::take(&mut self.chunks).into_iter().map(Chunk::into_loan).collect();
            let borrowed = std::mem::take(&mut self.borrowed);
            if let Some(encoder) = self.encoder.as_mut() {
                encoder.borrow_mut().on_submitted_work_done(move || drop((loans, borrowed)));
            }
        }
    }
}

/// Every operand is this dispatcher's, and one that is written shares its buffer with no other: also where no step has both, as what an
/// earlier step has read may be read again when it is too late, and another plan may have both in one.
fn check_buffers(gpu: &Dispatcher, ready: &Ready, operands: &[Operand<'_>]) -> Result<()> {
    let op = ready.plan.op;
    for (name, tensor) in operands {
        if tensor.is_some_and(|t| t.allocation.is_none()) {
            return Err(Error::Outline { op, operand: (*name).to_owned() });
        }
        if tensor.is_some_and(|t| !gpu.owns(t)) {
            return Err(Error::Foreign { op, operand: (*name).to_owned() });
        }
    }
    // Two tensors may have been wrapped over one buffer.
    let buffer = |i: usize| operands.get(i).and_then(|(_, t)| Some(&(*t)?.allocation.as_ref()?.buffer));
    let binds = ready.plan.steps.iter().flat_map(|step| &step.binds);
    let written = binds.filter(|bind| bind.access == Access::Write).filter_map(|bind| match bind.source {
        Source::Operand(i) => Some(i),
        Source::Scratch(_) => None,
    });
    for i in written {
        let Some(own) = buffer(i) else { continue };
        if let Some(j) = (0..operands.len()).find(|j| *j != i && buffer(*j) == Some(own)) {
            return Err(Error::Shared { op, output: operands[i].0.to_owned(), other: operands[j].0.to_owned() });
        }
    }
    Ok(())
}

/// Records one op and submits it: for the single op outside any stream.
impl Dispatcher {
    /// Runs one op by its best plan, in a submission of its own.
    ///
    /// # Errors
    /// As [`Recorder::run`] and [`Recorder::submit`].
    pub fn run(&self, op: impl Op) -> Result<()> {
        let mut recorder = self.record()?;
        recorder.run(op)?;
        recorder.submit()
    }

    /// The plans of an op on this device, best first.
    ///
    /// # Errors
    /// Operands that do not fit, or a limit that no plan stays under.
    pub fn plans(&self, op: impl Op) -> Result<Vec<crate::Plan>> {
        op.problem()?.plans(self.caps())
    }
}
