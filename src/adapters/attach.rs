//! Adapters in their places among the live ones of a weight.

use super::{AdapterSet, Held};
use crate::caps::Caps;
use crate::error::{Error, Result, shape_error};
use crate::ops::adapter::merge::{
    ANY, AdapterMergeProblem, Factors, Making, Origin, Sums, SumsAt, Written, read, whole,
};
use crate::ops::adapter::{Delta, Kind, Order};
use crate::ops::norm::number;
use crate::ops::params::params;
use crate::ops::step::{Builder, Part, grid};
use crate::ops::{Op, Operand, Problem};
use crate::plan::{Access, BIND_ALIGN_BYTES, Plan, Source};
use crate::tensor::{Elem, Layout};
use crate::weight::Weight;

/// Puts an adapter into a place of an [`AdapterSet`]; what was there is gone. [`Linear`](crate::ops::linear::Linear) then applies it to rows
/// of x with this place's number.
///
/// `A` and `B` are rounded to the storage of the set, and factors of rows and columns are made of the magnitudes and of the base, which is
/// streamed once for each norm as in [`AdapterMerge`](crate::ops::adapter::AdapterMerge), and not at all where there are none. Norms are of the
/// adapter's own numbers, before they are rounded.
///
/// MiSS is its block transposed, with inputs R apart summed first. LoHa of rank R is of rank R² (`(a1·b1) ∘ (a2·b2) = Σ (a1_i ∘ a2_j)·(b1_i ∘
/// b2_j)`). BAT multiplies the base, and an MPO is of no low rank: they are merged.
///
/// # Errors
/// As [`AdapterMerge`](crate::ops::adapter::AdapterMerge), and: a set for another shape, a place that it does not have, more ranks than it has room for,
/// magnitudes for which it has none, BAT, or an MPO.
#[derive(Clone, Copy, Debug)]
pub struct AdapterAttach<'a> {
    /// The base, `[N,K]`.
    pub w0: &'a Weight,
    /// The adapter.
    pub kind: Kind<'a>,
    /// What the delta is multiplied with.
    pub scale: f32,
    /// The adapters of the base.
    pub set: &'a AdapterSet,
    /// The place.
    pub place: usize,
}

impl<'a> AdapterAttach<'a> {
    /// An op from its operands.
    pub fn new(w0: &'a Weight, kind: Kind<'a>, scale: f32, set: &'a AdapterSet, place: usize) -> Self {
        Self { w0, kind, scale, set, place }
    }
}

params! {
    /// Where the parts of an adapter lie in its pool, in quads of 16 bytes. `struct pool_At` of `shaders/lib/pool.wgsl`.
    PoolAt {
        /// The pool's first quad in its binding.
        base: u32,
        /// Quads of an adapter.
        stride: u32,
        /// From its first quad on to its factors of rows.
        rows: u32,
        /// To those of columns.
        cols: u32,
        /// To A.
        a: u32,
        /// To B.
        b: u32,
        /// Pairs of ranks for which there is room.
        pairs: u32,
        /// The word at which the terms of the first row of x begin.
        terms: u32,
    }
}

params! {
    /// The params of `adapter/attach`. `struct attach_Params` of `shaders/lib/attach.wgsl`.
    AttachParams {
        /// Where things are.
        pool: PoolAt,
        /// The grid's x.
        fold: u32,
        /// The adapter's first quad in the binding of the pool.
        first: u32,
        /// Rows of the weight.
        n: u32,
        /// Numbers in a row.
        k: u32,
        /// R of the adapter's tensors.
        rank: u32,
        /// Ranks that are stored.
        ranks: u32,
        /// Which factors it has.
        flags: u32,
        /// R of a block that is repeated along K, else 0.
        every: u32,
        /// Numbers in a row of that block.
        wide: u32,
        /// Of the delta.
        scale: f32,
        /// First element of the first tensor of the adapter.
        a0: u32,
        /// Of the second.
        b0: u32,
        /// Of the third.
        c0: u32,
        /// Of the fourth.
        d0: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
        /// Sums whose factors are made with it, if any.
        sums: SumsAt,
    }
}

params! {
    /// The params of `adapter/header`, where each is explained.
    HeaderParams {
        /// The adapter's first quad in the binding of the pool.
        first: u32,
        /// 1: with this scale, 0: it is none.
        keep: u32,
        /// Of the delta.
        scale: f32,
        /// The grid's x, which is 1.
        fold: u32,
    }
}

const OP: &str = "adapter_attach";

