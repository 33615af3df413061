//! Whole weights merged into one: averages, task vectors, Model Stock, XFT.

use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::ops::norm::number;
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan, Step};
use crate::tensor::{Layout, Tensor, want_float};

/// Weights `w.0, w.1, …` of one shape as one, `y` (see [`MergeKind`]): those of several models, of several checkpoints of one, or of the
/// experts of one layer.
///
/// Arithmetic is f32, rounded once, to the storage of y. Every weight is streamed once; twice for Model Stock,
/// which measures angles first. Weights may be stored differently.
///
/// More than six weights (of which the one that differences are taken from counts as one) are added in turns: the sum so far goes through
/// scratch memory in f32, and that one is read again in each turn. Model Stock of more than six others measures three with three, each group
/// of three with each other one.
///
/// ```
/// use gristmill::ops::weight_merge::{MergeKind, WeightMerge};
/// use gristmill::{Caps, Elem, Op as _, Problem as _, Tensor};
///
/// let of = || Tensor::outline([4096, 4096], Elem::Bf16);
/// let (base, first, second, y) = (of()?, of()?, of()?, of()?);
/// let stock = MergeKind::ModelStock { per_row: false, clamp: true };
/// let merge = WeightMerge { weights: &[&base, &first, &second], kind: stock, y: &y };
/// // Products of differences, how far to go, merge.
/// assert_eq!(merge.problem()?.plan(&Caps::baseline())?.steps.len(), 3);
/// # Ok::<(), gristmill::Error>(())
/// ```
///
/// # Errors
/// Too few or too many weights for the kind; weights, or y, of another shape than the first, or not floats; a number that is not finite, or
/// another number of logits or factors than is said at the kind; rows of what has no rows.
#[derive(Clone, Copy, Debug)]
pub struct WeightMerge<'a> {
    /// F32, f16 or bf16, each as it is, any shape.
    pub weights: &'a [&'a Tensor],
    /// How.
    pub kind: MergeKind<'a>,
    /// F32, f16 or bf16, the same shape.
    pub y: &'a Tensor,
}

/// How weights are merged.
#[derive(Clone, Copy, Debug)]
pub enum MergeKind<'a> {
    /// `(1−t)·w.0 + t·w.1`, of two weights. WiSE-FT, BCWI. Source: Wortsman et al., arXiv 2109.01903.
    Lerp {
        /// Any number: beyond 0 and 1 it goes on in the same direction.
        t: f32,
    },
    /// The mean of all. Model soups, DiWA, LAWA. Source: Wortsman et al., "Model soups", arXiv 2203.05482.
    Mean,
    /// `decay·w.0 + (1−decay)·w.1`: one step of a moving average w.0, into another tensor.
    Ema {
        /// What of the average stays.
        decay: f32,
    },
    /// `Σ factors[i]·w.i`. FedLAW is one: `γ·λ`, with λ on the simplex.
    Weighted {
        /// One for each weight.
        factors: &'a [f32],
    },
    /// `w.0 + alpha·Σ_(i≥1)(w.i − w.0)`: what each task changed in the base w.0, added. Source: Ilharco et al., "Editing Models with
    /// Task Arithmetic", arXiv 2212.04089.
    Task {
        /// Of all changes; negative ones forget.
        alpha: f32,
    },
    /// `t·mean_(i≥1) w.i + (1−t)·w.0` with `t = N·c / (1 + (N−1)·c)` of N ≥ 2 weights beside the pretrained w.0, where c is the mean over
    /// their pairs of `⟨d_i,d_j⟩ / max(‖d_i‖·‖d_j‖, 1e-12)`, `d_i = w.i − w.0`. Where weights oppose each other as much as N can,
    /// `c = −1/(N−1)`, t has no limit. Source: Jang et al., "Model Stock: All we need is just a few fine-tuned models", arXiv 2403.19522;
    /// the mean over pairs for N > 2.
    ModelStock {
        /// Each row, that is each index of the first of two or more dimensions, has angles of its own.
        per_row: bool,
        /// t is limited to `[0,1]`.
        clamp: bool,
    },
    /// `lambda·w.0 + (1−lambda)·Σ_i softmax(a)_i·w.(i+1)`: a shared expert and a mixture of the others as one dense weight.
    /// Source: Ding et al., "XFT: Unlocking the Power of Code Instruction Tuning by Simply Merging Upcycled Mixture-of-Experts",
    /// arXiv 2404.15247.
    Xft {
        /// F32, f16 or bf16: a logit for each weight but w.0.
        a: &'a Tensor,
        /// What the shared expert counts; the paper's is 0.75.
        lambda: f32,
    },
}

