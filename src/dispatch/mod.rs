//! Doing: the only place that touches the device.
//!
//! ```text
//! op → problem → plan (pure) → pipelines, bind groups, params → one pass → one submission
//! ```
//!
//! In steady state nothing is allocated on the device: plans are kept by problem, pipelines by key, bind groups by the
//! buffers that they bind, params go through a ring, and scratch comes from an arena that only grows.

#![cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync, reason = "there is one thread there"))]

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::caps::Caps;
use crate::checkpoint;
use crate::error::{Error, Result, shape_error};
use crate::ops::{Operand, Planned, first};
use crate::plan::{Indirect, Plan, Source, Step};
use crate::shape::IntoShape;
use crate::tensor::{Elem, Tensor};

#[cfg(not(target_arch = "wasm32"))]
mod disk;
pub(crate) mod faults;
mod pipelines;
pub mod prepare;
mod probe;
mod readback;
mod recorder;
mod recording;
mod request;
mod uniforms;
#[cfg(target_arch = "wasm32")]
mod web;

use faults::{Faults, lock};
use pipelines::{Pipeline, Pipelines};
pub use probe::{MatrixProbe, MatrixProbeProblem, ProbeParams, ProbeProblem, SubgroupProbe};
#[cfg(not(target_arch = "wasm32"))]
pub use readback::Reading;
pub(crate) use recorder::Fate;
pub use recorder::{Encoder, Recorder};
pub use recording::Recording;
pub use request::Request;
use uniforms::{Chunk, Ring};

/// Plans kept by problem. Past this many they are dropped and made again: a program that changes a length with every
/// step must not grow without end.
const PLANS_KEPT: usize = 4096;
/// Likewise for bind groups.
const BIND_GROUPS_KEPT: usize = 16_384;

/// A device with our pipelines on it. Cloning shares it; natively it may be used from many threads.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    caps: Caps,
    faults: Faults,
    ring: Ring,
    next_id: AtomicU64,
    /// The ids of allocations that are gone, whose bind groups must go too.
    graveyard: Mutex<Vec<u64>>,
    /// `GRISTMILL_PLAN`, when the dispatcher was made.
    #[cfg(not(target_arch = "wasm32"))]
    forced: String,
    state: Mutex<State>,
}

struct State {
    pipelines: Pipelines,
    /// By type of problem, those of each.
    plans: HashMap<TypeId, HashMap<Box<dyn Planned>, ReadyPlans>>,
    bind_groups: HashMap<Box<[u64]>, wgpu::BindGroup>,
    key: Vec<u64>,
    arena: Vec<Arc<Memory>>,
}

/// A plan with its pipelines.
pub(crate) struct Ready {
    pub plan: Plan,
    pub pipelines: Vec<Arc<Pipeline>>,
}

/// What has been made ready of a problem.
#[derive(Default)]
struct ReadyPlans {
    best: Option<Arc<Ready>>,
    /// Those that were asked for by name.
    named: Vec<Arc<Ready>>,
}

impl ReadyPlans {
    fn get(&self, name: Option<&str>) -> Option<&Arc<Ready>> {
        match name {
            None => self.best.as_ref(),
            Some(name) => self.named.iter().find(|r| r.plan.name == name),
        }
    }

    fn put(&mut self, name: Option<&str>, ready: Arc<Ready>) {
        match name {
            None => self.best = Some(ready),
            Some(_) => self.named.push(ready),
        }
    }
}

/// A buffer.
pub(crate) struct Memory {
    pub buffer: wgpu::Buffer,
    /// Unique among the buffers of a dispatcher.
    pub id: u64,
    /// Bytes in use; the buffer is a multiple of 16 bytes.
    pub used_bytes: u64,
}

/// A buffer of tensors, and who made it. The arena is the dispatcher's own: buffers there have no owner, which would keep itself alive.
pub(crate) struct Allocation {
    memory: Memory,
    owner: Arc<Shared>,
}

impl std::ops::Deref for Allocation {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

impl Allocation {
    pub fn dispatcher(&self) -> Dispatcher {
        Dispatcher { shared: self.owner.clone() }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        lock(&self.owner.graveyard).push(self.id);
    }
}

/// What a dispatcher holds, for those who watch that it does not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Compiled pipelines.
    pub pipelines: usize,
    /// Bind groups.
    pub bind_groups: usize,
    /// Buffers of the scratch arena.
    pub scratch: usize,
    /// Buffers ever made, by the dispatcher or for tensors.
    pub buffers_made: u64,
}

