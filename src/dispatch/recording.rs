//! Ops recorded once, to be run again and again.

use std::sync::Arc;

use super::pipelines::Pipeline;
use super::recorder::{Encoder, Recorder};
use super::uniforms::{Chunk, Loan};
use super::{Dispatcher, Result};
use crate::error::Error;

/// A dispatch with all that it binds.
#[derive(Clone)]
pub(super) struct Dispatch {
    pub pipeline: Arc<Pipeline>,
    pub group: wgpu::BindGroup,
    pub offset: u32,
    pub grid: [u32; 3],
    /// The buffer that has the grid, and where, in place of `grid`.
    pub indirect: Option<(wgpu::Buffer, u64)>,
}

/// Ops that were recorded once ([`Dispatcher::keep`]), to be replayed in any recorder: the same kernels on the same tensors, with what these
/// hold then. Nothing is checked, planned or looked up again: a replay costs the host three calls of wgpu for each dispatch.
///
/// It keeps the buffers of its tensors and of its scratch alive. What the host counts, such as the tokens of a
/// [`KvCache`](crate::KvCache), is not counted again, and block tables become what they were. So the layers of a model are recorded without the
/// append to their cache, which is recorded anew before each replay; where a recording has it: [`KvCache::again`](crate::KvCache::again).
#[derive(Clone)]
pub struct Recording {
    gpu: Dispatcher,
    dispatches: Arc<Vec<Dispatch>>,
    /// The params, which nobody else may have as long as there are replays under way; and those of recordings that it replays itself.
    loans: Vec<Arc<Vec<Loan>>>,
}

impl Recording {
    pub(super) fn new(
        gpu: Dispatcher,
        dispatches: Vec<Dispatch>,
        mut chunks: Vec<Chunk>,
        borrowed: Vec<Arc<Vec<Loan>>>,
    ) -> Self {
        for chunk in &mut chunks {
            chunk.flush(gpu.queue());
        }
        let loans: Vec<_> = chunks.into_iter().map(Chunk::into_loan).collect();
        let loans = [vec![Arc::new(loans)], borrowed].concat();
        Self { gpu, dispatches: Arc::new(dispatches), loans }
    }

    /// The number of its dispatches.
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording({} dispatches)", self.dispatches.len())
    }
}

impl Dispatcher {
    /// Keeps what is recorded, in place of running it:
    ///
    /// ```
    /// # fn main() -> gristmill::Result<()> { pollster::block_on(async {
    /// # use gristmill::{Dispatcher, Elem, ops::norm::RmsNorm};
    /// # let gpu = Dispatcher::request().await?;
    /// # let (x, y) = (gpu.zeros([1, 4], Elem::F32)?, gpu.zeros([1, 4], Elem::F32)?);
    /// let step = gpu.keep(|rec| rec.run(RmsNorm::new(&x, &y)))?;
    /// for _ in 0..3 {
    ///     let mut rec = gpu.record()?;
    ///     rec.replay(&step)?;
    ///     rec.submit()?;
    /// }
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// What `record` says, or a lost device.
    pub fn keep(&self, record: impl FnOnce(&mut Recorder<wgpu::CommandEncoder>) -> Result<()>) -> Result<Recording> {
        self.tidy();
        self.check()?;
        let mut recorder = Recorder::keeping(self.clone());
        record(&mut recorder)?;
        Ok(recorder.kept())
    }
}

impl<E: Encoder> Recorder<E> {
    /// Records all that a recording has, once more.
    ///
    /// # Errors
    /// A recording of another dispatcher, or a lost device.
    pub fn replay(&mut self, recording: &Recording) -> Result<()> {
        if !Arc::ptr_eq(&recording.gpu.shared, &self.dispatcher().shared) {
            return Err(Error::Foreign { op: "replay", operand: "the recording".to_owned() });
        }
        self.dispatcher().check()?;
        recording.loans.iter().for_each(|loans| self.borrow(loans));
        recording.dispatches.iter().for_each(|dispatch| self.put(dispatch.clone()));
        Ok(())
    }
}
