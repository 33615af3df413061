//! Which tokens a layer keeps, and where they go.

use super::{even, flags, list, tokens_of, want_flags};
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::ops::norm::{same_shape, want_elem};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part, grid, rows_at_once};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, Const, Plan, Step};
use crate::tensor::{Elem, Layout, Tensor, want_float};

/// How many candidates of a sample are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choose {
    /// So many, in every sample.
    Count(usize),
    /// Of n candidates `trunc(f32(n) · ratio)`, the product rounded to f32.
    Ratio(f32),
    /// All whose score is greater. A NaN never is.
    Above(f32),
}

impl Choose {
    /// How many of n candidates are chosen; of [`Choose::Above`] the most that may be.
    pub fn of(self, n: usize) -> usize {
        match self {
            Self::Count(k) => k.min(n),
            Self::Ratio(ratio) => ((n as f32 * ratio) as usize).min(n),
            Self::Above(_) => n,
        }
    }
}

/// Grids that [`Select::grids`] receives: entry i is for kernels that take `2^i` rows a workgroup, and the last has the rows.
pub const GRIDS: usize = ROWS_GRID + 1;

/// The entry that is no grid: the number of rows, 1, 1.
pub const ROWS_GRID: usize = 9;

/// The x of those grids at most; what is beyond is folded into y.
pub const GRIDS_FOLD: u32 = 32_768;

/// Which tokens of each sample are kept: those that are valid and no target, and of the candidates (targets that are valid) the
/// best, of equal ones those that come first. `+0` and `−0` are equal; −∞ is the lowest number, and NaN is below it.
///
/// Nothing is read back: what comes after finds its rows by `index` and `place`, and their number by `count` and `grids`.
///
/// Source: the rule of p-MoD (arXiv 2412.04449) with an order for ties, which the authors leave open.
///
/// # Errors
/// k above the number of tokens, or of `candidates` where they are told; a ratio outside 0 to 1; a threshold that is NaN; fewer
/// places than tokens, unless `candidates` show that they are enough; more than 2^24 tokens in a sample or 2^30 places; an operand of
/// another shape or storage than is said at it.
///
/// Where there are no samples nothing is written, grids and starts neither.
///
/// What only the device knows cannot be an error: where `candidates` are not told, k above their number chooses all of them.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// F32, f16 or bf16, shape `[B, T]`.
    pub score: &'a Tensor,
    /// Which tokens may be skipped. U8, shape of the scores; all where absent.
    pub target: Option<&'a Tensor>,
    /// Which tokens are not padding, which is never kept. U8, shape of the scores; all where absent.
    pub valid: Option<&'a Tensor>,
    /// How many candidates are chosen.
    pub choose: Choose,
    /// The number of candidates of each sample, where the caller knows it.
    pub candidates: Option<&'a [usize]>,
    /// Receives 1 for each kept token, else 0. U8 or u32, shape of the scores.
    pub keep: Option<&'a Tensor>,
    /// Receives the number of kept tokens of each sample. U32 or i32, `[B]`.
    pub count: &'a Tensor,
    /// Receives the kept tokens in their order, counted over all samples: `b·T + i` at place p of sample b. Places past the count hold
    /// 2^32 − 1, which is no row. U32, `[B, P]`.
    pub index: Option<&'a Tensor>,
    /// Receives what becomes of each token: 0 padding, 1 skipped, `4·row + 2` kept but no target, `4·row + 3` chosen, with the
    /// row `b·P + p` among the kept ones. U32, shape of the scores.
    pub place: Option<&'a Tensor>,
    /// Receives the grids of indirect dispatches over the kept rows: entry i is x, y, z for kernels that take `2^i` rows a
    /// workgroup, folded at [`GRIDS_FOLD`]; the last is the number of rows, 1, 1. The rows reach up to the last kept one of the last
    /// sample. U32, `[10, 3]`. Ops that are given it run for those rows alone, such as
    /// [`RmsNorm::grids`](crate::ops::norm::RmsNorm::grids).
    pub grids: Option<&'a Tensor>,
    /// Receives where the rows of each sample begin, and their number: I32, `[B + 1]`. Then the kept tokens of all samples follow each other in
    /// `index`, and rows in `place` and `grids` are counted so: sample b has `starts[b] ..` where it has `b·P ..` else. Index and place must be
    /// given.
    pub starts: Option<&'a Tensor>,
}

