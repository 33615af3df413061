//! A matrix with its rows and columns moved and multiplied.

use super::{ANY, PrepareParams, even, matrix, one, vector};
use crate::caps::Caps;
use crate::error::{Result, shape_error};
use crate::ops::step::{Builder, Loads, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Const, Plan};
use crate::tensor::{Layout, Tensor};

/// `y[n,k] = (w[n,k] − row_shift[n] − col_shift[k])·row[n]·col[k] + add[n]`, and with a limit no further from 0 than `limit[n]`.
///
/// Arithmetic is f32, rounded once to the storage of y. y may have fewer columns than w: then they are the first of w. What is absent
/// is 0 where it is added and 1 where it is multiplied by. A NaN stays one, also where there is a limit.
///
/// # Errors
/// w and y are not matrices of floats, y has other rows or more columns than w, or a vector another length.
#[derive(Clone, Copy, Debug)]
pub struct Rescale<'a> {
    /// F32, f16 or bf16, `[N,K]`.
    pub w: &'a Tensor,
    /// Taken from every row, `[N]`.
    pub row_shift: Option<&'a Tensor>,
    /// Taken from every column, `[K]`, or as many as y has.
    pub col_shift: Option<&'a Tensor>,
    /// `[N]`, or `[1]` for all rows.
    pub row: Option<&'a Tensor>,
    /// As `col_shift`.
    pub col: Option<&'a Tensor>,
    /// Added to every row, `[N]`.
    pub add: Option<&'a Tensor>,
    /// The largest magnitude of a row of y, `[N]`.
    pub limit: Option<&'a Tensor>,
    /// F32, f16 or bf16, `[N,K]` or with fewer columns.
    pub y: &'a Tensor,
}

impl<'a> Rescale<'a> {
    /// A copy, perhaps in another storage.
    pub fn new(w: &'a Tensor, y: &'a Tensor) -> Self {
        Self { w, row_shift: None, col_shift: None, row: None, col: None, add: None, limit: None, y }
    }

    fn vectors(&self) -> [Option<&'a Tensor>; 6] {
        [self.row_shift, self.col_shift, self.row, self.col, self.add, self.limit]
    }
}

/// What stands beside w, in the order of bindings from 2 on: its name, its slot, and what an absent one is.
const VECTORS: [(&str, &str, &str); 6] = [
    ("row_shift", "from_row", "slot/read/zero"),
    ("col_shift", "from_col", "slot/read/zero"),
    ("row", "by_row", "slot/read/one"),
    ("col", "by_col", "slot/read/one"),
    ("add", "add", "slot/read/zero"),
    ("limit", "limit", "slot/read/one"),
];

/// The change of a matrix with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RescaleProblem {
    n: u64,
    k: u64,
    width: u64,
    w: Layout,
    vectors: [Option<Layout>; 6],
    y: Layout,
}

impl Op for Rescale<'_> {
    type Problem = RescaleProblem;

    fn problem(&self) -> Result<RescaleProblem> {
        let op = "rescale";
        let ([n, k], [rows, width]) = (matrix(op, "w", self.w)?, matrix(op, "y", self.y)?);
        if rows != n || width > k {
            return Err(shape_error!(
                op,
                "y has shape {}, which is no beginning of w of {}",
                self.y.shape(),
                self.w.shape()
            ));
        }
        for ((name, ..), tensor) in VECTORS.into_iter().zip(self.vectors()) {
            let Some(tensor) = tensor else { continue };
            match name {
                // More than are used may be there: those of all of w.
                "col_shift" | "col" if tensor.elements() as u64 == k => vector(op, name, tensor, k, "w has columns")?,
                "col_shift" | "col" => vector(op, name, tensor, width, "y has columns")?,
                "row" if tensor.elements() == 1 => vector(op, name, tensor, 1, "there must be")?,
                _ => vector(op, name, tensor, n, "w has rows")?,
            }
        }
        let vectors = self.vectors().map(|v| v.map(Tensor::layout));
        Ok(RescaleProblem { n, k, width, w: self.w.layout(), vectors, y: self.y.layout() })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let vectors = VECTORS.iter().zip(self.vectors()).map(|((name, ..), tensor)| (*name, tensor));
        [("w", Some(self.w))].into_iter().chain(vectors).chain([("y", Some(self.y))]).collect()
    }
}

impl Problem for RescaleProblem {
    fn op(&self) -> &'static str {
        "rescale"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let Self { n, k, width, .. } = *self;
        let mut steps = Vec::new();
        let widest = (k * self.w.elem.bytes() as u64).max(width * self.y.elem.bytes() as u64).max(4);
        let most = rows_at_once(self.op(), caps, n, 1, widest)?;
        let quads = even(self.w, k) && even(self.y, width);
        for n0 in (0..if width > 0 { n } else { 0 }).step_by(most.max(1) as usize) {
            let rows = most.min(n - n0);
            let mut step = Builder::new("prepare/rescale", Loads { quads, ..ANY });
            let mut params = PrepareParams { n: rows as u32, k: k as u32, width: width as u32, ..Default::default() };
            let numbers = |operand, layout, len| Part { operand, layout, start: n0 * len, elements: rows * len };
            params.at1 = step.read("w", 1, Some(numbers(0, self.w, k)), "slot/read/zero");
            let mut at = [0; 6];
            for (i, (name, slot, absent)) in VECTORS.into_iter().enumerate() {
                let part = self.vectors[i].map(|layout| {
                    let of_rows = !name.starts_with("col") && (name != "row" || layout.elements == n);
                    let all = Part::whole(1 + i, layout);
                    if of_rows { Part { start: n0, elements: rows, ..all } } else { all }
                });
                at[i] = step.read_as(slot, 2 + i as u32, part, absent, ANY);
            }
            [params.at2, params.at3, params.at4, params.at5, params.at6, params.at7] = at;
            params.each = u32::from(self.vectors[2].is_some_and(|row| row.elements == n));
            params.at8 = step.write("y", 8, Some(numbers(7, self.y, width)));
            step.set("CLIPPED", Const::Bool(self.vectors[5].is_some()));
            let grid = grid(self.op(), caps, (rows * width.div_ceil(4)).div_ceil(256))?;
            params.fold = grid[0];
            steps.push(step.step(&params, grid));
        }
        Ok(one(self.op(), "four numbers a lane", steps))
    }
}