/// An adapter and its place, with their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AdapterAttachProblem {
    /// The base and the adapter; in the place of y stands the pool.
    merge: AdapterMergeProblem,
    held: Held,
    place: u64,
    rank: u64,
    ranks: u64,
}

/// The place is there, and the pool begins where a binding may.
fn placed(op: &'static str, set: &AdapterSet, place: usize) -> Result<u64> {
    let have = set.room().adapters;
    if place >= have {
        let rule = "it must be less than the adapters that the set has room for";
        return Err(Error::Value { op, name: "place", value: place.to_string(), rule });
    }
    Ok(place as u64)
}

impl Op for AdapterAttach<'_> {
    type Problem = AdapterAttachProblem;

    fn problem(&self) -> Result<AdapterAttachProblem> {
        let shape = [self.w0.n(), self.w0.k()];
        let adapted = self.kind.adapted(OP, shape, self.scale)?;
        let held = self.set.held();
        if held.shelf.shape() != shape {
            let [n, k] = held.shelf.shape();
            return Err(shape_error!(OP, "the set is for [{n}, {k}], but w0 is [{}, {}]", shape[0], shape[1]));
        }
        let place = placed(OP, self.set, self.place)?;
        let (rank, ranks) = match adapted.delta {
            Delta::Lora { rank } | Delta::Miss { rank, .. } => (rank, rank),
            Delta::Loha { rank } => (rank, rank.saturating_mul(rank)),
            Delta::Bat { .. } => return Err(shape_error!(OP, "BAT multiplies the base, so that it must be merged")),
            Delta::Mpo { .. } => return Err(shape_error!(OP, "an MPO is of no low rank, so that it must be merged")),
        };
        let room = held.shelf.room();
        if ranks > room.rank as u64 {
            return Err(shape_error!(OP, "the adapter has rank {ranks}, but the set has room for {}", room.rank));
        }
        for (which, has, room) in [
            ("rows", adapted.row.is_some(), held.shelf.has_rows()),
            ("columns", adapted.col.is_some(), held.shelf.has_cols()),
        ] {
            if has && !room {
                return Err(shape_error!(OP, "the adapter has magnitudes of {which}, for which the set has no room"));
            }
        }
        let merge = AdapterMergeProblem { w: self.w0.laid().clone(), adapted, y: Written::Numbers(held.layout) };
        Ok(AdapterAttachProblem { merge, held, place, rank, ranks })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let mut list = vec![("set", Some(self.set.pool()))];
        list.extend(self.kind.operands());
        list.extend(self.w0.chunks().iter().map(|chunk| ("w0", Some(chunk))));
        list
    }
}

/// Binds the pool from its first quad to its last.
fn bind_pool(step: &mut Builder, binding: u32, operand: usize, layout: Layout, access: Access) {
    step.bind(binding, Part::whole(operand, layout), access);
}