impl<'a> Select<'a> {
    /// Among all tokens, the count alone.
    pub fn new(score: &'a Tensor, choose: Choose, count: &'a Tensor) -> Self {
        let (target, valid, candidates, keep, index, place, grids) = (None, None, None, None, None, None, None);
        Self { score, target, valid, choose, candidates, keep, count, index, place, grids, starts: None }
    }
}

params! {
    /// The params of the kernels `shaders/depth/select*`; see `lib/select.wgsl`.
    SelectParams {
        /// The grid's x.
        fold: u32,
        /// Samples.
        samples: u32,
        /// Tokens of a sample.
        tokens: u32,
        /// Places of a sample.
        places: u32,
        /// Tiles of a sample.
        tiles: u32,
        /// First element of the scores.
        score0: u32,
        /// First element of the targets.
        target0: u32,
        /// First element of the flags of validity.
        valid0: u32,
        /// First element of the flags of kept tokens.
        keep0: u32,
        /// First element of the counts.
        count0: u32,
        /// First element of the kept tokens.
        index0: u32,
        /// First element of the places.
        place0: u32,
        /// First element of the grids.
        grids0: u32,
        /// As many candidates are chosen,
        k: u32,
        /// or this part of them,
        ratio: f32,
        /// or those whose key is greater.
        threshold: u32,
        /// First element of where samples begin.
        starts0: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
        /// Nothing.
        pad2: u32,
    }
}

/// [`Choose`] as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rule {
    Count(u32),
    Ratio(u32),
    /// The threshold's place in the order of floats.
    Above(u32),
}

/// A selection with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SelectProblem {
    samples: u64,
    tokens: u64,
    places: u64,
    rule: Rule,
    score: Layout,
    target: Option<Layout>,
    valid: Option<Layout>,
    keep: Option<Layout>,
    count: Layout,
    index: Option<Layout>,
    place: Option<Layout>,
    grids: Option<Layout>,
    starts: Option<Layout>,
}

const OP: &str = "mod_select";

