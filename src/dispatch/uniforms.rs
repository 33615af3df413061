//! Params: one ring of uniform slots, reached through dynamic offsets.
//!
//! A recorder takes slots a chunk at a time and writes each chunk once. Chunks of our own submissions go back at
//! once: a later `write_buffer` is ordered after them by the queue. Chunks recorded into a caller's
//! encoder go back when its commands are done, or when it is dropped unsubmitted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::dispatch::faults::{Faults, lock};
use crate::error::{Error, Result};

/// The bytes of a slot: every params struct fits, and offsets of 256 suit every device.
pub(crate) const SLOT_BYTES: u32 = 256;
const CHUNK_SLOTS: u32 = 64;
const CHUNK_BYTES: u32 = SLOT_BYTES * CHUNK_SLOTS;
const PAGE_CHUNKS: u32 = 32;

/// A page of uniform memory.
pub(crate) struct Page {
    pub buffer: wgpu::Buffer,
    pub id: u64,
}

/// The chunks that nobody uses, by page and number, in the order of their return.
type Free = Arc<Mutex<VecDeque<(usize, u32)>>>;

/// The pages, and which of their chunks are free.
#[derive(Clone, Default)]
pub(crate) struct Ring {
    pages: Arc<Mutex<Vec<Arc<Page>>>>,
    free: Free,
}

/// 64 slots on loan, with the params that will be written to them.
pub(crate) struct Chunk {
    page: Arc<Page>,
    data: Vec<u8>,
    loan: Loan,
}

/// A chunk goes back when this is dropped. It has no handle of the device, so that it may wait in a callback, which wgpu wants
/// to be `Send` even in a browser, where nothing of the device is.
pub(crate) struct Loan {
    page: usize,
    index: u32,
    free: Free,
}

impl Ring {
    /// A chunk, from a new page where all are out.
    pub fn take(&self, device: &wgpu::Device, faults: &Faults, next_id: impl FnOnce() -> u64) -> Result<Chunk> {
        let mut free = lock(&self.free);
        if free.is_empty() {
            let bytes = u64::from(CHUNK_BYTES * PAGE_CHUNKS);
            let what = move |_| Error::OutOfMemory { what: "params".into(), bytes };
            let buffer = faults.scoped(device, what, || {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("gristmill params"),
                    size: bytes,
                    usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })?;
            let mut pages = lock(&self.pages);
            free.extend((0..PAGE_CHUNKS).map(|i| (pages.len(), i)));
            pages.push(Arc::new(Page { buffer, id: next_id() }));
        }
        let found =
            free.pop_front().and_then(|(page, index)| Some((lock(&self.pages).get(page)?.clone(), page, index)));
        let (shared, page, index) = found.ok_or_else(|| Error::Device {
            what: "params".into(),
            message: "a new page of the ring has no chunks".into(),
        })?;
        let loan = Loan { page, index, free: self.free.clone() };
        Ok(Chunk { page: shared, data: Vec::with_capacity(CHUNK_BYTES as usize), loan })
    }
}

impl Chunk {
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Puts params into the next slot and gives its offset in the page; `None` where the chunk is full.
    pub fn push(&mut self, params: &[u8]) -> Option<u32> {
        let at = self.data.len() as u32;
        if at == CHUNK_BYTES {
            return None;
        }
        self.data.extend_from_slice(params);
        self.data.resize((at + SLOT_BYTES) as usize, 0);
        Some(self.loan.index * CHUNK_BYTES + at)
    }

    /// Writes all slots in one go, before the next submission.
    pub fn flush(&mut self, queue: &wgpu::Queue) {
        if !self.data.is_empty() {
            queue.write_buffer(&self.page.buffer, u64::from(self.loan.index * CHUNK_BYTES), &self.data);
        }
    }

    /// What is left of it once it has been written.
    pub fn into_loan(self) -> Loan {
        self.loan
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        lock(&self.free).push_back((self.page, self.index));
    }
}
