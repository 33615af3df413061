//! The cache of keys and values of a model.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dispatch::{Dispatcher, Encoder, Recorder};
use crate::error::{Error, Result, shape_error};
use crate::kv::{KvFormat, KvRows, Place};
use crate::kv_steps::{ENTRIES, KvCopy, KvState};
use crate::ops::attention::prologue::Start;
use crate::ops::attention::rope::past;
use crate::tensor::{Elem, Tensor};

/// What a cache is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Layers of the model.
    pub layers: usize,
    /// B: sequences at a time.
    pub batch: usize,
    /// G: heads of keys and values.
    pub groups: usize,
    /// D: numbers of a key.
    pub d: usize,
    /// E: numbers of a value.
    pub e: usize,
    /// How keys are stored.
    pub keys: KvFormat,
    /// How values are.
    pub values: KvFormat,
}

/// How the tokens of a cache are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvRoom {
    /// Each sequence has room for so many tokens: `[B, G, tokens, ·]` in each layer.
    Static {
        /// Tokens of a sequence at most.
        tokens: usize,
    },
    /// Sequences take pages as they grow: `[pages, G, page, ·]` in each layer, and one block table for all layers.
    Paged {
        /// Tokens of a page.
        page: usize,
        /// Pages of all sequences together.
        pages: usize,
        /// Pages of one sequence at most.
        each: usize,
    },
}

/// How many tokens come.
#[derive(Clone, Copy, Debug)]
pub enum Coming<'a> {
    /// So many to each sequence.
    Each(usize),
    /// So many to one of them.
    To(usize, usize),
    /// As many as the device says, I32 `[B]`, and not more than `most` to any: what token skipping has left of them.
    Counted {
        /// How many.
        counts: &'a Tensor,
        /// The most that the host must make room for.
        most: usize,
    },
}

/// The keys and values of all layers of a model, how many there are of each sequence in each layer, and where they are.
///
/// Lengths and block tables are on the device, and are changed there by recorded work: appending and attending read nothing back. The
/// host knows them as well, where it can, and otherwise how many there are at most; by that it takes pages and says that a cache is full.
///
/// Before a layer's [`Prologue`](crate::ops::attention::prologue::Prologue) comes [`KvCache::append`], for one layer or for all of them at
/// once; it says where the prologue puts the tokens ([`KvLayer`]), and how many attention then sees. A sequence can be cut
/// ([`KvCache::truncate`]) and forked ([`KvCache::fork`]): forks share pages, and a page that is shared is copied when one of them
/// writes to it.
///
/// Layers that skip tokens hold those that they kept ([`Coming::Counted`], by what [`Select`](crate::ops::depth::Select) counts), so that
/// their lengths differ. A token's position stays the one in the whole sequence, which a layer without skipping tells: its `starts` are
/// the positions of tokens that come one at a time. Attention counts by the layer's own: `starts` are its offsets, `lengths` its `kv_len`.
///
/// Calls change what the host knows at once, and the device when what they record is submitted: a recorder that is dropped unsubmitted leaves
/// a cache that must be cleared.
///
/// Source: paged caches with block tables and copy on write, Kwon et al., "Efficient Memory Management for Large Language Model Serving
/// with PagedAttention" (arXiv 2309.06180).
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
    room: KvRoom,
    rows: Vec<(KvRows, KvRows)>,
    state: Tensor,
    table: Option<Tensor>,
    /// For each layer and sequence: how many tokens there are at most, and whether there are as many.
    held: Vec<(usize, bool)>,
    /// The pages of each sequence, in order.
    pages: Vec<Vec<usize>>,
    /// How many sequences share each page.
    shared: Vec<u32>,
    /// Pages that nobody has, the next last.
    free: Vec<usize>,
    /// For each layer and sequence: where the tokens that came last began, if that is known.
    begun: Vec<Option<usize>>,
    /// Rows of the tables by which tokens turn, if they were told.
    positions: Option<usize>,
    /// For each layer: the least rows of a table that what was recorded after its last append has turned by.
    turned: Vec<AtomicUsize>,
}

/// A layer of a cache, for the ops that write and read it.
#[derive(Clone, Debug)]
pub struct KvLayer<'a> {
    /// Keys.
    pub keys: &'a KvRows,
    /// Values.
    pub values: &'a KvRows,
    /// Which row is whose.
    pub place: Place<'a>,
    /// I32, `[B]`: where the tokens that came last were appended.
    pub starts: Tensor,
    /// I32, `[B]`: how many tokens there are with them.
    pub lengths: Tensor,
    /// The starts that the host knows.
    begun: &'a [Option<usize>],
    /// See [`KvCache`].
    turned: &'a AtomicUsize,
}