impl Dispatcher {
    /// A dispatcher over a device that the caller owns, which may be made with [`Dispatcher::device_descriptor`]. Neither the device's error
    /// handler nor its loss handler is touched; call [`Dispatcher::mark_lost`] from yours, and make a new dispatcher over a new device then.
    ///
    /// It sees what the device was made with: a feature that was not asked for is not used. Matrix units are believed in as the driver tells
    /// them; [`Dispatcher::adopt`] tries them first, and is what an application should call that can wait for it. Where the device was made
    /// with [`wgpu::Features::PIPELINE_CACHE`], compiled kernels are kept on disk, where `GRISTMILL_CACHE` says, else in a folder `gristmill` in
    /// the user's cache directory; `GRISTMILL_CACHE=none` keeps none.
    ///
    /// Natively recording and reading poll the device. Then callbacks of the application's own work run too, and what one panics with reaches
    /// who called us.
    pub fn new(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::over(adapter, device, queue, false)
    }

    /// A dispatcher over a device of our own making, which hears of its faults.
    fn made(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, baseline: bool) -> Self {
        let gpu = Self::over(adapter, device, queue, baseline);
        gpu.shared.faults.listen(&gpu.shared.device);
        gpu
    }

    fn over(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, baseline: bool) -> Self {
        let caps = Caps::from_device(adapter, &device);
        let caps = if baseline { caps.narrowed() } else { caps };
        Self::with_caps(adapter.get_info(), device, queue, caps)
    }

    fn with_caps(info: wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue, caps: Caps) -> Self {
        let state = State {
            pipelines: Pipelines::new(&info, &device, &caps),
            plans: HashMap::new(),
            bind_groups: HashMap::new(),
            key: Vec::new(),
            arena: Vec::new(),
        };
        let shared = Shared {
            device,
            queue,
            info,
            caps,
            faults: Faults::default(),
            ring: Ring::default(),
            next_id: AtomicU64::new(1),
            graveyard: Mutex::default(),
            #[cfg(not(target_arch = "wasm32"))]
            forced: std::env::var("GRISTMILL_PLAN").unwrap_or_default(),
            state: Mutex::new(state),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A dispatcher over the same device that sees less of it: for trying out how a lesser device would be served. Tensors of
    /// one are foreign to the other.
    #[must_use]
    pub fn restricted(&self, restrict: impl FnOnce(&mut Caps)) -> Self {
        let mut caps = self.caps().clone();
        restrict(&mut caps);
        let mut made = Self::with_caps(self.info().clone(), self.device().clone(), self.queue().clone(), caps);
        // The faults of the device are those of both.
        if let Some(shared) = Arc::get_mut(&mut made.shared) {
            shared.faults = self.shared.faults.clone();
        }
        made
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.shared.device
    }

    /// The queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.shared.queue
    }

    /// What the device can do.
    pub fn caps(&self) -> &Caps {
        &self.shared.caps
    }

    /// The adapter's name, driver and kind.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.shared.info
    }

    /// What the dispatcher holds now.
    pub fn holdings(&self) -> Holdings {
        let state = lock(&self.shared.state);
        Holdings {
            pipelines: state.pipelines.len(),
            bind_groups: state.bind_groups.len(),
            scratch: state.arena.len(),
            buffers_made: self.shared.next_id.load(Ordering::Relaxed) - 1,
        }
    }

    /// Says that the device is lost: for callers who own the device and hear of it first. Every later call returns
    /// [`Error::Lost`].
    pub fn mark_lost(&self, reason: impl Into<String>) {
        self.shared.faults.lose(reason);
    }