/// A float's place in the order in which tokens are chosen: greater is better, and both zeros are the same.
fn order(v: f32) -> u32 {
    let bits = if v == 0.0 { 0 } else { v.to_bits() };
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

impl Op for Select<'_> {
    type Problem = SelectProblem;

    fn problem(&self) -> Result<SelectProblem> {
        let Self { score, target, valid, choose, candidates, keep, count, index, place, grids, starts } = *self;
        want_float(OP, "score", score)?;
        let (samples, tokens) = tokens_of(OP, "score", score)?;
        let value = |name, value: String, rule| Err(Error::Value { op: OP, name, value, rule });
        if tokens >= 1 << 24 {
            return value("tokens", tokens.to_string(), "a sample must have fewer than 2^24");
        }
        want_flags(OP, &[("target", target), ("valid", valid)], ("score", score))?;
        if let Some(told) = candidates {
            if told.len() != samples {
                return Err(shape_error!(OP, "candidates are told of {} samples, but there are {samples}", told.len()));
            }
            if let Some(n) = told.iter().find(|n| **n > tokens) {
                return value("candidates", n.to_string(), "a sample has no more than its tokens");
            }
        }
        let rule = match choose {
            Choose::Count(k) => {
                let least = candidates.and_then(|c| c.iter().min()).copied();
                let (n, rule) = match least {
                    Some(n) => (n, "no sample may have fewer candidates"),
                    None => (tokens, "there must be as many tokens"),
                };
                if k > n && samples > 0 {
                    return value("k", format!("{k} of {n}"), rule);
                }
                Rule::Count(k as u32)
            }
            Choose::Ratio(ratio) if (0.0..=1.0).contains(&ratio) => Rule::Ratio(ratio.abs().to_bits()),
            Choose::Ratio(ratio) => return value("ratio", ratio.to_string(), "it must be from 0 to 1"),
            Choose::Above(threshold) if threshold.is_nan() => {
                return value("threshold", threshold.to_string(), "it must be a number");
            }
            Choose::Above(threshold) => Rule::Above(order(threshold)),
        };
        if let Some(keep) = keep {
            if !matches!(keep.elem(), Elem::U8 | Elem::U32) {
                return Err(Error::Storage { op: OP, operand: "keep", have: keep.elem().name(), want: "u8 or u32" });
            }
            same_shape(OP, ("keep", keep), ("score", score))?;
        }
        if !matches!(count.elem(), Elem::U32 | Elem::I32) {
            return Err(Error::Storage { op: OP, operand: "count", have: count.elem().name(), want: "u32 or i32" });
        }
        if count.shape().dims() != [samples] {
            return Err(shape_error!(OP, "count has shape {}, but there are {samples} samples", count.shape()));
        }
        let mut places = tokens;
        if let Some(index) = index {
            want_elem(OP, "index", index, Elem::U32, "u32")?;
            let (of, most) = tokens_of(OP, "index", index)?;
            if of != samples {
                return Err(shape_error!(OP, "index has shape {}, but there are {samples} samples", index.shape()));
            }
            // What is no candidate may be kept, and of the candidates so many are.
            let kept = |n: &usize| tokens - n + choose.of(*n);
            let need = candidates.map_or(tokens, |c| c.iter().map(kept).max().unwrap_or(0));
            if most < need {
                return Err(shape_error!(OP, "index has {most} places for a sample, but may need {need}"));
            }
            places = most;
        }
        if samples.saturating_mul(places) >= 1 << 30 {
            return value("places", format!("{samples} times {places}"), "there must be fewer than 2^30 in all");
        }
        if let Some(place) = place {
            want_elem(OP, "place", place, Elem::U32, "u32")?;
            same_shape(OP, ("place", place), ("score", score))?;
        }
        if let Some(grids) = grids {
            want_elem(OP, "grids", grids, Elem::U32, "u32")?;
            if grids.shape().dims() != [GRIDS, 3] {
                return Err(shape_error!(OP, "grids has shape {}, but must have [{GRIDS}, 3]", grids.shape()));
            }
        }
        if let Some(starts) = starts {
            want_elem(OP, "starts", starts, Elem::I32, "i32")?;
            if starts.shape().dims() != [samples + 1] {
                return Err(shape_error!(OP, "starts has shape {}, but there are {samples} samples", starts.shape()));
            }
            if index.is_none_or(|t| t.elements() == 0) || place.is_none_or(|t| t.elements() == 0) {
                return Err(shape_error!(OP, "starts is asked for without index and place of some tokens"));
            }
        }
        let layout = |t: Option<&Tensor>| t.map(Tensor::layout);
        Ok(SelectProblem {
            samples: samples as u64,
            tokens: tokens as u64,
            places: places as u64,
            rule,
            score: score.layout(),
            target: layout(target),
            valid: layout(valid),
            keep: layout(keep),
            count: count.layout(),
            index: layout(index),
            place: layout(place),
            grids: layout(grids),
            starts: layout(starts),
        })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![
            ("score", Some(self.score)),
            ("target", self.target),
            ("valid", self.valid),
            ("keep", self.keep),
            ("count", Some(self.count)),
            ("index", self.index),
            ("place", self.place),
            ("grids", self.grids),
            ("starts", self.starts),
        ]
    }
}

// The places of the operands among `Op::operands`.
const TARGET: usize = 1;
const VALID: usize = 2;
const KEEP: usize = 3;
const COUNT: usize = 4;
const INDEX: usize = 5;
const PLACE: usize = 6;
const GRID: usize = 7;
const STARTS: usize = 8;

/// Up to so many tokens one workgroup is done with a sample sooner than six dispatches would be.
const ONE_WORKGROUP: u64 = 16_384;

/// Tokens of a tile, and words of the histograms and the choice: as in `lib/divided.wgsl`.
const TILE_CHUNKS: u64 = 2;
const TILE: u64 = 1024 * TILE_CHUNKS;
const DIGITS: u64 = 3;
const STATE_WORDS: u64 = DIGITS * 2048 + 2;

/// The most tokens for which each is compared with every other.
const NAIVE_TOKENS: u64 = 4096;

impl Problem for SelectProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let plan = |name: &str, why, steps, scratch_bytes| Plan::new(OP, name, why, steps, scratch_bytes);
        if self.samples == 0 {
            return Ok(vec![Plan::empty(OP)]);
        }
        // The longest binding; lists are not divided.
        rows_at_once(OP, caps, 1, 1, self.samples * self.tokens.max(self.places).max(1) * 4)?;
        let one = plan("one", "a workgroup for each sample: one dispatch", self.one(caps)?, Vec::new());
        let mut plans = vec![one];
        let state_bytes = self.samples * self.words() * 4;
        if self.tokens > TILE && state_bytes <= caps.storage_binding_bytes {
            let why = "long samples are divided among workgroups";
            plans.push(plan("divided", why, self.divided(caps, state_bytes)?, vec![state_bytes]));
            if self.tokens > ONE_WORKGROUP {
                plans.swap(0, 1);
            }
        }
        if (1..=NAIVE_TOKENS).contains(&self.tokens) {
            let bytes = self.samples * self.tokens * 4;
            plans.push(plan("naive", "every token against every other", self.naive(caps, bytes)?, vec![bytes]));
        }
        Ok(plans)
    }
}

