//! Clocks: the host's, and a stopwatch for passes on the device.

use super::Timer;
use crate::caps::{DeviceKind, Target};
use crate::dispatch::{Dispatcher, Recorder};
use crate::error::Result;
use crate::tensor::{Elem, Tensor};

/// Microseconds since some moment.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn now_us() -> f64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64() * 1e6
}

/// Microseconds since some moment, as exact as the browser lets a page know.
#[cfg(target_arch = "wasm32")]
pub(super) fn now_us() -> f64 {
    use js_sys::Reflect;
    use wasm_bindgen::JsCast as _;
    let performance = Reflect::get(&js_sys::global(), &"performance".into()).unwrap_or_default();
    let now = Reflect::get(&performance, &"now".into()).ok().and_then(|f| f.dyn_into::<js_sys::Function>().ok());
    let ms = now.and_then(|now| now.call0(&performance).ok()).and_then(|ms| ms.as_f64());
    ms.unwrap_or_else(js_sys::Date::now) * 1e3
}

/// Records one run. It is called through a pointer, so that the measurement, which waits and is large for that, is compiled once.
pub(super) type Record<'a> = &'a mut dyn FnMut(&mut Recorder<&mut wgpu::CommandEncoder>) -> Result<()>;

/// Tells how long a pass takes.
pub(super) struct Stopwatch {
    gpu: Dispatcher,
    /// None where the device has none, or has shown that they cannot be believed.
    stamps: Option<Stamps>,
}

struct Stamps {
    set: wgpu::QuerySet,
    /// `[4]` words: where the pass begins and ends, in ticks of 64 bits.
    resolved: Tensor,
    buffer: wgpu::Buffer,
    tick_us: f64,
}

impl Stopwatch {
    pub fn new(gpu: &Dispatcher) -> Result<Self> {
        let stamps = if gpu.caps().timestamps { Some(Stamps::new(gpu)?) } else { None };
        Ok(Self { gpu: gpu.clone(), stamps })
    }

    pub fn gpu(&self) -> &Dispatcher {
        &self.gpu
    }

    pub fn timer(&self) -> Timer {
        if self.stamps.is_some() { Timer::Timestamps } else { Timer::Slope }
    }

    pub fn software(&self) -> bool {
        self.gpu.caps().kind == DeviceKind::Cpu
    }

    pub fn target(&self) -> Target {
        self.gpu.caps().target
    }

    /// Microseconds of a pass with so many runs. By the wall clock it is the time from submission to the end, with
    /// all that a submission costs; recording is never counted.
    pub async fn pass(&mut self, runs: usize, record: Record<'_>) -> Result<f64> {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("gristmill measure") };
        let mut encoder = self.gpu.device().create_command_encoder(&descriptor);
        let mut recorder = self.gpu.record_into(&mut encoder)?;
        if let Some(stamps) = &self.stamps {
            recorder.time_with(&stamps.set, &stamps.buffer);
        }
        for _ in 0..runs {
            record(&mut recorder)?;
        }
        let dispatches = recorder.dispatches();
        recorder.finish();
        if dispatches == 0 {
            return Ok(0.0);
        }
        let commands = encoder.finish();
        let start = now_us();
        self.gpu.scoped("measure", || self.gpu.queue().submit([commands]))?;
        self.gpu.wait().await?;
        let wall_us = now_us() - start;
        let Some(stamps) = &self.stamps else { return Ok(wall_us) };
        let us = stamps.elapsed_us().await?;
        // Some drivers offer timestamps that do not move, or whose ticks are not what they say.
        let still = us <= 0.0 && wall_us > 20e3;
        if still || !(0.0..2.0 * wall_us + 1e3).contains(&us) {
            self.stamps = None;
            return Ok(wall_us);
        }
        Ok(us)
    }
}

impl Stamps {
    fn new(gpu: &Dispatcher) -> Result<Self> {
        let set = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("gristmill measure"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("gristmill measure"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let resolved = gpu.wrap(&buffer, 0, [4], Elem::U32)?;
        Ok(Self { set, resolved, buffer, tick_us: f64::from(gpu.queue().get_timestamp_period()) / 1e3 })
    }

    async fn elapsed_us(&self) -> Result<f64> {
        let words = self.resolved.read_words().await?;
        let ticks = |i: usize| u64::from(words[2 * i]) | (u64::from(words[2 * i + 1]) << 32);
        // Ticks are compared as integers: as floats they have lost their last digits.
        Ok(ticks(1).wrapping_sub(ticks(0)).cast_signed() as f64 * self.tick_us)
    }
}
