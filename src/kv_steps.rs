//! What is done to a cache on the device beside ops of a model: its rows as numbers, rows copied, lengths and block tables moved on.
//!
//! These change a buffer in place, so that the case table, which fills outputs before a run, cannot have them; `tests/cache.rs` judges them
//! against a model on the host.

use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::kv::{KEYS, KvAt, KvLayout, KvRows};
use crate::ops::little::{Little, Words};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// The numbers of rows of a cache, `y[rows, width]`: bit for bit what [`KvRows::read`] gives, and then rounded to the storage of y.
///
/// # Errors
/// y has another number of elements, or no floating storage; rows wider than a binding of the device.
#[derive(Clone, Copy, Debug)]
pub struct KvNumbers<'a> {
    /// The rows.
    pub rows: &'a KvRows,
    /// Receives the numbers: F32, f16 or bf16.
    pub y: &'a Tensor,
}

params! {
    /// The params of `kv/numbers`, where each is explained.
    NumbersParams {
        /// The rows.
        rows: KvAt,
        /// The grid's x.
        fold: u32,
        /// The first row of this dispatch.
        row0: u32,
        /// How many.
        count: u32,
        /// The first element of y.
        y0: u32,
    }
}

/// Rows to be decoded, with their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KvNumbersProblem {
    rows: KvLayout,
    y: Layout,
}

fn plan(op: &'static str, why: &'static str, steps: Vec<crate::plan::Step>, scratch_bytes: Vec<u64>) -> Vec<Plan> {
    vec![Plan::new(op, if steps.is_empty() { "empty" } else { "naive" }, why, steps, scratch_bytes)]
}

impl Op for KvNumbers<'_> {
    type Problem = KvNumbersProblem;

    fn problem(&self) -> Result<KvNumbersProblem> {
        let op = "kv_numbers";
        want_float(op, "y", self.y)?;
        if self.y.elements() != self.rows.rows() * self.rows.width() {
            let (shape, rows, width) = (self.y.shape(), self.rows.rows(), self.rows.width());
            return Err(shape_error!(op, "y has shape {shape}, but there are {rows} rows of {width}"));
        }
        Ok(KvNumbersProblem { rows: self.rows.layout(), y: self.y.layout() })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("rows", Some(self.rows.tensor())), ("y", Some(self.y))]
    }
}

impl Problem for KvNumbersProblem {
    fn op(&self) -> &'static str {
        "kv_numbers"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let op = self.op();
        self.rows.check(op, caps)?;
        let (width, size) = (self.rows.width, self.y.elem.bytes() as u64);
        let most = rows_at_once(op, caps, self.rows.rows, 1, width * size)?.max(1);
        let quads = width.is_multiple_of(4) && (self.y.offset_bytes / size).is_multiple_of(4);
        let mut steps = Vec::new();
        for row0 in (0..self.rows.rows).step_by(most as usize) {
            let count = most.min(self.rows.rows - row0);
            let mut step = Builder::new("kv/numbers", Loads { quads, native_f16: false });
            let rows = self.rows.read(&mut step, KEYS, 1, 0, false);
            let y0 = step.write(
                "y",
                2,
                Some(Part { operand: 1, layout: self.y, start: row0 * width, elements: count * width }),
            );
            let grid = grid(op, caps, (count * width.div_ceil(32)).div_ceil(64))?;
            let params = NumbersParams { rows, fold: grid[0], row0: row0 as u32, count: count as u32, y0 };
            steps.push(step.step(&params, grid));
        }
        Ok(plan(op, "one lane for a block of 32", steps, Vec::new()))
    }
}

/// Rows of a cache copied to others of the same: `rows[to ..][.. count] = rows[from ..][.. count]`. The two runs may not overlap.
///
/// # Errors
/// Runs that reach past the rows or overlap; numbers that do not begin and end at whole words.
#[derive(Clone, Copy, Debug)]
pub struct KvCopy<'a> {
    /// The rows.
    pub rows: &'a KvRows,
    /// The first row that is copied.
    pub from: usize,
    /// The first that is replaced.
    pub to: usize,
    /// How many.
    pub count: usize,
}

params! {
    /// The params of `kv/copy`, where each is explained.
    CopyParams {
        /// The grid's x.
        fold: u32,
        /// The first run: where it is.
        a0: u32,
        /// Where it goes.
        a1: u32,
        /// Its words.
        a: u32,
        /// The second run: where it is.
        b0: u32,
        /// Where it goes.
        b1: u32,
        /// Its words.
        b: u32,
        /// Nothing.
        pad: u32,
    }
}

/// A copy, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KvCopyProblem {
    rows: KvLayout,
    /// In words: where the runs are, where they go, and their lengths.
    runs: [[u64; 3]; 2],
}