impl SelectProblem {
    fn tiles(&self) -> u64 {
        self.tokens.div_ceil(TILE)
    }

    /// Words of a sample that its workgroups share.
    fn words(&self) -> u64 {
        STATE_WORDS + 2 * self.tiles()
    }

    fn params(&self) -> SelectParams {
        let params = SelectParams {
            samples: self.samples as u32,
            tokens: self.tokens as u32,
            places: self.places as u32,
            tiles: self.tiles() as u32,
            ..Default::default()
        };
        match self.rule {
            Rule::Count(k) => SelectParams { k, ..params },
            Rule::Ratio(bits) => SelectParams { ratio: f32::from_bits(bits), ..params },
            Rule::Above(threshold) => SelectParams { threshold, ..params },
        }
    }

    /// Of steps that read and write words alone.
    const LOADS: Loads = Loads { quads: false, native_f16: false };

    /// Flags of kept tokens are stored four at a time.
    fn loads(&self) -> Loads {
        Loads { quads: self.tokens.is_multiple_of(4) && even(self.keep), ..Self::LOADS }
    }

    /// A step with the candidates' operands.
    fn begin(&self, kernel: &'static str, params: &mut SelectParams) -> Builder {
        let mut step = Builder::new(kernel, self.loads());
        let rule = match self.rule {
            Rule::Count(_) => 0,
            Rule::Ratio(_) => 1,
            Rule::Above(_) => 2,
        };
        step.set("RULE", Const::U32(rule));
        let filling = match self.score.elem {
            _ if self.tokens == 0 => "slot/key/none",
            Elem::F16 => "slot/key/f16",
            Elem::Bf16 => "slot/key/bf16",
            _ => "slot/key/f32",
        };
        step.fill("key", filling);
        // Of no tokens there is nothing to bind.
        let some = |l: &Layout| l.elements > 0;
        if some(&self.score) {
            params.score0 = step.bind(1, Part::whole(0, self.score), Access::Read);
        }
        params.target0 = flags(&mut step, "target", 2, TARGET, self.target.filter(some));
        params.valid0 = flags(&mut step, "valid", 3, VALID, self.valid.filter(some));
        step
    }

    /// The operands of what is kept.
    fn kept(&self, step: &mut Builder, params: &mut SelectParams) {
        let some = |layout: Option<Layout>| layout.filter(|l| l.elements > 0);
        let whole = |operand, layout| some(layout).map(|l| Part::whole(operand, l));
        params.keep0 = step.write("keep", 4, whole(KEEP, self.keep));
        params.count0 = list(step, "count", 5, whole(COUNT, Some(self.count)));
        params.index0 = list(step, "index", 6, whole(INDEX, self.index));
        params.place0 = list(step, "place", 7, whole(PLACE, self.place));
    }

    fn nothing_kept(step: &mut Builder) {
        step.fill("keep", "slot/write/none");
        for slot in ["count", "index", "place"] {
            step.fill(slot, "slot/list/none");
        }
    }

    fn end(&self, caps: &Caps, step: Builder, mut params: SelectParams, groups: u64) -> Result<Step> {
        let grid = grid(OP, caps, groups)?;
        params.fold = grid[0];
        Ok(step.step(&params, grid))
    }

    /// The steps that close up samples and tell the grids of what comes after, where they are asked for.
    fn end_all(&self, caps: &Caps, steps: &mut Vec<Step>) -> Result<()> {
        if let Some((starts, index, place)) = self.starts.zip(self.index).zip(self.place).map(|((s, i), p)| (s, i, p)) {
            let mut params = self.params();
            let mut step = Builder::new("depth/select_compact", Self::LOADS);
            params.count0 = step.bind(4, Part::whole(COUNT, self.count), Access::Read);
            params.starts0 = step.bind(7, Part::whole(STARTS, starts), Access::Write);
            params.index0 = step.bind(5, Part::whole(INDEX, index), Access::Write);
            params.place0 = step.bind(6, Part::whole(PLACE, place), Access::Write);
            let lanes = (self.samples * self.tokens.max(self.places)).max(self.samples + 1);
            steps.push(self.end(caps, step, params, lanes.div_ceil(64))?);
        }
        self.grids(steps);
        Ok(())
    }

