//! Adapters that are applied while their weight is multiplied.

use super::{End, FEW_ROWS, INDEX, LinearParams, LinearProblem, POOL, Rows, TRAY, UP_POOL, X};
use crate::adapters::{Held, PoolAt};
use crate::caps::{Caps, DeviceKind};
use crate::error::{Error, Result};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Means, Part, grid, rows_at_once};
use crate::plan::{Access, Const, Plan, Step};

params! {
    /// The params of `adapter/down`, where each is explained.
    DownParams {
        /// Where things are in the pool.
        pool: PoolAt,
        /// The grid's x.
        fold: u32,
        /// Rows of x in this dispatch.
        m: u32,
        /// Inputs.
        k: u32,
        /// First element of x.
        x0: u32,
        /// First element of the index.
        index0: u32,
        /// Adapters for which there is room.
        entries: u32,
        /// Nothing.
        pad0: u32,
        /// Nothing.
        pad1: u32,
    }
}

impl LinearProblem {
    pub(super) fn is_live(&self) -> bool {
        self.adapters.is_some() || self.up_adapters.is_some()
    }

    /// Some adapter has factors of columns, which stand before x.
    pub(super) fn has_cols(&self) -> bool {
        [self.adapters, self.up_adapters].iter().flatten().any(|held| held.shelf.has_cols())
    }

    /// The sets, their operands and the words at which their terms begin.
    fn pools(&self) -> impl Iterator<Item = (Held, usize, u64)> {
        let of_w = self.adapters.map_or(0, |held| held.shelf.terms() * self.m);
        let all = [self.adapters.map(|held| (held, POOL, 0)), self.up_adapters.map(|held| (held, UP_POOL, of_w))];
        all.into_iter().flatten()
    }

    /// The buffers that live adapters take in a step that finishes its sums.
    pub(super) fn live_bindings(&self) -> usize {
        self.pools().count() + usize::from(self.is_live())
    }

    /// The bytes of the terms, which the first scratch buffer holds.
    pub(super) fn terms_bytes(&self) -> u64 {
        let words: u64 = self.pools().map(|(held, ..)| held.shelf.terms() * self.m).sum();
        words.next_multiple_of(4) * 4
    }

    /// What the device must have for it.
    pub(super) fn check_live(&self, caps: &Caps) -> Result<()> {
        if !self.is_live() {
            return Ok(());
        }
        let optional = [self.bias, self.residual, self.row_scale, self.x_scale].iter().flatten().count();
        // Beside x, w and y.
        let need = (3 + optional + usize::from(self.up.is_some()) + self.live_bindings()) as u64;
        let have = u64::from(caps.storage_buffers);
        if need > have {
            return Err(Error::Limit { op: "linear", limit: "storage_buffers", need, have });
        }
        let have = caps.storage_binding_bytes.min(caps.buffer_bytes);
        for need in self.pools().map(|(held, ..)| held.layout.elements * 4).chain([self.terms_bytes()]) {
            if need > have {
                return Err(Error::Limit { op: "linear", limit: "storage_binding_bytes", need, have });
            }
        }
        Ok(())
    }

    /// Before a layer with live adapters come the terms of its rows: the best way for all plans but the last, which everybody runs. Where
    /// only the device knows how many rows there are, terms are made for all that there may be.
    pub(super) fn with_terms(&self, caps: &Caps, plans: &mut [Plan]) -> Result<()> {
        if !self.is_live() {
            return Ok(());
        }
        let best = Means::all(caps, self.native_f16(caps)).first().copied().unwrap_or(Means::BASELINE);
        let last = plans.len().saturating_sub(1);
        for (i, plan) in plans.iter_mut().enumerate() {
            let mut steps = self.down(caps, if i == last { Means::BASELINE } else { best })?;
            steps.append(&mut plan.steps);
            plan.steps = steps;
        }
        Ok(())
    }

    /// The steps that make terms.
    fn down(&self, caps: &Caps, means: Means) -> Result<Vec<Step>> {
        let size = self.x.elem.bytes() as u64;
        let together = if self.m <= FEW_ROWS { 1 } else { 4 };
        let most = rows_at_once("linear", caps, self.m, 1, self.k * size)?;
        // A processor does better with fewer lanes, which it has not got.
        let widest = if caps.kind == DeviceKind::Cpu { 32 } else { 256.min(u64::from(caps.invocations)) };
        let lanes = self.k.div_ceil(8).next_power_of_two().clamp(32, widest);
        let mut steps = Vec::new();
        for (held, operand, terms) in self.pools() {
            let shelf = held.shelf;
            for m0 in (0..self.m).step_by(most as usize) {
                let rows = most.min(self.m - m0);
                let loads = Loads { quads: Self::quads(&[Some(self.x)], self.k), native_f16: means.native_f16 };
                let mut step = Builder::new("adapter/down", loads);
                let mut params = DownParams {
                    pool: shelf.at(terms + m0 * shelf.terms()),
                    m: rows as u32,
                    k: self.k as u32,
                    entries: shelf.room().adapters as u32,
                    ..Default::default()
                };
                let x = Part { operand: X, layout: self.x, start: m0 * self.k, elements: rows * self.k };
                params.x0 = step.read("x", 1, Some(x), "slot/read/zero");
                match self.index {
                    None => step.fill("index", "slot/little/none"),
                    Some(layout) => {
                        step.fill("index", "slot/little/words");
                        let part = Part { operand: INDEX, layout, start: m0, elements: rows };
                        params.index0 = step.bind(2, part, Access::Read);
                    }
                }
                step.fill("eight", shelf.eight());
                means.reduce(&mut step);
                step.set("LANES", Const::U32(lanes as u32));
                step.set("ROWS", Const::U32(together as u32));
                step.set("COLS", Const::Bool(shelf.has_cols()));
                params.pool.base = step.bind(3, Part::whole(operand, held.layout), Access::Read) / 4;
                step.scratch(4, 0, self.terms_bytes(), Access::Write);
                let groups = rows.div_ceil(together) * (shelf.pairs() / 2);
                let grid = grid("linear", caps, groups)?;
                params.fold = grid[0];
                steps.push(step.step(&params, grid));
            }
        }
        Ok(steps)
    }

