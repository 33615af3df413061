//! Work that keeps a GPU awake.

#[cfg(not(target_arch = "wasm32"))]
pub use native::Busy;

/// A page has one thread: there is none that could keep a GPU busy.
#[cfg(target_arch = "wasm32")]
pub(super) struct Busy;

#[cfg(target_arch = "wasm32")]
impl Busy {
    pub(super) fn new(_: &crate::dispatch::Dispatcher) -> Option<Self> {
        None
    }

    pub(super) fn awake(self) {}
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    use crate::caps::DeviceKind;
    use crate::dispatch::Dispatcher;
    use crate::proof::measure::{Number, Rate};
    use crate::tensor::Elem;

    /// Work for a GPU while the host makes a reference or compiles a kernel, until it is dropped: one that waits for as little as a second
    /// lets its clock down, and takes as long to bring it up.
    pub struct Busy {
        state: Arc<State>,
        thread: Option<JoinHandle<()>>,
    }

    #[derive(Default)]
    struct State {
        stop: AtomicBool,
        /// Nanoseconds that a round of work took last; 0 before the first.
        last: AtomicU64,
    }

    /// The quickest round of this process, by the clock that a device reaches when it is awake.
    static QUICKEST: AtomicU64 = AtomicU64::new(u64::MAX);

    /// A round this much slower than the quickest is by a device that is half asleep. Under load its clock falls by less than that.
    const AWAKE: f64 = 1.25;
    /// Longer than that nobody waits: what made the quickest round may have been another device.
    const WAIT_MOST: Duration = Duration::from_secs(3);
    /// Where nothing has been quick yet, a device has so long to come up.
    const FIRST: Duration = Duration::from_millis(1200);

    impl Busy {
        /// None on a software device, which shares the processor with the host.
        pub fn new(gpu: &Dispatcher) -> Option<Self> {
            if gpu.caps().kind == DeviceKind::Cpu {
                return None;
            }
            let state = Arc::new(State::default());
            let (gpu, shared) = (gpu.clone(), Arc::clone(&state));
            let thread = std::thread::spawn(move || {
                // A fault is the measurement's to tell, which comes after this.
                let Ok(y) = gpu.zeros([1 << 20], Elem::F32) else { return };
                while !shared.stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let done = gpu.run(Rate { number: Number::F32, rounds: 2048, y: &y });
                    if done.and_then(|()| pollster::block_on(gpu.wait())).is_err() {
                        return;
                    }
                    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    shared.last.store(took, Ordering::Relaxed);
                    QUICKEST.fetch_min(took, Ordering::Relaxed);
                }
            });
            Some(Self { state, thread: Some(thread) })
        }

        /// Stops when the device's clock is up.
        pub fn awake(self) {
            let first = QUICKEST.load(Ordering::Relaxed) == u64::MAX;
            let begun = Instant::now();
            let is_awake = || {
                let (last, quickest) = (self.state.last.load(Ordering::Relaxed), QUICKEST.load(Ordering::Relaxed));
                last > 0 && last as f64 <= AWAKE * quickest as f64 && !(first && begun.elapsed() < FIRST)
            };
            while !is_awake() && begun.elapsed() < WAIT_MOST {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            self.state.stop.store(true, Ordering::Relaxed);
            if let Some(thread) = self.thread.take() {
                _ = thread.join();
            }
        }
    }
}