params! {
    /// The params of `weight_merge/add`, where each is explained.
    AddParams {
        /// The grid's x.
        fold: u32,
        /// Rows of this dispatch.
        n: u32,
        /// Numbers in a row.
        k: u32,
        /// First element of y.
        y0: u32,
        /// Of the sum so far.
        sum0: u32,
        /// Of what differences are taken from.
        first0: u32,
        /// Of the factors.
        by0: u32,
        /// From one row's factors to the next.
        by_row: u32,
        /// From one weight's factor to the next.
        by_weight: u32,
        /// First element of the first weight.
        at0: u32,
        /// Of the second.
        at1: u32,
        /// Of the third.
        at2: u32,
        /// Of the fourth.
        at3: u32,
        /// Of the fifth.
        at4: u32,
        /// Of the sixth.
        at5: u32,
        /// The factor of the first.
        c0: f32,
        /// Of the second.
        c1: f32,
        /// Of the third.
        c2: f32,
        /// Of the fourth.
        c3: f32,
        /// Of the fifth.
        c4: f32,
        /// Of the sixth.
        c5: f32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
        /// Nothing.
        pad2: u32,
    }
}

params! {
    /// The params of `weight_merge/products`, where each is explained.
    ProductsParams {
        /// The grid's x.
        fold: u32,
        /// Rows of this dispatch.
        n: u32,
        /// Numbers in a row.
        len: u32,
        /// Numbers in all.
        end: u32,
        /// Products of a row.
        stride: u32,
        /// Where the sums begin.
        sums0: u32,
        /// First element of what differences are taken from.
        first0: u32,
        /// Of the first weight.
        at0: u32,
        /// Of the second.
        at1: u32,
        /// Of the third.
        at2: u32,
        /// Of the fourth.
        at3: u32,
        /// Of the fifth.
        at4: u32,
        /// Of the sixth.
        at5: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
        /// Nothing.
        pad2: u32,
    }
}

params! {
    /// The params of `weight_merge/stock`, where each is explained.
    StockParams {
        /// The grid's x.
        fold: u32,
        /// How many t there are.
        count: u32,
        /// Rows of products of each.
        slices: u32,
        /// Weights beside the first.
        weights: u32,
        /// Groups of three of them.
        groups: u32,
        /// Products of a row.
        stride: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
    }
}

params! {
    /// The params of `weight_merge/mixture`, where each is explained.
    MixtureParams {
        /// The grid's x.
        fold: u32,
        /// Factors.
        count: u32,
        /// First element of the logits.
        a0: u32,
        /// Nothing.
        pad0: u32,
    }
}

const OP: &str = "weight_merge";

/// What factors are multiplied with that only the device knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum By {
    Nothing,
    /// Of all weights the same, perhaps for each row another.
    Stock {
        clamp: bool,
    },
    /// Of each weight another.
    Mixture(Layout),
}

/// A merge with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WeightMergeProblem {
    /// Rows and their numbers; one row, where nothing is asked of rows.
    shape: [u64; 2],
    weights: Vec<Layout>,
    /// Differences from the first weight are added to it, and not the weights to nothing.
    differences: bool,
    /// Of each that is added, as bits.
    factors: Vec<u32>,
    by: By,
    y: Layout,
}