    /// An error where the device is lost or has raised an error that nobody has been told of.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        self.shared.faults.check()
    }

    /// As [`Dispatcher::check`], after waiting for what the device still has to say (browsers answer late).
    ///
    /// # Errors
    /// As [`Dispatcher::check`].
    pub async fn settle(&self) -> Result<()> {
        self.shared.faults.settle().await
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// A shape that is too large for the device, no memory, or a lost device.
    pub fn zeros(&self, shape: impl IntoShape, elem: Elem) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        let memory = self.allocate("tensor", (shape.elements() * elem.bytes()) as u64)?;
        Ok(Tensor::over(self.owned(memory), 0, shape, elem))
    }

    /// A tensor of these values, rounded to the storage to nearest, ties to even.
    ///
    /// # Errors
    /// As [`Dispatcher::zeros`], and values whose number is not that of the shape.
    pub fn upload(&self, values: &[f32], shape: impl IntoShape, elem: Elem) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if shape.elements() != values.len() {
            return Err(shape_error!(
                "upload",
                "{} values for shape {shape}, which has {}",
                values.len(),
                shape.elements()
            ));
        }
        self.upload_bytes(&elem.encode(values), shape, elem)
    }

    /// A tensor of these bytes.
    ///
    /// # Errors
    /// As [`Dispatcher::upload`].
    pub fn upload_bytes(&self, bytes: &[u8], shape: impl IntoShape, elem: Elem) -> Result<Tensor> {
        let tensor = self.zeros(shape, elem)?;
        tensor.write_bytes(bytes)?;
        Ok(tensor)
    }

    /// A tensor of whole numbers, stored as `U32` (or as `I32` in two's complement), each as it is: [`Dispatcher::upload`] has f32 on the way, which
    /// ends at 2^24.
    ///
    /// # Errors
    /// As [`Dispatcher::upload`]; another storage.
    pub fn upload_words(&self, words: &[u32], shape: impl IntoShape, elem: Elem) -> Result<Tensor> {
        if ![Elem::U32, Elem::I32].contains(&elem) {
            let (operand, have) = ("words", elem.name());
            return Err(Error::Storage { op: "upload_words", operand, have, want: "u32 or i32" });
        }
        self.upload_bytes(bytemuck::cast_slice(words), shape, elem)
    }

    /// A tensor of a file, as it is stored there: what a checkpoint has beside weights, such as those of norms and biases.
    ///
    /// # Errors
    /// As [`Dispatcher::upload`]; or numbers that are stored in a way that no tensor has.
    pub fn upload_tensor(&self, tensor: &checkpoint::Tensor<'_>) -> Result<Tensor> {
        let elem = tensor.dtype.and_then(Elem::of).ok_or_else(|| Error::Value {
            op: "upload_tensor",
            name: "stored",
            value: tensor.stored.to_owned(),
            rule: "a tensor is f32, f16, bf16, i32, u32, i8 or u8; formats of weights are loaded by Dispatcher::weight",
        })?;
        self.upload_bytes(tensor.bytes, tensor.shape, elem)
    }

    /// A tensor over a buffer of the caller's, which must be of this dispatcher's device, with usage `STORAGE` (and
    /// `COPY_SRC` to be read, `COPY_DST` to be written). One of another device is told when it is used, but of another
    /// [`wgpu::Instance`] wgpu itself panics.
    ///
    /// # Errors
    /// The elements, or the rest of their last 4-byte word, reach past the buffer's end, or the first is not at a multiple of its own size.
    pub fn wrap(&self, buffer: &wgpu::Buffer, offset_bytes: u64, shape: impl IntoShape, elem: Elem) -> Result<Tensor> {
        self.check()?;
        let shape = shape.into_shape()?;
        let bytes = (shape.elements() * elem.bytes()) as u64;
        // Kernels reach whole words, so the last word must be there.
        let end = offset_bytes.checked_add(bytes).map(|e| e.next_multiple_of(4)).filter(|e| *e <= buffer.size());
        let (name, each, size) = (elem.name(), elem.bytes(), buffer.size());
        if end.is_none() {
            let from = format!("{bytes} bytes of {name} from byte {offset_bytes} on");
            return Err(shape_error!("wrap", "{from} do not fit, to the end of their last word, a buffer of {size}"));
        }
        if !offset_bytes.is_multiple_of(each as u64) {
            return Err(shape_error!(
                "wrap",
                "{name} is to begin at byte {offset_bytes}, which is no multiple of {each}"
            ));
        }
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(shape_error!("wrap", "the buffer's usage {:?} lacks STORAGE", buffer.usage()));
        }
        let memory = Memory { buffer: buffer.clone(), id: self.next_id(), used_bytes: buffer.size() };
        Ok(Tensor::over(self.owned(memory), offset_bytes, shape, elem))
    }

    /// Begins to record into an encoder of its own.
    ///
    /// # Errors
    /// A lost device.
    pub fn record(&self) -> Result<Recorder<wgpu::CommandEncoder>> {
        self.tidy();
        self.check()?;
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("gristmill") };
        let encoder = self.scoped("record", || self.device().create_command_encoder(&descriptor))?;
        Ok(Recorder::owning(self.clone(), encoder))
    }

    /// Begins to record into the caller's encoder, between the caller's own passes.
    ///
    /// # Errors
    /// A lost device.
    pub fn record_into<'e>(
        &self,
        encoder: &'e mut wgpu::CommandEncoder,
    ) -> Result<Recorder<&'e mut wgpu::CommandEncoder>> {
        self.tidy();
        self.check()?;
        Ok(Recorder::borrowing(self.clone(), encoder))
    }

    /// Compiles the pipelines of these plans ahead of their first use, and waits until the device has accepted them.
    ///
    /// # Errors
    /// [`Error::Shader`] where the device rejects one.
    pub async fn warm(&self, plans: &[Plan]) -> Result<()> {
        for plan in plans {
            self.pipelines(plan)?;
        }
        self.settle().await
    }

    /// Waits until all that was submitted is done: natively by blocking this thread.
    ///
    /// # Errors
    /// A lost device, or a fault that has not been told yet.
    pub async fn wait(&self) -> Result<()> {
        self.check()?;
        readback::done(self).await?;
        self.settle().await
    }

    fn next_id(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn owns(&self, tensor: &Tensor) -> bool {
        tensor.allocation.as_ref().is_some_and(|a| Arc::ptr_eq(&self.shared, &a.owner))
    }

    pub(crate) fn scoped<T>(&self, what: &'static str, work: impl FnOnce() -> T) -> Result<T> {
        let told = move |e: wgpu::Error| Error::Device { what: what.into(), message: e.to_string() };
        self.shared.faults.scoped(self.device(), told, work)
    }

    fn owned(&self, memory: Memory) -> Arc<Allocation> {
        Arc::new(Allocation { memory, owner: self.shared.clone() })
    }

    fn allocate(&self, what: &'static str, bytes: u64) -> Result<Memory> {
        self.check()?;
        let size = bytes.max(1).next_multiple_of(16);
        let most = self.caps().buffer_bytes;
        if size > most {
            return Err(Error::Limit { op: what, limit: "buffer_bytes", need: size, have: most });
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some(what),
            size,
            // Any may hold the grids of indirect dispatches.
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::INDIRECT
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let told = move |e: wgpu::Error| match e {
            wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { what: what.into(), bytes: size },
            other => Error::Device { what: what.into(), message: other.to_string() },
        };
        let buffer = self.shared.faults.scoped(self.device(), told, || self.device().create_buffer(&descriptor))?;
        Ok(Memory { buffer, id: self.next_id(), used_bytes: bytes })
    }

    fn take_chunk(&self) -> Result<Chunk> {
        self.shared.ring.take(self.device(), &self.shared.faults, || self.next_id())
    }

    /// The answer of what was scoped last.
    fn own_answer(&self) -> faults::Own {
        self.shared.faults.own()
    }

    /// Runs what the device has to say.
    #[cfg(not(target_arch = "wasm32"))]
    fn poll(&self, how: wgpu::PollType) -> Result<()> {
        self.shared.faults.polled(|| self.device().poll(how).map(drop))
    }

    /// Drops the bind groups of buffers that are gone: they would keep their memory alive.
    fn tidy(&self) {
        // Natively this runs what the device has to say: callbacks of finished work, and of a loss.
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.poll(wgpu::PollType::Poll);
        let gone: HashSet<u64> = lock(&self.shared.graveyard).drain(..).collect();
        let mut state = lock(&self.shared.state);
        if !gone.is_empty() {
            state.bind_groups.retain(|key, _| !key.iter().any(|id| gone.contains(id)));
        }
        if state.bind_groups.len() > BIND_GROUPS_KEPT {
            state.bind_groups.clear();
        }
    }

    /// The arena's buffers, at least this large. They are shared by all ops: each writes its scratch before it reads it, and
    /// the queue keeps their order.
    fn scratch(&self, bytes: &[u64]) -> Result<Vec<Arc<Memory>>> {
        let mut state = lock(&self.shared.state);
        // In a browser what there was no memory for stands there like any other.
        if self.shared.faults.starved() {
            state.arena.drain(..).for_each(|gone| lock(&self.shared.graveyard).push(gone.id));
        }
        let most = self.caps().buffer_bytes / 16 * 16;
        for (i, &need) in bytes.iter().enumerate() {
            let have = state.arena.get(i).map(|memory| memory.used_bytes);
            if have.is_some_and(|have| have >= need) {
                continue;
            }
            // Doubling keeps the number of regrowths small, where there is room for it.
            let doubled = have.unwrap_or(0).saturating_mul(2).min(most).max(need);
            let made = self.allocate("scratch", doubled);
            // A browser tells later.
            #[cfg(not(target_arch = "wasm32"))]
            let made = match made {
                Err(Error::OutOfMemory { .. }) => self.allocate("scratch", need),
                made => made,
            };
            let made = Arc::new(made?);
            match state.arena.get_mut(i) {
                None => state.arena.push(made),
                Some(there) => lock(&self.shared.graveyard).push(std::mem::replace(there, made).id),
            }
        }
        Ok(state.arena[..bytes.len()].to_vec())
    }

    fn pipelines(&self, plan: &Plan) -> Result<Vec<Arc<Pipeline>>> {
        let mut state = lock(&self.shared.state);
        plan.steps
            .iter()
            .map(|step| {
                self.check_limits(plan.op, step)?;
                state.pipelines.get(self.device(), self.caps(), &self.shared.faults, step)
            })
            .collect()
    }

    fn check_limits(&self, op: &'static str, step: &Step) -> Result<()> {
        let caps = self.caps();
        let limit = |limit, need: u64, have: u64| {
            if need <= have { Ok(()) } else { Err(Error::Limit { op, limit, need, have }) }
        };
        limit("storage_buffers", step.binds.len() as u64, u64::from(caps.storage_buffers))?;
        for bind in &step.binds {
            limit("storage_binding_bytes", bind.size_bytes, caps.storage_binding_bytes)?;
        }
        for groups in step.grid {
            limit("workgroups", u64::from(groups), u64::from(caps.workgroups))?;
        }
        Ok(())
    }

    /// The best plan of a problem, or the one of this name, with its pipelines; kept.
    pub(crate) fn ready(&self, problem: &dyn Planned, name: Option<&str>) -> Result<Arc<Ready>> {
        let of_type = (problem as &dyn Any).type_id();
        {
            let state = lock(&self.shared.state);
            let kept = state.plans.get(&of_type);
            if let Some(found) = kept.and_then(|k| k.get(problem)).and_then(|k| k.get(name)) {
                return Ok(found.clone());
            }
        }
        #[cfg(not(target_arch = "wasm32"))]
        let asked = name.map_or_else(|| forced(&self.shared.forced, problem.name()), |name| Ok(Some(name)))?;
        #[cfg(target_arch = "wasm32")]
        let asked = name;
        let plan = match asked {
            Some(name) => named(problem, self.caps(), name)?,
            None => first(problem.name(), problem.all_plans(self.caps())?)?,
        };
        let ready = Arc::new(Ready { pipelines: self.pipelines(&plan)?, plan });
        let mut state = lock(&self.shared.state);
        let kept = state.plans.entry(of_type).or_default();
        if kept.len() >= PLANS_KEPT {
            kept.clear();
        }
        kept.entry(problem.copy()).or_default().put(name, ready.clone());
        Ok(ready)
    }

    /// The bind group of a step, kept by what it binds.
    fn bind_group(
        &self,
        op: &'static str,
        step: &Step,
        pipeline: &Pipeline,
        chunk: &Chunk,
        operands: &[Operand<'_>],
        scratch: &[Arc<Memory>],
    ) -> Result<wgpu::BindGroup> {
        let find = |source| find(op, source, operands, scratch);
        let mut state = lock(&self.shared.state);
        let mut key = std::mem::take(&mut state.key);
        key.clear();
        // The high bit keeps pipeline numbers, offsets and sizes apart from the ids of buffers.
        const NUMBER: u64 = 1 << 63;
        key.extend([NUMBER | pipeline.id, chunk.page().id]);
        for bind in &step.binds {
            key.extend([find(bind.source)?.id, NUMBER | bind.offset_bytes, NUMBER | bind.size_bytes]);
        }
        if let Some(found) = state.bind_groups.get(key.as_slice()) {
            let found = found.clone();
            state.key = key;
            return Ok(found);
        }
        let mut entries = Vec::with_capacity(step.binds.len() + 1);
        entries.push(wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &chunk.page().buffer,
                offset: 0,
                size: std::num::NonZeroU64::new(u64::from(uniforms::SLOT_BYTES)),
            }),
        });
        for bind in &step.binds {
            entries.push(wgpu::BindGroupEntry {
                binding: bind.binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &find(bind.source)?.buffer,
                    offset: bind.offset_bytes,
                    size: std::num::NonZeroU64::new(bind.size_bytes),
                }),
            });
        }
        let descriptor = wgpu::BindGroupDescriptor { label: Some(op), layout: &pipeline.layout, entries: &entries };
        let told = move |e: wgpu::Error| Error::Device { what: op.into(), message: e.to_string() };
        let made = self.shared.faults.scoped(self.device(), told, || self.device().create_bind_group(&descriptor))?;
        state.bind_groups.insert(key.as_slice().into(), made.clone());
        state.key = key;
        Ok(made)
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dispatcher({})", self.shared.info.name)
    }
}

