//! Judging kernels: the case table, the check against the reference, the measurement. Nothing here is needed to use them.
//!
//! The problems that are tested, timed and shown on the page are one list, [`cases::all`]; what of it the
//! page has at once is [`cases::page`].

mod attrs;
pub mod cases;
mod check;
pub mod measure;
mod named;
mod row;
mod run;

pub use attrs::{Attrs, Reader, Value};
pub use check::{Expected, Outcome, compare};
pub use named::{AnyOp, AnyProblem, Operands, Roles, Use, build, is_known};
pub use row::{COLUMNS, Row, json_text};
pub use run::{Prepared, Verdict};
