//! Gristmill: WGSL compute kernels for transformer inference, and one dispatcher that runs them on Vulkan, Metal and DX12 and
//! in the browser.
//!
//! ```
//! # fn main() -> gristmill::Result<()> { pollster::block_on(async {
//! use gristmill::{Dispatcher, Elem, ops::norm::RmsNorm};
//!
//! let gpu = Dispatcher::request().await?; // or Dispatcher::adopt(&adapter, device, queue): the device may be yours
//! let x = gpu.upload(&[3.0, 4.0, 0.0, 0.0], [1, 4], Elem::F32)?;
//! let weight = gpu.upload(&[1.0, 2.0, 1.0, 1.0], [4], Elem::Bf16)?;
//! let (h, y) = (gpu.zeros([1, 4], Elem::F16)?, gpu.zeros([1, 4], Elem::F32)?);
//!
//! let mut rec = gpu.record()?; // or gpu.record_into(&mut encoder), between your own passes
//! rec.run(RmsNorm { weight: Some(&weight), ..RmsNorm::new(&x, &h) })?;
//! rec.run(RmsNorm::new(&h, &y))?;
//! rec.submit()?;
//! assert!((y.read().await?[1] - 1.872).abs() < 1e-3);
//! # Ok(()) }) }
//! ```
//!
//! # The path of data
//!
//! A [`Tensor`] is a buffer with a shape and a way of storing. An **op**, such as [`RmsNorm`](ops::norm::RmsNorm), is a struct
//! with named operands. [`Op::problem`] checks its shapes and types, and from there on there are only numbers: a
//! **problem** can be hashed, printed and planned without a GPU.
//!
//! [`Problem::plans`] gives the **plans** that a device's [`Caps`] allow, best first; the last always runs on
//! [`Caps::baseline`], which is what every WebGPU device has: no f16, no subgroups, 8 storage buffers, 16 KiB of workgroup memory.
//! A [`Plan`] is a list of **steps**: a kernel, a filling for each of its slots, constants, bindings, params and a grid.
//! Plans are pure data; only [`dispatch`] executes them.
//!
//! The [`Dispatcher`] composes the step's WGSL ([`wgsl::compose`]), compiles it once, binds and dispatches. A [`Recorder`] puts many
//! ops into one compute pass and one submission. Recording and submitting allocate nothing on the device once an op of the same problem has
//! run before, wait for nothing, and read nothing back. What waits for the device is what says so: [`Tensor::read`] and whatever else reads,
//! [`Dispatcher::wait`] and [`Dispatcher::settle`]; and the first op of its kind, which compiles its kernels ([`Dispatcher::warm`] does so ahead).
//!
//! Futures of this library need no runtime. Natively they block their thread until the device has answered, so that an asynchronous
//! application awaits them where it may block; in a browser they wait as promises do.
//!
//! A model is layers: [`DecoderLayer`] records the ops of one, from weights in any format, and [`KvCache`] keeps what it attends to. What is
//! the same at every step is recorded once ([`Dispatcher::keep`]) and replayed.
//!
//! # Storage and arithmetic
//!
//! F32, f16 and bf16 are ways of storing; arithmetic is f32, and so are all sums. Whether f16 is read natively or through packed
//! words is the plan's choice and gives the same numbers. Conversions round to nearest, ties to even, on every device.
//!
//! # Weights
//!
//! A [`checkpoint`] knows which tensors of a file are a weight, and in which of the published [`formats`]; or [`formats::Packed::encode`]
//! makes one. [`Dispatcher::weight`] puts it on the device as a [`Weight`], bit for bit but in an order that kernels like;
//! [`Dispatcher::encode`] makes one of numbers that are there. [`Linear`](ops::linear::Linear) multiplies with it: decoded where it is used,
//! so that its packed bytes are all that is read of it.
//!
//! # Errors
//!
//! Every error is a value that names the op, the operand, the rule and the number: `rms_norm: weight has shape [63], but the
//! normalised dimensions have [64]`. A call that returns one has recorded and written nothing.
//!
//! # Versions
//!
//! Ops are structs that are meant to be built from their `new`, `RmsNorm { weight: Some(&w), ..RmsNorm::new(&x, &y) }`: a minor version may add fields,
//! and variants of enums. [`plan`], [`proof`], [`mod@reference`] and the params of kernels are open for looking, and change when kernels do.
//!
//! # Looking inside
//!
//! | variable | what it does |
//! |---|---|
//! | `GRISTMILL_ADAPTER=substring` | chooses the device that [`Dispatcher::request`] finds |
//! | `GRISTMILL_CAPS=baseline` | makes that device act as the least |
//! | `GRISTMILL_PLAN=rms_norm=naive` | forces a plan; of several ops `op=plan,op=plan` |
//! | `GRISTMILL_DUMP=dir` | writes every composed shader |
//! | `GRISTMILL_SHADERS=shaders` | reads shaders from disk, so that a kernel is edited without a rebuild |
//! | `GRISTMILL_LOOPS=unrolled` | makes a software device get what GPUs get: loops over registers written out |
//! | `GRISTMILL_CACHE=dir` | where compiled kernels are kept for the next run; `none` keeps none. Without it `gristmill` in the user's cache directory |
//!
//! How the shaders are put together is on one page, `shaders/README.md`. [`proof`] judges kernels, [`mod@reference`] is their
//! specification.

pub mod adapters;
mod caps;
pub mod checkpoint;
pub mod decoder;
pub mod dispatch;
mod error;
pub mod formats;
pub mod kv;
pub mod kv_cache;
pub mod kv_steps;
pub mod ops;
pub mod plan;
pub mod proof;
pub mod reference;
mod shape;
mod tensor;
mod weight;
pub mod wgsl;

pub use adapters::{AdapterSet, Magnitudes, Room};
pub use caps::{Caps, DeviceKind, MatrixShape, MatrixUnits, Subgroups, Target};
pub use decoder::DecoderLayer;
#[cfg(not(target_arch = "wasm32"))]
pub use dispatch::Reading;
pub use dispatch::{Dispatcher, Encoder, Recorder, Recording, Request};
pub use error::{Error, Result};
pub use kv::{KvFormat, KvRows, Place};
pub use kv_cache::KvCache;
pub use ops::{Op, Problem};
pub use plan::Plan;
pub use shape::{IntoShape, Shape};
pub use tensor::{Elem, Layout, Tensor};
pub use weight::Weight;
/// The version that a device must be of that is handed to [`Dispatcher::adopt`].
pub use wgpu;

/// The example of the README is tested with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