impl Op for KvCopy<'_> {
    type Problem = KvCopyProblem;

    fn problem(&self) -> Result<KvCopyProblem> {
        let (op, Self { rows, from, to, count }) = ("kv_copy", *self);
        let past = |first: usize| first.checked_add(count).is_none_or(|end| end > rows.rows());
        if past(from) || past(to) {
            return Err(shape_error!(op, "{count} rows from {from} to {to} are not all among {}", rows.rows()));
        }
        if from.abs_diff(to) < count {
            return Err(shape_error!(op, "{count} rows from {from} to {to} overlap"));
        }
        let runs = rows.layout().words(from as u64, to as u64, count as u64);
        let runs =
            runs.ok_or_else(|| shape_error!(op, "{count} rows of {} numbers are not whole words", rows.width()))?;
        Ok(KvCopyProblem { rows: rows.layout(), runs })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("rows", Some(self.rows.tensor()))]
    }
}

impl Problem for KvCopyProblem {
    fn op(&self) -> &'static str {
        "kv_copy"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let op = self.op();
        self.rows.check(op, caps)?;
        let [[a0, a1, a], [b0, b1, b]] = self.runs;
        if a + b == 0 {
            return Ok(plan(op, "there is nothing to copy", Vec::new(), Vec::new()));
        }
        let mut step = Builder::new("kv/copy", Loads { quads: false, native_f16: false });
        let word = self.rows.bind_words(&mut step, 1, 0);
        let grid = grid(op, caps, (a + b).div_ceil(64))?;
        let params = CopyParams {
            fold: grid[0],
            a0: word + a0 as u32,
            a1: word + a1 as u32,
            a: a as u32,
            b0: word + b0 as u32,
            b1: word + b1 as u32,
            b: b as u32,
            pad: 0,
        };
        Ok(plan(op, "one lane a word", vec![step.step(&params, grid)], Vec::new()))
    }
}

/// Where tokens are appended that do not come: 2^30, past the room of any cache.
pub const NOWHERE: usize = 1 << 30;

/// As many entries of a table as one [`KvState`] sets.
pub const ENTRIES: usize = 32;

/// Lengths and block tables of a cache, changed on the device in the order in which work is recorded:
///
/// `length' = min(max(length + add + counts[b], 0), limit)` and `start = length`, or [`NOWHERE`] where `length'` is no greater, for elements of
/// the batch in a run of layers; some entries of a block table, and a run of them that become −1, which is no page. `start` is where tokens
/// that come now are appended, `length` how many there are then: to whom none come nothing is written.
///
/// # Errors
/// Layers, elements or entries that are not there; counts or a state of another shape or storage; a limit of 2^30 or more.
#[derive(Clone, Copy, Debug)]
pub struct KvState<'a> {
    /// I32: for each layer B starts and B lengths, then what tables there are.
    pub state: &'a Tensor,
    /// B.
    pub batch: usize,
    /// The first layer, and how many.
    pub layers: (usize, usize),
    /// The first element of the batch, and how many.
    pub elements: (usize, usize),
    /// Tokens that come to each; below 0: that go.
    pub add: i32,
    /// And so many more: I32, `[B]`. Below 0 is 0.
    pub counts: Option<&'a Tensor>,
    /// The most that there may be.
    pub limit: u32,
    /// The element whose lengths are taken in the place of each one's own: a fork.
    pub source: Option<usize>,
    /// The element of the state at which entries are set, and what they become: [`ENTRIES`] at most.
    pub entries: (usize, &'a [i32]),
    /// The first element of the state that becomes −1, and how many do.
    pub gone: (usize, usize),
}

params! {
    /// The params of `kv/state`, where each is explained.
    StateParams {
        /// The grid's x.
        fold: u32,
        /// The first layer.
        layer0: u32,
        /// How many.
        layers: u32,
        /// The first element.
        b0: u32,
        /// How many.
        count: u32,
        /// Elements of the batch.
        batch: u32,
        /// Tokens that come.
        add: u32,
        /// The most that there may be.
        limit: u32,
        /// The element whose lengths are taken.
        source: u32,
        /// The first count.
        counts0: u32,
        /// The word of the first entry.
        entry0: u32,
        /// How many.
        entries: u32,
        /// The word of the first entry that becomes no page.
        gone0: u32,
        /// How many.
        gone: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
        /// Entries.
        e0: [u32; 4],
        /// Entries.
        e1: [u32; 4],
        /// Entries.
        e2: [u32; 4],
        /// Entries.
        e3: [u32; 4],
        /// Entries.
        e4: [u32; 4],
        /// Entries.
        e5: [u32; 4],
        /// Entries.
        e6: [u32; 4],
        /// Entries.
        e7: [u32; 4],
    }
}

