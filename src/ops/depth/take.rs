//! Rows through a list.

use crate::caps::Caps;
use crate::error::{Result, shape_error};
use crate::ops::norm::want_elem;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Plan};
use crate::tensor::{Elem, Layout, Tensor};

/// What belongs to the listed tokens, one after the other: `y[r] = x[rows[r]]`, zeros where there is no such row. Bits are copied.
///
/// For positions, say. Hidden states before a norm are better read through the list by the norm itself, which also writes them
/// compacted: [`RmsNorm::rows`](crate::ops::norm::RmsNorm::rows), and its `sum`.
///
/// # Errors
/// Rows of x that do not begin and end at whole words; no rows of which some are listed; an operand of another shape or storage than is
/// said at it; more than a binding of the device takes.
#[derive(Clone, Copy, Debug)]
pub struct Take<'a> {
    /// Any storage, `[.., len]`: a row for each token, or where `len` is 1, `[..]` a number for each.
    pub x: &'a Tensor,
    /// Numbers of a row: the last dimension of x, or 1.
    pub len: usize,
    /// Which rows: U32, any shape. [`Select::index`](super::Select::index) is such a list.
    pub rows: &'a Tensor,
    /// Receives them: storage of x, so many rows as are listed.
    pub y: &'a Tensor,
}

params! {
    /// The params of `depth/take`, where each is explained.
    TakeParams {
        /// The grid's x.
        fold: u32,
        /// Rows of y.
        rows: u32,
        /// Words of a row.
        len: u32,
        /// Rows of x.
        x_rows: u32,
        /// First word of x.
        x0: u32,
        /// First element of the list.
        list0: u32,
        /// First word of y.
        y0: u32,
        /// Nothing.
        pad: u32,
    }
}

/// Rows through a list, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TakeProblem {
    of: u64,
    rows: u64,
    /// Bytes of a row.
    row_bytes: u64,
    x: Layout,
    list: Layout,
    y: Layout,
}

const OP: &str = "mod_take";

impl Op for Take<'_> {
    type Problem = TakeProblem;

    fn problem(&self) -> Result<TakeProblem> {
        let Self { x, len, rows, y } = *self;
        want_elem(OP, "rows", rows, Elem::U32, "u32")?;
        want_elem(OP, "y", y, x.elem(), x.elem().name())?;
        if len == 0 || len != 1 && x.shape().dims().last() != Some(&len) {
            return Err(shape_error!(OP, "x has shape {}, which is not of rows of {len}", x.shape()));
        }
        let (of, listed) = (x.elements() / len, rows.elements());
        if y.elements() != listed * len {
            return Err(shape_error!(OP, "y has shape {}, but {listed} rows of {len} are listed", y.shape()));
        }
        if of == 0 && listed > 0 {
            return Err(shape_error!(OP, "rows are listed, but there are none"));
        }
        let row_bytes = len * x.elem().bytes();
        if !row_bytes.is_multiple_of(4) || [x, y].iter().any(|t| !t.offset_bytes().is_multiple_of(4)) {
            let (bytes, x, y) = (row_bytes, x.offset_bytes(), y.offset_bytes());
            return Err(shape_error!(OP, "rows of {bytes} bytes from byte {x} and {y} on are not whole words"));
        }
        Ok(TakeProblem {
            of: of as u64,
            rows: listed as u64,
            row_bytes: row_bytes as u64,
            x: x.layout(),
            list: rows.layout(),
            y: y.layout(),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("x", Some(self.x)), ("rows", Some(self.rows)), ("y", Some(self.y))]
    }
}

impl Problem for TakeProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        if self.rows == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        for rows in [self.of, self.rows] {
            rows_at_once(OP, caps, 1, 1, rows * self.row_bytes)?;
        }
        let mut step = Builder::new("depth/take", Loads { quads: false, native_f16: false });
        let words = |head: u32, layout: Layout| head * layout.elem.bytes() as u32 / 4;
        let mut params = TakeParams {
            rows: self.rows as u32,
            len: (self.row_bytes / 4) as u32,
            x_rows: self.of as u32,
            ..Default::default()
        };
        params.x0 = words(step.bind(1, Part::whole(0, self.x), Access::Read), self.x);
        params.list0 = step.bind(2, Part::whole(1, self.list), Access::Read);
        params.y0 = words(step.bind(3, Part::whole(2, self.y), Access::Write), self.y);
        let grid = grid(OP, caps, (self.rows * u64::from(params.len)).div_ceil(256))?;
        params.fold = grid[0];
        Ok(vec![Plan::new(OP, "words", "one lane a word", vec![step.step(&params, grid)], Vec::new())])
    }
}
