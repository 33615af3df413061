//! Gristmill.

mod caps;
pub mod dispatch;
mod error;
pub mod ops;
pub mod plan;
pub mod proof;
pub mod reference;
mod shape;
mod tensor;
pub mod wgsl;

pub use caps::{Caps, DeviceKind, MatrixShape, Subgroups, Target};
pub use dispatch::{Dispatcher, Recorder, Request};
pub use error::{Error, Result};
pub use ops::{Op, Problem};
pub use plan::Plan;
pub use shape::{IntoShape, Shape};
pub use tensor::{Elem, Layout, Tensor};