/// A change of lengths and tables, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KvStateProblem {
    state: Layout,
    counts: Little,
    has_counts: bool,
    source: Option<u32>,
    numbers: [u32; 10],
    entries: Vec<i32>,
}

impl Op for KvState<'_> {
    type Problem = KvStateProblem;

    fn problem(&self) -> Result<KvStateProblem> {
        let op = "kv_state";
        for (operand, tensor) in [("state", Some(self.state)), ("counts", self.counts)] {
            if let Some(tensor) = tensor.filter(|t| t.elem() != Elem::I32) {
                return Err(Error::Storage { op, operand, have: tensor.elem().name(), want: "i32" });
            }
        }
        let ((l0, layers), (b0, count), batch) = (self.layers, self.elements, self.batch);
        let lengths = l0.saturating_add(layers).saturating_mul(2).saturating_mul(batch);
        let ((entry0, entries), (gone0, gone)) = (self.entries, self.gone);
        let have = self.state.elements();
        let end = |first: usize, count: usize| first.saturating_add(count);
        if lengths > have || end(entry0, entries.len()) > have || entries.len() > ENTRIES || end(gone0, gone) > have {
            let n = entries.len();
            return Err(shape_error!(
                op,
                "the state has {have} numbers; lengths end at {lengths}, {n} entries begin at {entry0}, {gone} that go at {gone0}"
            ));
        }
        if self.limit as usize >= NOWHERE {
            return Err(Error::Limit { op, limit: "tokens", need: self.limit.into(), have: NOWHERE as u64 - 1 });
        }
        if end(b0, count) > batch || self.source.is_some_and(|s| s >= batch) {
            return Err(shape_error!(
                op,
                "elements {b0} to {} and {:?} are not among {batch}",
                end(b0, count),
                self.source
            ));
        }
        if self.source.is_some_and(|s| (b0..b0 + count).contains(&s)) {
            return Err(shape_error!(op, "element {:?} cannot become its own fork", self.source));
        }
        if let Some(counts) = self.counts.filter(|c| c.elements() != batch) {
            return Err(shape_error!(op, "counts have shape {}, but the batch has {batch} elements", counts.shape()));
        }
        let numbers = [l0, layers, b0, count, batch, self.add as usize, self.limit as usize, entry0, gone0, gone];
        Ok(KvStateProblem {
            state: self.state.layout(),
            counts: Little::of(1, &[self.counts]),
            has_counts: self.counts.is_some(),
            source: self.source.map(|s| s as u32),
            numbers: numbers.map(|n| n as u32),
            entries: entries.to_vec(),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("state", Some(self.state)), ("counts", self.counts)]
    }
}

impl Problem for KvStateProblem {
    fn op(&self) -> &'static str {
        "kv_state"
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let op = self.op();
        let [layer0, layers, b0, count, batch, add, limit, entry0, gone0, gone] = self.numbers;
        let lanes = (u64::from(layers) * u64::from(count)).max(self.entries.len() as u64).max(gone.into());
        if lanes == 0 {
            return Ok(plan(op, "there is nothing to change", Vec::new(), Vec::new()));
        }
        let mut step = Builder::new("kv/state", Loads { quads: false, native_f16: false });
        step.set("COUNTS", Const::Bool(self.has_counts));
        step.set("SOURCE", Const::Bool(self.source.is_some()));
        // One operand is never gathered.
        let counts: Words = self.counts.gather(op, caps, &mut Vec::new(), &mut Vec::new())?;
        counts.bind(&mut step, "counts", 1);
        let word = step.bind(2, Part::whole(0, self.state), Access::Write);
        if word != 0 {
            return Err(shape_error!(
                op,
                "the state begins at element {word} of a binding; it must have a buffer of its own"
            ));
        }
        let grid = grid(op, caps, lanes.div_ceil(64))?;
        let mut params = StateParams {
            fold: grid[0],
            layer0,
            layers,
            b0,
            count,
            batch,
            add,
            limit,
            source: self.source.unwrap_or(0),
            counts0: if self.has_counts { counts.at[0] } else { 0 },
            entry0,
            entries: self.entries.len() as u32,
            gone0,
            gone,
            ..Default::default()
        };
        let places = [
            &mut params.e0,
            &mut params.e1,
            &mut params.e2,
            &mut params.e3,
            &mut params.e4,
            &mut params.e5,
            &mut params.e6,
            &mut params.e7,
        ];
        for (place, some) in places.into_iter().zip(self.entries.chunks(4)) {
            place.iter_mut().zip(some).for_each(|(word, entry)| *word = *entry as u32);
        }
        Ok(plan(op, "one lane a number", vec![step.step(&params, grid)], Vec::new()))
    }
}
