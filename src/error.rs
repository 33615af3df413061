//! What can go wrong, as values.
//!
//! Every error names the op, the operand, the rule and the value, in one sentence:
//! `rms_norm: weight has 4096 numbers but the normalised dimensions of x have 4100`.
//! Nothing is recorded, and no output is written, by a call that returns one.

/// The errors of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Operands whose shapes do not fit each other or the op's numbers.
    #[error("{op}: {detail}")]
    Shape {
        /// The op.
        op: &'static str,
        /// Operand, rule and value.
        detail: String,
    },
    /// An operand is stored in a way that the op cannot take.
    #[error("{op}: {operand} is stored as {have}, but must be {want}")]
    Storage {
        /// The op.
        op: &'static str,
        /// The operand.
        operand: &'static str,
        /// How it is stored.
        have: &'static str,
        /// What the op takes.
        want: &'static str,
    },
    /// A number outside its range.
    #[error("{op}: {name} = {value}, but {rule}")]
    Value {
        /// The op.
        op: &'static str,
        /// The parameter.
        name: &'static str,
        /// What it was.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A position that has no row in the tables of a rotary embedding.
    #[error("{op}: the table has {rows} rows, position {position} is past it")]
    Position {
        /// The op, or the call.
        op: &'static str,
        /// Rows of the table.
        rows: u64,
        /// The last of the positions.
        position: u64,
    },
    /// A file that is not what it must be, or cannot be read.
    #[error("{file}: {detail}")]
    File {
        /// The file.
        file: String,
        /// The tensor, the rule and the value.
        detail: String,
    },
    /// An output shares its buffer with another operand of the same op. WebGPU forbids it: a
    /// buffer is either read or written by a dispatch, as a whole.
    #[error("{op}: {output} is written, but shares its buffer with {other}; give it a buffer of its own")]
    Shared {
        /// The op.
        op: &'static str,
        /// The operand that is written.
        output: String,
        /// The other operand.
        other: String,
    },
    /// A limit of the device is too small.
    #[error("{op}: needs {need} of {limit}, but there are {have}")]
    Limit {
        /// The op, or the call.
        op: &'static str,
        /// The limit, named as in [`Caps`](crate::Caps).
        limit: &'static str,
        /// What is needed.
        need: u64,
        /// What the device has.
        have: u64,
    },
    /// A capability that the device does not have.
    #[error("{op}: needs {capability}, which the device does not have")]
    Missing {
        /// The op, or the call.
        op: &'static str,
        /// The capability, named as in [`Caps`](crate::Caps).
        capability: &'static str,
    },
    /// A plan asked for by name does not exist for this problem on this device.
    #[error("{op}: no plan is named {name:?} here; there are {known}")]
    NoPlan {
        /// The op.
        op: &'static str,
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A shader that cannot be composed, or that the device rejected.
    #[error("{file}:{line}: {message}")]
    Shader {
        /// The file under `shaders/`, or the kernel's name where the line is not known.
        file: String,
        /// The line in that file, from 1; 0 where it is not known.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// The device had no memory for a buffer.
    #[error("{what}: out of memory for {bytes} bytes")]
    OutOfMemory {
        /// What the buffer was for.
        what: String,
        /// Its size.
        bytes: u64,
    },
    /// The device is gone. Make a new [`Dispatcher`](crate::Dispatcher); tensors of the old one are lost.
    #[error("the device is lost: {reason}")]
    Lost {
        /// What the driver or browser said.
        reason: String,
    },
    /// Any other complaint of the device.
    #[error("{what}: the device reports: {message}")]
    Device {
        /// What we were doing.
        what: String,
        /// Its words.
        message: String,
    },
    /// No adapter to run on.
    #[error("no GPU adapter: {reason}")]
    NoAdapter {
        /// Why, and what to do about it.
        reason: String,
    },
    /// A tensor without memory ([`Tensor::outline`](crate::Tensor::outline)) where there must be some.
    #[error("{op}: {operand} is an outline, which has no memory")]
    Outline {
        /// The op, or the call.
        op: &'static str,
        /// The operand.
        operand: String,
    },
    /// A tensor of another dispatcher's device was passed.
    #[error("{op}: {operand} belongs to another dispatcher")]
    Foreign {
        /// The op.
        op: &'static str,
        /// The operand.
        operand: String,
    },
}

/// `Result` with our [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A shape error, formatted like `println!` after the op's name.
macro_rules! shape_error {
    ($op:expr, $($text:tt)*) => {
        $crate::Error::Shape { op: $op, detail: format!($($text)*) }
    };
}
pub(crate) use shape_error;