impl Op for WeightMerge<'_> {
    type Problem = WeightMergeProblem;

    fn problem(&self) -> Result<WeightMergeProblem> {
        let count = self.weights.len();
        let finite = |name, v| number(OP, name, v, |_| true, "it must be a finite number");
        let (least, most, what) = match self.kind {
            MergeKind::Lerp { .. } | MergeKind::Ema { .. } => (2, 2, "2"),
            MergeKind::Mean | MergeKind::Weighted { .. } => (1, usize::MAX, "1 or more"),
            MergeKind::Task { .. } | MergeKind::Xft { .. } => (2, usize::MAX, "2 or more"),
            MergeKind::ModelStock { .. } => (3, usize::MAX, "3 or more"),
        };
        let &[first, ..] = self.weights else {
            return Err(shape_error!(OP, "there are no weights, but this kind merges {what}"));
        };
        if !(least..=most).contains(&count) {
            return Err(shape_error!(OP, "there are {count} weights, but this kind merges {what}"));
        }
        for (i, w) in self.weights.iter().enumerate() {
            want_float(OP, "w", w)?;
            if w.shape() != first.shape() {
                return Err(shape_error!(OP, "w.{i} has shape {}, but w.0 has {}", w.shape(), first.shape()));
            }
        }
        want_float(OP, "y", self.y)?;
        if self.y.shape() != first.shape() {
            return Err(shape_error!(OP, "y has shape {}, but w.0 has {}", self.y.shape(), first.shape()));
        }
        let others = (count - 1) as f32;
        let mut shape = [1, first.elements() as u64];
        let (mut differences, mut by) = (false, By::Nothing);
        let factors = match self.kind {
            MergeKind::Lerp { t } => {
                finite("t", t)?;
                vec![1.0 - t, t]
            }
            MergeKind::Mean => vec![1.0 / count as f32; count],
            MergeKind::Ema { decay } => {
                finite("decay", decay)?;
                vec![decay, 1.0 - decay]
            }
            MergeKind::Weighted { factors } => {
                factors.iter().try_for_each(|v| finite("factor", *v))?;
                if factors.len() != count {
                    return Err(shape_error!(OP, "there are {} factors for {count} weights", factors.len()));
                }
                factors.to_vec()
            }
            MergeKind::Task { alpha } => {
                finite("alpha", alpha)?;
                differences = true;
                vec![alpha; count - 1]
            }
            MergeKind::ModelStock { per_row, clamp } => {
                if per_row {
                    let rank = first.shape().rank();
                    if rank < 2 {
                        return Err(shape_error!(OP, "w.0 has shape {}, which has no rows", first.shape()));
                    }
                    let (n, k) = first.shape().split_at(1);
                    shape = [n as u64, k as u64];
                }
                (differences, by) = (true, By::Stock { clamp });
                vec![1.0 / others; count - 1]
            }
            MergeKind::Xft { a, lambda } => {
                finite("lambda", lambda)?;
                want_float(OP, "a", a)?;
                if a.shape().dims() != [count - 1] {
                    return Err(shape_error!(
                        OP,
                        "a has shape {}, but there are {} weights beside the shared one",
                        a.shape(),
                        count - 1
                    ));
                }
                by = By::Mixture(a.layout());
                let mut factors = vec![1.0 - lambda; count];
                factors[0] = lambda;
                factors
            }
        };
        Ok(WeightMergeProblem {
            shape,
            weights: self.weights.iter().map(|w| w.layout()).collect(),
            differences,
            factors: factors.into_iter().map(f32::to_bits).collect(),
            by,
            y: self.y.layout(),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let a = match self.kind {
            MergeKind::Xft { a, .. } => Some(a),
            _ => None,
        };
        let weights = self.weights.iter().map(|w| ("w", Some(*w)));
        [("y", Some(self.y)), ("a", a)].into_iter().chain(weights).collect()
    }
}

/// The place of the first weight among the operands.
const W: usize = 2;

/// Storage buffers of a step that every device has.
const BINDINGS: usize = 8;

/// Slots for weights in a step, with the params that tell where each begins.
const SLOTS: [&str; 6] = ["w0", "w1", "w2", "w3", "w4", "w5"];

/// The binding of the first of them.
const SLOT0: u32 = 3;

/// The most slices of whole weights, which a workgroup each fills a large device with.
const SLICES: u64 = 1024;

/// The least numbers of a slice: four quads for each lane.
const SLICE: u64 = 4096;

/// Numbers of a sum that goes through scratch memory: 16 MiB, which second-level caches of large devices keep.
const TURN: u64 = 4 << 20;

/// Rows up to this length share a workgroup of 128 lanes; longer ones have 256 each.
const LONG_ROW: u64 = 8192;

/// Weights of a group, of which two are multiplied with each other in a step.
const GROUP: usize = 3;

/// Numbers of a scratch buffer of the plan.
#[derive(Clone, Copy)]
struct Scratch {
    number: usize,
    bytes: u64,
}

/// Steps and scratch in the making.
#[derive(Default)]
struct Making {
    steps: Vec<Step>,
    scratch_bytes: Vec<u64>,
}

impl Making {
    /// A buffer of so many f32, whole quads of them.
    fn scratch(&mut self, caps: &Caps, elements: u64) -> Result<Scratch> {
        let bytes = elements.next_multiple_of(4) * 4;
        let have = caps.storage_binding_bytes.min(caps.buffer_bytes);
        if bytes > have {
            return Err(Error::Limit { op: OP, limit: "storage_binding_bytes", need: bytes, have });
        }
        self.scratch_bytes.push(bytes);
        Ok(Scratch { number: self.scratch_bytes.len() - 1, bytes })
    }
}

/// Rows that a dispatch takes, from row `n0` on, and the numbers before them.
#[derive(Clone, Copy)]
struct Piece {
    n0: u64,
    rows: u64,
    start: u64,
    elements: u64,
}

impl Problem for WeightMergeProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let plan = |name: String, why, Making { steps, scratch_bytes }| Plan::new(OP, name, why, steps, scratch_bytes);
        if self.y.elements == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        if let By::Stock { clamp } = self.by {
            let plans = Means::all(caps, false).into_iter().map(|means| {
                let mut making = Making::default();
                let t = self.stock(caps, &mut making, means, clamp)?;
                self.add(caps, &mut making, Some(t))?;
                Ok(plan(means.name("stream"), "every weight is streamed for the angles, and to merge", making))
            });
            return plans.collect();
        }
        let mut making = Making::default();
        let by = if let By::Mixture(a) = self.by { Some(self.mixture(caps, &mut making, a)?) } else { None };
        self.add(caps, &mut making, by)?;
        Ok(vec![plan("stream".into(), "every weight is streamed once", making)])
    }
}