    /// The terms of the sets, of all slices, and the set with the tray for them: where a dispatch can make them itself.
    fn made(&self) -> Option<(u64, Held)> {
        let (of_each, first) = (self.pools().map(|(held, ..)| held.shelf.made()), self.pools().next()?.0);
        let all: Vec<_> = of_each.collect();
        let sum = all.iter().sum();
        (!all.contains(&0) && sum <= first.shelf.half()).then_some((sum, first))
    }

    /// Plans that make their terms themselves: one row, whose number the host knows, and bindings for the index too.
    pub(super) fn here(&self, caps: &Caps) -> Result<Vec<Plan>> {
        let optional = [self.bias, self.residual, self.row_scale, self.x_scale, self.index].iter().flatten().count();
        let bound = 3 + optional + usize::from(self.up.is_some()) + self.live_bindings();
        let fits = bound <= caps.storage_buffers as usize && self.rows_at_once(caps, 1)? >= self.m;
        if self.m != 1 || self.grids.is_some() || !fits || self.made().is_none() {
            return Ok(Vec::new());
        }
        let means = Means::few(caps, self.native_f16(caps)).first().copied().unwrap_or(Means::BASELINE);
        let products = self.products(caps);
        let (steps, scratch) = self.gemv(caps, means, products, true)?;
        let name = means.name(if products.is_some() { "gemv_dot_here" } else { "gemv_here" });
        let why = "one row: the weight is streamed once, and terms of adapters are made meanwhile";
        Ok(vec![Plan::new("linear", name, why, steps, scratch)])
    }

    /// Fills the slots of a kernel for few rows that say where terms are made; gives the workgroups of `teams` teams that make them.
    pub(super) fn makers(&self, step: &mut Builder, params: &mut LinearParams, here: bool, teams: u64) -> u64 {
        let Some((sum, first)) = self.made().filter(|_| here) else {
            step.fill("tray", "slot/tray/none");
            step.fill("index", "slot/little/none");
            return 0;
        };
        step.fill("tray", "slot/tray/words");
        step.set("TERMS", Const::U32(sum as u32));
        step.bind(13, Part::whole(TRAY, first.tray), Access::Write);
        match self.index {
            None => step.fill("index", "slot/little/none"),
            Some(layout) => {
                step.fill("index", "slot/little/words");
                step.set("INDEXED", Const::Bool(true));
                params.index0 = step.bind(14, Part::whole(INDEX, layout), Access::Read);
            }
        }
        let entries = |held: Option<Held>| held.map_or(0, |held| held.shelf.room().adapters as u32);
        (params.entries, params.up_entries) = (entries(self.adapters), entries(self.up_adapters));
        params.room = first.shelf.half() as u32;
        // Four terms are a team's.
        let makers = (sum / 4).div_ceil(teams);
        params.makers = makers as u32;
        makers
    }

    /// Fills the slots of a layer's adapters. A step that does not finish its sums has those only that stand before x.
    pub(super) fn live(&self, step: &mut Builder, params: &mut LinearParams, rows: Rows, end: End) {
        let wanted = |held: &Held| end != End::Parts || held.shelf.has_cols();
        let sets = [(self.adapters, "live_w"), (self.up_adapters, "live_up")];
        for (held, slot) in sets {
            let has = held.as_ref().is_some_and(wanted);
            step.fill(slot, if has { "slot/live/pool" } else { "slot/live/none" });
        }
        let mut slots = [
            ("live_w_eight", ["live_w_ROWS", "live_w_COLS", "live_w_HERE"], &mut params.live),
            ("live_up_eight", ["live_up_ROWS", "live_up_COLS", "live_up_HERE"], &mut params.up_live),
        ];
        let mut some = false;
        for (held, operand, terms) in self.pools().filter(|(held, ..)| wanted(held)) {
            let (eight, [of_rows, of_cols, here], at) = &mut slots[operand - POOL];
            let shelf = held.shelf;
            step.fill(eight, shelf.eight());
            step.set(of_rows, Const::Bool(shelf.has_rows()));
            step.set(of_cols, Const::Bool(shelf.has_cols()));
            if end == End::Here {
                step.set(here, Const::Bool(true));
            }
            **at = shelf.at(terms + rows.m0 * shelf.terms());
            let binding = if operand == POOL { 10 } else { 11 };
            at.base = step.bind(binding, Part::whole(operand, held.layout), Access::Read) / 4;
            some = true;
        }
        if some && end != End::Here {
            step.fill("terms", "slot/little/words");
            step.scratch(12, 0, self.terms_bytes(), Access::Read);
        } else {
            step.fill("terms", "slot/little/none");
        }
    }
}