impl Problem for AdapterAttachProblem {
    fn op(&self) -> &'static str {
        OP
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let adapted = &self.merge.adapted;
        let pool = self.held.layout;
        whole(OP, caps, adapted.tensors.iter().chain(&adapted.row).chain(&adapted.col).chain([&pool]))?;
        let at = self.held.shelf.at(0);
        let first = self.place * u64::from(at.stride);
        let (n, k) = (self.merge.n(), self.merge.k());
        let delta: Vec<Origin> = (0..).zip(&adapted.tensors).map(|(i, l)| Origin::Operand(1 + i, *l)).collect();
        let mut making = Making::new();
        let (mut of_rows, mut of_cols) = (None, None);
        // The sums whose factors are still to be made.
        let mut summed: Option<(Sums, Factors)> = None;
        let rows_first = adapted.order == Order::RowCol;
        for rows in [rows_first, !rows_first] {
            let Some(magnitude) = (if rows { adapted.row } else { adapted.col }) else { continue };
            if let Some((sums, home)) = summed.take() {
                self.merge.factors(caps, &mut making, &sums, Some(home))?;
            }
            let mut sums = self.merge.sums(caps, &mut making, rows, magnitude, &delta, (of_rows, of_cols))?;
            let (quads, count) = if rows { (at.rows, n) } else { (at.cols, k) };
            let home = Factors {
                source: Source::Operand(0),
                offset_bytes: pool.offset_bytes + (first + u64::from(quads)) * 16,
                bytes: count.div_ceil(4) * 16,
            };
            *(if rows { &mut of_rows } else { &mut of_cols }) = Some(home);
            sums.at.to = quads;
            summed = Some((sums, home));
        }
        let mut step = Builder::new("adapter/attach", ANY);
        let mut params = AttachParams {
            pool: at,
            first: first as u32,
            n: n as u32,
            k: k as u32,
            rank: self.rank as u32,
            ranks: self.ranks as u32,
            flags: u32::from(of_rows.is_some()) + 2 * u32::from(of_cols.is_some()),
            scale: f32::from_bits(adapted.scale),
            ..Default::default()
        };
        match adapted.delta {
            Delta::Miss { rank, wide } => {
                (params.every, params.wide) = (rank as u32, wide as u32);
                step.fill("source", "slot/source/miss");
                params.a0 = read(&mut step, "source_a", 1, delta[0], ANY);
            }
            Delta::Loha { .. } => {
                step.fill("source", "slot/source/loha");
                params.a0 = read(&mut step, "source_a1", 1, delta[0], ANY);
                params.b0 = read(&mut step, "source_b1", 2, delta[1], ANY);
                params.c0 = read(&mut step, "source_a2", 3, delta[2], ANY);
                params.d0 = read(&mut step, "source_b2", 4, delta[3], ANY);
            }
            _ => {
                step.fill("source", "slot/source/lora");
                params.a0 = read(&mut step, "source_a", 1, delta[0], ANY);
                params.b0 = read(&mut step, "source_b", 2, delta[1], ANY);
            }
        }
        step.fill("eight", self.held.shelf.eight());
        bind_pool(&mut step, 5, 0, pool, Access::Write);
        match summed {
            None => step.fill("normed", "slot/normed/none"),
            Some((sums, _)) => params.sums = sums.fill(&mut step, 6, ANY),
        }
        let pairs = self.ranks.div_ceil(2);
        let of_a = if params.every > 0 { 0 } else { 2 * pairs * k.div_ceil(8) };
        let of_factors = u64::from(params.sums.count).div_ceil(4);
        let grid = grid(OP, caps, (of_a + pairs * n.div_ceil(4) + of_factors).div_ceil(64))?;
        params.fold = grid[0];
        making.steps.push(step.step(&params, grid));
        let Making { steps, scratch_bytes, .. } = making;
        Ok(vec![Plan::new(
            OP,
            "pool",
            "the base is streamed once for each norm, and the adapter copied",
            steps,
            scratch_bytes,
        )])
    }
}

/// Gives an adapter of an [`AdapterSet`] another scale, or takes it away. A place where nothing is attached stays empty.
///
/// Only for adapters without magnitudes. Of DoRA and BoRA the norms, which have the scale in them, stay as they were, and outputs are wrong: the host
/// does not know what is in a place. Attach them anew, as [`ModelAdapters::scale`](super::ModelAdapters::scale) does.
///
/// # Errors
/// A place that the set does not have, or a scale that is not finite.
#[derive(Clone, Copy, Debug)]
pub struct AdapterScale<'a> {
    /// The set.
    pub set: &'a AdapterSet,
    /// The place.
    pub place: usize,
    /// What the delta is multiplied with; none: the place is empty from now on.
    pub scale: Option<f32>,
}

/// A place and its scale, with their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AdapterScaleProblem {
    held: Held,
    place: u64,
    scale: Option<u32>,
}

impl Op for AdapterScale<'_> {
    type Problem = AdapterScaleProblem;

    fn problem(&self) -> Result<AdapterScaleProblem> {
        let op = "adapter_scale";
        if let Some(scale) = self.scale {
            number(op, "scale", scale, |_| true, "it must be a finite number")?;
        }
        let place = placed(op, self.set, self.place)?;
        Ok(AdapterScaleProblem { held: self.set.held(), place, scale: self.scale.map(f32::to_bits) })
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        vec![("set", Some(self.set.pool()))]
    }
}

impl Problem for AdapterScaleProblem {
    fn op(&self) -> &'static str {
        "adapter_scale"
    }

    fn plans(&self, _: &Caps) -> Result<Vec<Plan>> {
        let mut step = Builder::new("adapter/header", ANY);
        let params = HeaderParams {
            first: 0,
            keep: u32::from(self.scale.is_some()),
            scale: self.scale.map_or(0.0, f32::from_bits),
            fold: 1,
        };
        // A place begins where a binding may.
        let words = u64::from(self.held.shelf.at(0).stride) * 4;
        let part = Part {
            start: self.place * words,
            elements: BIND_ALIGN_BYTES / Elem::U32.bytes() as u64,
            ..Part::whole(0, self.held.layout)
        };
        step.bind(1, part, Access::Write);
        Ok(vec![Plan::new(
            "adapter_scale",
            "header",
            "a word changes",
            vec![step.step(&params, [1, 1, 1])],
            Vec::new(),
        )])
    }
}