impl WeightMergeProblem {
    /// Rows in pieces, at most so many numbers in each; of a single row a piece is a part.
    fn pieces(&self, caps: &Caps, size: u64, unit: u64, most: u64) -> Result<Vec<Piece>> {
        let [n, k] = self.shape;
        if n == 1 {
            let most = rows_at_once(OP, caps, k.next_multiple_of(unit), unit, size)?.min(most.next_multiple_of(unit));
            let part = |start: u64| Piece { n0: start / unit, rows: 1, start, elements: most.min(k - start) };
            return Ok((0..k).step_by(most as usize).map(part).collect());
        }
        let most = rows_at_once(OP, caps, n, 1, k * size)?.min((most / k).max(1));
        let part = |n0: u64| {
            let rows = most.min(n - n0);
            Piece { n0, rows, start: n0 * k, elements: rows * k }
        };
        Ok((0..n).step_by(most as usize).map(part).collect())
    }

    fn widest(&self) -> u64 {
        self.weights.iter().map(|w| w.elem.bytes() as u64).max().unwrap_or(4)
    }

    /// By fours where all rows of a piece begin at fours.
    fn loads(&self, layout: Layout) -> Loads {
        let even = (layout.offset_bytes / layout.elem.bytes() as u64).is_multiple_of(4);
        Loads { quads: even && self.shape[1].is_multiple_of(4), native_f16: false }
    }