impl KvLayer<'_> {
    /// Where a prologue appends.
    pub fn start(&self) -> Start<'_> {
        Start::Layer(self)
    }

    /// The furthest start, as far as the host knows them.
    pub(crate) fn furthest(&self) -> Option<usize> {
        self.begun.iter().copied().flatten().max()
    }

    /// Something is recorded in which a token turns by the place where it is appended, by a table of so many rows.
    pub(crate) fn turned_by(&self, rows: usize) {
        self.turned.fetch_min(rows, Ordering::Relaxed);
    }
}

const OP: &str = "kv cache";

/// The cache is full, or the pool: what was wanted and what there is.
fn full(limit: &'static str, need: usize, have: usize) -> Error {
    Error::Limit { op: OP, limit, need: need as u64, have: have as u64 }
}

impl KvCache {
    /// An empty cache.
    ///
    /// # Errors
    /// No heads or numbers, no room, pages of which a head is not whole words, no memory, or a lost device.
    pub fn new(gpu: &Dispatcher, shape: KvShape, room: KvRoom) -> Result<Self> {
        let KvShape { layers, batch, groups, d, e, keys, values } = shape;
        let (blocks, each) = match room {
            KvRoom::Static { tokens } => (batch, tokens),
            KvRoom::Paged { page, pages, .. } => (pages, page),
        };
        if groups == 0 || each == 0 || batch == 0 {
            return Err(shape_error!(OP, "{batch} sequences of {groups} heads with {each} tokens have no room"));
        }
        let rows = blocks.checked_mul(groups * each).ok_or_else(|| full("rows", usize::MAX, usize::MAX))?;
        for (format, width) in [(keys, d), (values, e)] {
            let bytes = groups * each * format.row_bytes(width);
            if !bytes.is_multiple_of(4) {
                return Err(shape_error!(
                    OP,
                    "{groups} heads of {each} tokens by {width} are {bytes} bytes, not whole words"
                ));
            }
        }
        let of_layer = |_| Ok((gpu.kv(keys, rows, d)?, gpu.kv(values, rows, e)?));
        let rows = (0..layers).map(of_layer).collect::<Result<Vec<_>>>()?;
        let lengths = 2 * layers * batch;
        let (entries, pages) = match room {
            KvRoom::Static { .. } => (0, 0),
            KvRoom::Paged { pages, each, .. } => (batch * each, pages),
        };
        let state = gpu.zeros([(lengths + entries).max(1)], Elem::I32)?;
        let table = match room {
            KvRoom::Static { .. } => None,
            KvRoom::Paged { each, .. } => Some(state.view(lengths, [batch, each])?),
        };
        Ok(Self {
            shape,
            room,
            rows,
            state,
            table,
            held: vec![(0, true); layers * batch],
            pages: vec![Vec::new(); batch],
            shared: vec![0; pages],
            free: (0..pages).rev().collect(),
            begun: vec![Some(0); layers * batch],
            positions: None,
            turned: (0..layers).map(|_| AtomicUsize::new(usize::MAX)).collect(),
        })
    }

    /// From here on tokens turn by tables of so many rows, and a sequence that would grow past them is an [`Error::Position`] of
    /// [`KvCache::append`] and [`KvCache::again`], before anything is changed. Without it a [`DecoderLayer`](crate::decoder::DecoderLayer)
    /// or a prologue says so, of places that it turns by; then room has been made already.
    ///
    /// It is for tokens whose positions are counted as a sequence grows. Where layers skip tokens it is a layer without skipping
    /// that holds them all, and so is at the positions' end.
    pub fn turn_by(&mut self, rows: usize) {
        self.positions = Some(rows);
    }

    /// No sequence of these grows past so many positions when tokens come to a run of layers, as far as the host knows: a token's position
    /// is no less than the number of those before it that a layer holds.
    fn check_positions(
        &self,
        layers: &Range<usize>,
        mut sequences: Range<usize>,
        coming: usize,
        rows: usize,
    ) -> Result<()> {
        sequences.try_for_each(|b| {
            let held = layers.clone().map(|l| self.surely(l * self.shape.batch + b)).max().unwrap_or(0);
            let end = held.saturating_add(coming);
            if coming > 0 && end > rows { Err(past(OP, rows, end - 1)) } else { Ok(()) }
        })
    }