/// The buffer to which a plan refers.
fn find<'a>(
    op: &'static str,
    source: Source,
    operands: &'a [Operand<'_>],
    scratch: &'a [Arc<Memory>],
) -> Result<&'a Memory> {
    match source {
        Source::Operand(i) => {
            let (name, tensor) = operands.get(i).copied().unwrap_or(("operand", None));
            tensor
                .and_then(|t| t.allocation.as_deref())
                .map(|allocation| &allocation.memory)
                .ok_or_else(|| shape_error!(op, "the plan binds {name}, which is absent"))
        }
        Source::Scratch(i) => scratch
            .get(i)
            .map(|memory| &**memory)
            .ok_or_else(|| shape_error!(op, "the plan binds scratch {i}, which it does not ask for")),
    }
}

/// The buffer that has the grid of an indirect dispatch, and where: three words that lie in it, and a usage that allows it.
fn grid_of(
    op: &'static str,
    indirect: Indirect,
    operands: &[Operand<'_>],
    scratch: &[Arc<Memory>],
) -> Result<(wgpu::Buffer, u64)> {
    let Indirect { source, offset_bytes } = indirect;
    let buffer = &find(op, source, operands, scratch)?.buffer;
    let name = match source {
        Source::Operand(i) => operands.get(i).map_or("an operand", |(name, _)| name),
        Source::Scratch(_) => "scratch",
    };
    if !buffer.usage().contains(wgpu::BufferUsages::INDIRECT) {
        let usage = buffer.usage();
        return Err(shape_error!(
            op,
            "{name} has the grid of a dispatch, but its buffer's usage {usage:?} lacks INDIRECT"
        ));
    }
    if !offset_bytes.is_multiple_of(4) || offset_bytes.checked_add(12).is_none_or(|end| end > buffer.size()) {
        let size = buffer.size();
        return Err(shape_error!(
            op,
            "{name} has the grid of a dispatch at byte {offset_bytes} of {size}: not three words"
        ));
    }
    Ok((buffer.clone(), offset_bytes))
}

fn named(problem: &dyn Planned, caps: &Caps, name: &str) -> Result<Plan> {
    let plans = problem.all_plans(caps)?;
    let known = || plans.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = plans.iter().position(|p| p.name == name).ok_or_else(|| Error::NoPlan {
        op: problem.name(),
        name: name.to_owned(),
        known: known(),
    })?;
    Ok(plans.into_iter().nth(found).unwrap_or_else(|| unreachable!("the position was just found")))
}

/// The plan of an op in `op=name[,op=name]`.
#[cfg(not(target_arch = "wasm32"))]
fn forced<'a>(list: &'a str, op: &'static str) -> Result<Option<&'a str>> {
    let rule = "it must be op=plan[,op=plan]";
    let wrong = |part: &str| Error::Value { op, name: "GRISTMILL_PLAN", value: part.to_owned(), rule };
    let mut found = None;
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (of, name) = part.split_once('=').ok_or_else(|| wrong(part))?;
        found = found.or((of == op).then_some(name));
    }
    Ok(found)
}