    /// The step that tells the grids, where they are asked for.
    fn grids(&self, steps: &mut Vec<Step>) {
        let Some(layout) = self.grids else { return };
        let mut params = self.params();
        let mut step = Builder::new("depth/select_grids", Self::LOADS);
        step.set("COMPACT", Const::Bool(self.starts.is_some()));
        params.count0 = step.bind(5, Part::whole(COUNT, self.count), Access::Read);
        params.grids0 = step.bind(6, Part::whole(GRID, layout), Access::Write);
        params.fold = 1;
        steps.push(step.step(&params, [1, 1, 1]));
    }

    fn one(&self, caps: &Caps) -> Result<Vec<Step>> {
        let mut params = self.params();
        let mut step = self.begin("depth/select_one", &mut params);
        self.kept(&mut step, &mut params);
        let mut steps = vec![self.end(caps, step, params, self.samples)?];
        self.end_all(caps, &mut steps)?;
        Ok(steps)
    }

    fn divided(&self, caps: &Caps, state_bytes: u64) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let tiles = self.samples * self.tiles();
        let counts = !matches!(self.rule, Rule::Above(_));
        if counts {
            let params = self.params();
            let mut step = Builder::new("depth/select_clear", Self::LOADS);
            step.scratch(8, 0, state_bytes, Access::Write);
            steps.push(self.end(caps, step, params, self.samples * DIGITS)?);
            for digit in 0..DIGITS as u32 {
                let mut params = self.params();
                let mut step = self.begin("depth/select_count", &mut params);
                step.set("DIGIT", Const::U32(digit));
                step.set("CHUNKS", Const::U32(TILE_CHUNKS as u32));
                step.scratch(8, 0, state_bytes, Access::Write);
                steps.push(self.end(caps, step, params, tiles)?);
            }
        }
        let mut params = self.params();
        let mut step = self.begin("depth/select_sum", &mut params);
        step.set("CHUNKS", Const::U32(TILE_CHUNKS as u32));
        Self::nothing_kept(&mut step);
        step.scratch(8, 0, state_bytes, Access::Write);
        steps.push(self.end(caps, step, params, tiles)?);
        let mut params = self.params();
        let mut step = self.begin("depth/select_place", &mut params);
        step.set("CHUNKS", Const::U32(TILE_CHUNKS as u32));
        self.kept(&mut step, &mut params);
        step.scratch(8, 0, state_bytes, Access::Write);
        steps.push(self.end(caps, step, params, tiles)?);
        self.end_all(caps, &mut steps)?;
        Ok(steps)
    }

    fn naive(&self, caps: &Caps, bytes: u64) -> Result<Vec<Step>> {
        let groups = (self.samples * self.tokens).div_ceil(64);
        let mut params = self.params();
        let mut step = self.begin("depth/select_naive", &mut params);
        step.scratch(8, 0, bytes, Access::Write);
        let mut steps = vec![self.end(caps, step, params, groups)?];
        let mut params = self.params();
        let mut step = Builder::new("depth/select_naive_place", Self::LOADS);
        self.kept(&mut step, &mut params);
        step.scratch(8, 0, bytes, Access::Read);
        steps.push(self.end(caps, step, params, groups)?);
        self.end_all(caps, &mut steps)?;
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_ordered() {
        let up = [f32::NEG_INFINITY, -1e30, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX, f32::INFINITY];
        assert!(up.windows(2).all(|w| order(w[0]) < order(w[1])));
        assert_eq!(order(-0.0), order(0.0));
        assert!(order(f32::NEG_INFINITY) > 0);
    }

    #[test]
    fn a_ratio_is_one_f32_product() {
        // In f64 these are 7 − 1e-16, 29 + ..; in f32 the product rounds.
        assert_eq!(Choose::Ratio(0.7).of(10), (10.0f32 * 0.7f32) as usize);
        assert_eq!((Choose::Ratio(1.0).of(33), Choose::Ratio(0.0).of(33), Choose::Count(9).of(4)), (33, 0, 4));
    }
}