    /// Fills a slot with numbers of a weight; the first of them in their binding.
    fn read(&self, step: &mut Builder, (slot, binding): (&'static str, u32), i: usize, piece: Piece) -> u32 {
        let layout = self.weights[i];
        let part = Part { operand: W + i, layout, start: piece.start, elements: piece.elements };
        step.read_as(slot, binding, Some(part), "slot/read/zero", self.loads(layout))
    }

    /// Fills the slots of weights, those past the last with nothing.
    fn read_all(&self, step: &mut Builder, some: &[usize], piece: Piece) -> [u32; SLOTS.len()] {
        let mut at = [0; SLOTS.len()];
        for (j, slot) in SLOTS.into_iter().enumerate() {
            match some.get(j) {
                Some(i) => at[j] = self.read(step, (slot, SLOT0 + j as u32), *i, piece),
                None => step.fill(slot, "slot/read/zero"),
            }
        }
        step.set("WEIGHTS", Const::U32(some.len() as u32));
        at
    }

    /// The steps that write y.
    fn add(&self, caps: &Caps, making: &mut Making, by: Option<Scratch>) -> Result<()> {
        // Beside y, by, the weight of the differences, and after the first turn the sum.
        let fixed = 1 + usize::from(by.is_some()) + usize::from(self.differences);
        let turn = |begins: bool| SLOTS.len().min(BINDINGS - fixed - usize::from(!begins));
        let added: Vec<usize> = (usize::from(self.differences)..self.weights.len()).collect();
        let (head, mut rest) = added.split_at(turn(true).min(added.len()));
        let mut turns = vec![head];
        while !rest.is_empty() {
            let (next, others) = rest.split_at(turn(false).min(rest.len()));
            turns.push(next);
            rest = others;
        }
        let size = self.widest().max(self.y.elem.bytes() as u64);
        let (size, most) = if turns.len() > 1 { (size.max(4), TURN) } else { (size, u64::MAX / 2) };
        let pieces = self.pieces(caps, size, 4, most)?;
        let elements = pieces.iter().map(|p| p.elements).max().unwrap_or(0);
        // One is read where the other is written.
        let sums: Vec<Scratch> =
            (1..turns.len().min(3)).map(|_| making.scratch(caps, elements)).collect::<Result<_>>()?;
        for piece in pieces {
            let mut added = 0;
            for (i, some) in turns.iter().enumerate() {
                let before = i.checked_sub(1).map(|i| sums[i % 2]);
                let after = (i + 1 < turns.len()).then(|| sums[i % 2]);
                making.steps.push(self.add_step(caps, piece, (added, some), before, after, by)?);
                added += some.len();
            }
        }
        Ok(())
    }

    /// Adds some weights, before which others have been added, to a sum or to nothing.
    fn add_step(
        &self,
        caps: &Caps,
        piece: Piece,
        (added, some): (usize, &[usize]),
        before: Option<Scratch>,
        after: Option<Scratch>,
        by: Option<Scratch>,
    ) -> Result<Step> {
        let quads = Loads { quads: self.shape[1].is_multiple_of(4), native_f16: false };
        let mut step = Builder::new("weight_merge/add", quads);
        let [n, k] = if self.shape[0] == 1 { [1, piece.elements] } else { [piece.rows, self.shape[1]] };
        let mut params = AddParams { n: n as u32, k: k as u32, ..Default::default() };
        if self.differences {
            params.first0 = self.read(&mut step, ("first", 1), 0, piece);
        } else {
            step.fill("first", "slot/read/zero");
        }
        match before {
            Some(sum) => {
                step.fill("sum", if quads.quads { "slot/read/f32" } else { "slot/read/f32_any" });
                step.scratch(2, sum.number, sum.bytes, Access::Read);
            }
            None => step.fill("sum", "slot/read/zero"),
        }
        step.set("BEGINS", Const::Bool(before.is_none()));
        [params.at0, params.at1, params.at2, params.at3, params.at4, params.at5] =
            self.read_all(&mut step, some, piece);
        let factor = |j: usize| self.factors.get(added + j).map_or(0.0, |bits| f32::from_bits(*bits));
        [params.c0, params.c1, params.c2, params.c3, params.c4, params.c5] = [0, 1, 2, 3, 4, 5].map(factor);
        match by {
            Some(by) => {
                step.fill("by", "slot/read/f32_any");
                step.scratch(9, by.number, by.bytes, Access::Read);
            }
            None => step.fill("by", "slot/read/one"),
        }
        match self.by {
            By::Mixture(_) => (params.by0, params.by_weight) = (added as u32, 1),
            By::Stock { .. } if self.shape[0] > 1 => (params.by0, params.by_row) = (piece.n0 as u32, 1),
            _ => {}
        }
        match after {
            Some(sum) => {
                step.fill("y", if quads.quads { "slot/write/f32" } else { "slot/write/f32_any" });
                step.scratch(10, sum.number, sum.bytes, Access::Write);
            }
            None => {
                let part = Part { operand: 0, layout: self.y, start: piece.start, elements: piece.elements };
                params.y0 = step.write_as("y", 10, part, self.loads(self.y));
            }
        }
        let grid = grid(OP, caps, (n * k.div_ceil(4)).div_ceil(512))?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }

    /// The steps that find out how far to go from the first weight, of all or of each row.
    fn stock(&self, caps: &Caps, making: &mut Making, means: Means, clamp: bool) -> Result<Scratch> {
        let ([n, k], others) = (self.shape, self.weights.len() - 1);
        let whole = n == 1;
        // Whole weights are cut into slices.
        let len = if whole { k.div_ceil(SLICES).max(SLICE).next_multiple_of(4) } else { k };
        let (lanes, rows) = if whole || k > LONG_ROW { (256, 1) } else { (32, 4) };
        let count = if whole { k.div_ceil(len) } else { n };
        let groups = others.div_ceil(GROUP).max(2);
        let stride = (others * (others + 1) / 2).min(SLOTS.len() * (SLOTS.len() + 1) / 2) as u64;
        let pairs: Vec<[usize; 2]> = (0..groups).flat_map(|g| (g + 1..groups).map(move |h| [g, h])).collect();
        let sums = making.scratch(caps, pairs.len() as u64 * count * stride)?;
        for piece in self.pieces(caps, self.widest(), if whole { len } else { 4 }, u64::MAX / 2)? {
            for (i, pair) in pairs.iter().enumerate() {
                let of = |group: usize| (1 + group * GROUP).min(others + 1)..(1 + (group + 1) * GROUP).min(others + 1);
                let some: Vec<usize> = pair.iter().flat_map(|group| of(*group)).collect();
                let mut step = Builder::new("weight_merge/products", self.loads(self.weights[0]));
                let of_piece = if whole { piece.elements.div_ceil(len) } else { piece.rows };
                let mut params = ProductsParams {
                    n: of_piece as u32,
                    len: len as u32,
                    end: piece.elements as u32,
                    stride: stride as u32,
                    sums0: ((i as u64 * count + piece.n0) * stride) as u32,
                    ..Default::default()
                };
                params.first0 = self.read(&mut step, ("first", 1), 0, piece);
                [params.at0, params.at1, params.at2, params.at3, params.at4, params.at5] =
                    self.read_all(&mut step, &some, piece);
                step.scratch(10, sums.number, sums.bytes, Access::Write);
                step.set("LANES", Const::U32(lanes));
                step.set("ROWS", Const::U32(rows));
                means.reduce(&mut step);
                let grid = grid(OP, caps, of_piece.div_ceil(rows.into()))?;
                params.fold = grid[0];
                making.steps.push(step.step(&params, grid));
            }
        }
        let t = making.scratch(caps, n)?;
        let mut step = Builder::new("weight_merge/stock", Loads { quads: false, native_f16: false });
        let mut params = StockParams {
            count: n as u32,
            slices: (count / n) as u32,
            weights: others as u32,
            groups: groups as u32,
            stride: stride as u32,
            ..Default::default()
        };
        step.scratch(1, sums.number, sums.bytes, Access::Read);
        step.scratch(2, t.number, t.bytes, Access::Write);
        let lanes: u32 = if whole { 256 } else { 1 };
        step.set("LANES", Const::U32(lanes));
        step.set("CLAMPED", Const::Bool(clamp));
        means.reduce(&mut step);
        let grid = grid(OP, caps, (n * u64::from(lanes)).div_ceil(256))?;
        params.fold = grid[0];
        making.steps.push(step.step(&params, grid));
        Ok(t)
    }

    /// The step that makes XFT's factors.
    fn mixture(&self, caps: &Caps, making: &mut Making, a: Layout) -> Result<Scratch> {
        let count = self.weights.len() as u64;
        let by = making.scratch(caps, count)?;
        let mut step = Builder::new("weight_merge/mixture", Loads { quads: false, native_f16: false });
        let mut params = MixtureParams { count: count as u32, ..Default::default() };
        params.a0 = step.read("a", 1, Some(Part::whole(1, a)), "slot/read/zero");
        step.scratch(2, by.number, by.bytes, Access::Write);
        let grid = grid(OP, caps, count.div_ceil(64))?;
        params.fold = grid[0];
        making.steps.push(step.step(&params, grid));
        Ok(by)
    }
}