    /// There are positions for so many tokens that come to each sequence, whether or not this layer keeps them.
    pub(crate) fn check_turns(&self, layer: usize, coming: usize) -> Result<()> {
        let rows = self.positions.unwrap_or(usize::MAX);
        self.check_positions(&(layer..layer + 1), 0..self.shape.batch, coming, rows)
    }

    /// What it is for.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Tokens that a sequence has room for at most.
    pub fn room(&self) -> usize {
        match self.room {
            KvRoom::Static { tokens } => tokens,
            KvRoom::Paged { page, each, .. } => page * each,
        }
    }

    /// Pages that no sequence has; a static cache has none.
    pub fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// The bytes of all keys and values that there is room for.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|(keys, values)| keys.bytes() + values.bytes()).sum()
    }

    /// How many tokens of a sequence a layer holds; none where only the device knows.
    pub fn length(&self, layer: usize, sequence: usize) -> Option<usize> {
        let (held, exact) = *self.held.get(layer * self.shape.batch + sequence)?;
        (exact && sequence < self.shape.batch).then_some(held)
    }

    /// A layer.
    ///
    /// # Errors
    /// There is no such layer.
    pub fn layer(&self, layer: usize) -> Result<KvLayer<'_>> {
        let batch = self.shape.batch;
        let Some((keys, values)) = self.rows.get(layer) else {
            return Err(shape_error!(OP, "there is no layer {layer} among {}", self.rows.len()));
        };
        let place = match (&self.table, self.room) {
            (Some(table), KvRoom::Paged { page, .. }) => Place::Paged { table, page },
            _ => Place::Heads,
        };
        let starts = self.state.view(2 * layer * batch, [batch])?;
        let lengths = self.state.view((2 * layer + 1) * batch, [batch])?;
        let (begun, turned) = (&self.begun[layer * batch..][..batch], &self.turned[layer]);
        Ok(KvLayer { keys, values, place, starts, lengths, begun, turned })
    }

    /// Makes room for tokens that come to a run of layers, and moves their lengths on: from here on a layer's `starts` are where they go.
    ///
    /// # Errors
    /// Layers or sequences that are not there; a sequence that would be longer than there is room for, no page left, or a position past the
    /// tables ([`KvCache::turn_by`]), with both numbers: then nothing has changed.
    pub fn append<E: Encoder>(
        &mut self,
        recorder: &mut Recorder<E>,
        layers: Range<usize>,
        coming: Coming<'_>,
    ) -> Result<()> {
        let batch = self.shape.batch;
        self.check_layers(&layers)?;
        let (elements, most, counts) = match coming {
            Coming::Each(n) => (0..batch, n, None),
            Coming::To(sequence, n) => {
                self.check_sequence(sequence)?;
                (sequence..sequence + 1, n, None)
            }
            Coming::Counted { counts, most } => (0..batch, most, Some(counts)),
        };
        // All that can fail comes before all that changes.
        let mut wanted = Vec::new();
        for b in elements.clone() {
            let longest = layers.clone().map(|l| self.held[l * batch + b].0).max().unwrap_or(0);
            let end = longest.saturating_add(most);
            if end > self.room() {
                return Err(full("room for tokens", end, self.room()));
            }
            // Where the least of the layers goes on may be before the end: a page that others share is not written to.
            let least = layers.clone().map(|l| self.surely(l * batch + b)).min().unwrap_or(0);
            wanted.push((b, least, end));
        }
        if let (Some(rows), None) = (self.positions, counts) {
            self.check_positions(&layers, elements.clone(), most, rows)?;
        }
        let mut copies = Vec::new();
        let mut entries: Vec<(usize, Vec<i32>)> = Vec::new();
        if let KvRoom::Paged { page, each, .. } = self.room {
            let mut left = Vec::new();
            let need: usize = wanted
                .iter()
                .map(|(b, least, end)| self.pages_wanted(*b, *least / page..end.div_ceil(page), &mut left))
                .sum();
            if need > self.free.len() {
                return Err(full("free pages", need, self.free.len()));
            }
            for (b, least, end) in &wanted {
                for at in least / page..end.div_ceil(page) {
                    let old = self.pages[*b].get(at).copied();
                    if old.is_some_and(|p| self.shared[p] == 1) {
                        continue;
                    }
                    let Some(new) = self.free.pop() else { continue };
                    self.shared[new] = 1;
                    match old {
                        Some(old) => {
                            self.shared[old] -= 1;
                            self.pages[*b][at] = new;
                            copies.push((old, new));
                        }
                        None => self.pages[*b].push(new),
                    }
                    let first = 2 * self.shape.layers * batch + b * each + at;
                    match entries.last_mut() {
                        Some((from, some)) if *from + some.len() == first && some.len() < ENTRIES => {
                            some.push(new as i32)
                        }
                        _ => entries.push((first, vec![new as i32])),
                    }
                }
            }
            let rows = page * self.shape.groups;
            for (old, new) in copies {
                for (keys, values) in &self.rows {
                    for rows_of in [keys, values] {
                        recorder.run(KvCopy { rows: rows_of, from: old * rows, to: new * rows, count: rows })?;
                    }
                }
            }
        }
        for (b, ..) in &wanted {
            for l in layers.clone() {
                let at = l * batch + b;
                let (held, exact) = self.held[at];
                self.begun[at] = exact.then_some(held);
                self.held[at] = (held + most, exact && counts.is_none());
            }
        }
        // What turns by a table is recorded after this.
        layers.clone().for_each(|l| self.turned[l] = AtomicUsize::new(usize::MAX));
        let mut entries = entries.iter().map(|(at, some)| (*at, some.as_slice()));
        let add = if counts.is_some() { 0 } else { most as u32 };
        let first = entries.next().unwrap_or_default();
        let state = KvState {
            state: &self.state,
            batch,
            layers: (layers.start, layers.len()),
            elements: (elements.start, elements.len()),
            add,
            counts,
            limit: self.room() as u32,
            source: None,
            entries: first,
        };
        recorder.run(state)?;
        entries.try_for_each(|entries| recorder.run(KvState { layers: (0, 0), counts: None, entries, ..state }))
    }

    /// Counts tokens that come to every sequence by a [`Recording`](crate::Recording) of [`KvCache::append`], which is about to be replayed: at
    /// each replay but the first, which was counted when it was recorded. Nothing is recorded.
    ///
    /// # Errors
    /// As [`KvCache::append`]; tokens past the tables by which a [`DecoderLayer`](crate::decoder::DecoderLayer) that was recorded since turns by
    /// their places; or a paged cache in which a page would have to be taken or copied, which only a new recording can do. Then nothing has
    /// changed.
    pub fn again(&mut self, layers: Range<usize>, each: usize) -> Result<()> {
        let batch = self.shape.batch;
        self.check_layers(&layers)?;
        let turned = layers.clone().map(|l| self.turned[l].load(Ordering::Relaxed)).min().unwrap_or(usize::MAX);
        self.check_positions(&layers, 0..batch, each, turned.min(self.positions.unwrap_or(usize::MAX)))?;
        for b in 0..batch {
            let longest = layers.clone().map(|l| self.held[l * batch + b].0).max().unwrap_or(0);
            let end = longest.saturating_add(each);
            if end > self.room() {
                return Err(full("room for tokens", end, self.room()));
            }
            if let KvRoom::Paged { page, .. } = self.room {
                let least = layers.clone().map(|l| self.surely(l * batch + b)).min().unwrap_or(0);
                let need = self.pages_wanted(b, least / page..end.div_ceil(page), &mut Vec::new());
                if need > 0 {
                    return Err(full("pages of its own", need, 0));
                }
            }
        }
        for at in layers.start * batch..layers.end * batch {
            let (held, exact) = self.held[at];
            (self.begun[at], self.held[at].0) = (exact.then_some(held), held + each);
        }
        Ok(())
    }

    /// Cuts a sequence to its first tokens, in all layers; one that is no longer stays as it is. Pages that nobody needs are free again.
    ///
    /// # Errors
    /// There is no such sequence, or as [`Recorder::run`].
    pub fn truncate<E: Encoder>(&mut self, recorder: &mut Recorder<E>, sequence: usize, tokens: usize) -> Result<()> {
        self.check_sequence(sequence)?;
        let limit = u32::try_from(tokens).unwrap_or(u32::MAX);
        recorder.run(self.of_sequence(sequence, limit, None))?;
        let batch = self.shape.batch;
        for l in 0..self.shape.layers {
            // A length that only the device knows is still known to be no more.
            let at = l * batch + sequence;
            let (held, exact) = self.held[at];
            self.held[at] = (held.min(tokens), exact || tokens == 0);
            self.begun[at] = Some(self.held[at]).filter(|h| h.1).map(|h| h.0);
        }
        if let KvRoom::Paged { page, .. } = self.room {
            let longest = (0..self.shape.layers).map(|l| self.held[l * batch + sequence].0).max().unwrap_or(0);
            self.give_back(sequence, longest.div_ceil(page));
        }
        Ok(())
    }

    /// Makes sequence `to` a copy of sequence `from`, in all layers. Of a paged cache nothing is copied but the block table: both share
    /// pages, until one of them writes to one. What `to` held is gone.
    ///
    /// # Errors
    /// Sequences that are not there or the same, or as [`Recorder::run`].
    pub fn fork<E: Encoder>(&mut self, recorder: &mut Recorder<E>, from: usize, to: usize) -> Result<()> {
        self.check_sequence(from)?;
        self.check_sequence(to)?;
        if from == to {
            return Err(shape_error!(OP, "sequence {from} cannot become its own fork"));
        }
        let (batch, lengths) = (self.shape.batch, 2 * self.shape.layers * self.shape.batch);
        match self.room {
            KvRoom::Static { tokens } => {
                let rows = tokens * self.shape.groups;
                for (keys, values) in &self.rows {
                    for of in [keys, values] {
                        recorder.run(KvCopy { rows: of, from: from * rows, to: to * rows, count: rows })?;
                    }
                }
                recorder.run(self.of_sequence(to, u32::MAX, Some(from)))?;
            }
            KvRoom::Paged { each, .. } => {
                let entries: Vec<i32> = self.pages[from].iter().map(|p| *p as i32).collect();
                recorder.run(self.of_sequence(to, u32::MAX, Some(from)))?;
                for (i, some) in entries.chunks(ENTRIES).enumerate() {
                    let entries = (lengths + to * each + i * ENTRIES, some);
                    recorder.run(KvState { layers: (0, 0), entries, ..self.of_sequence(to, 0, None) })?;
                }
                self.give_back(to, 0);
                self.pages[to] = self.pages[from].clone();
                for p in &self.pages[to] {
                    self.shared[*p] += 1;
                }
            }
        }
        for l in 0..self.shape.layers {
            self.held[l * batch + to] = self.held[l * batch + from];
            self.begun[l * batch + to] = Some(self.held[l * batch + from]).filter(|h| h.1).map(|h| h.0);
        }
        Ok(())
    }

    /// Empties all sequences.
    ///
    /// # Errors
    /// As [`Recorder::run`].
    pub fn clear<E: Encoder>(&mut self, recorder: &mut Recorder<E>) -> Result<()> {
        (0..self.shape.batch).try_for_each(|b| self.truncate(recorder, b, 0))
    }

    /// What is done to the lengths of a sequence in all layers.
    fn of_sequence(&self, sequence: usize, limit: u32, source: Option<usize>) -> KvState<'_> {
        KvState {
            state: &self.state,
            batch: self.shape.batch,
            layers: (0, self.shape.layers),
            elements: (sequence, 1),
            add: 0,
            counts: None,
            limit,
            source,
            entries: (0, &[]),
        }
    }

    /// How many tokens there are at least.
    fn surely(&self, at: usize) -> usize {
        let (held, exact) = self.held[at];
        if exact { held } else { 0 }
    }

    /// Pages that a sequence must get to write to some of its own: those it lacks, and copies of those that it shares. The shared ones
    /// that it leaves to others by that are noted.
    fn pages_wanted(&self, sequence: usize, run: Range<usize>, left: &mut Vec<usize>) -> usize {
        let own = &self.pages[sequence];
        let mut wanted = 0;
        for at in run {
            match own.get(at) {
                Some(p) if self.shared[*p] as usize == 1 + left.iter().filter(|l| *l == p).count() => {}
                Some(p) => {
                    left.push(*p);
                    wanted += 1;
                }
                None => wanted += 1,
            }
        }
        wanted
    }

    /// A sequence keeps its first pages.
    fn give_back(&mut self, sequence: usize, keep: usize) {
        let keep = keep.min(self.pages[sequence].len());
        for p in self.pages[sequence].split_off(keep).into_iter().rev() {
            self.shared[p] -= 1;
            if self.shared[p] == 0 {
                self.free.push(p);
            }
        }
    }

    fn check_layers(&self, layers: &Range<usize>) -> Result<()> {
        if layers.start > layers.end || layers.end > self.shape.layers {
            return Err(shape_error!(OP, "there are no layers {layers:?} among {}", self.shape.layers));
        }
        Ok(())
    }

    fn check_sequence(&self, sequence: usize) -> Result<()> {
        if sequence >= self.shape.batch {
            return Err(shape_error!(OP, "there is no sequence {sequence} among {}", self.shape.batch));
        }
        Ok(())
    }
}
