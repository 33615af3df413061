//! The cache of keys and values of a model.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dispatch::{Dispatcher, Encoder, Fate, Recorder};
use crate::error::{Error, Result, shape_error};
use crate::kv::{KvFormat, KvRows, Place};
use crate::kv_steps::{ENTRIES, KvCopy, KvState, NOWHERE};
use crate::ops::Op;
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

/// How many tokens come to the layers of a cache.
#[derive(Clone, Copy, Debug)]
pub enum Coming<'a> {
    /// So many to each sequence, of which none skips a layer.
    Each(usize),
    /// So many to one sequence, of which none skips a layer, and none to the others.
    ///
    /// So one prompt is prefilled into one place of a batch: the layers are recorded on `[B, L]` with the prompt in that sequence's rows, and
    /// of the other rows, whatever they are, nothing is written.
    To {
        /// The sequence.
        sequence: usize,
        /// Tokens.
        tokens: usize,
    },
    /// So many to each sequence by itself, of which none skips a layer: prompts of unequal lengths, padded at their ends. There are B numbers.
    Listed(&'a [usize]),
    /// As many as the device says, I32 `[B]`, and not more than `most` to any: what token skipping has left of them.
    Counted {
        /// How many.
        counts: &'a Tensor,
        /// The most that the host must make room for.
        most: usize,
    },
    /// As many as the device says, I32 `[B]`, which the host knows as well: what token skipping has left where it keeps so many. Then forks go on
    /// sharing what is before them.
    Kept {
        /// How many.
        counts: &'a Tensor,
        /// The same B numbers. Where a count is lower, the length is what the device says, but what the host says of it is wrong, and a page
        /// that forks share may be written to.
        tokens: &'a [usize],
    },
}

/// How many tokens come to each sequence, as the host knows it: no fewer, and no more.
#[derive(Clone, Debug)]
struct Comes {
    least: Vec<usize>,
    most: Vec<usize>,
    /// Others have skipped the layers.
    skipping: bool,
}

/// What a [`KvCache::append`] has recorded, for [`KvCache::again`].
#[derive(Clone, Debug)]
pub struct Appended {
    /// Its [`KvCache::own`].
    cache: Arc<()>,
    layers: Range<usize>,
    comes: Comes,
    /// Pages are copied.
    copies: bool,
    /// Entries of block tables are set, which have not moved since they have moved so many times.
    sets: Option<u64>,
    turned: Turned,
}

/// The least rows of a table that what was recorded after an append has turned by, shared by who records and who appends again: another
/// append begins anew.
#[derive(Clone, Debug)]
struct Turned(Arc<AtomicUsize>);

impl Turned {
    fn by_nothing() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

/// What the host knows of the tokens of a sequence that a layer holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// There are no fewer,
    least: usize,
    /// and no more.
    most: usize,
    /// Where tokens have skipped the layer: how many came since then.
    since: Option<usize>,
}

impl Held {
    fn known(self) -> Option<usize> {
        (self.least == self.most).then_some(self.most)
    }
}

/// Where the tokens of an append begin in a sequence, and how many are surely there.
#[derive(Clone, Copy, Debug)]
struct Begun {
    start: usize,
    tokens: usize,
}

/// An append that can be recorded.
pub(crate) struct Step {
    comes: Comes,
    /// The sequence that takes a page, its place among the pages of that, and the page that was there, which is copied.
    taken: Vec<(usize, usize, Option<usize>)>,
    /// The element of the state at which entries of a block table are set, and what they become.
    entries: Vec<(usize, Vec<i32>)>,
}

/// The keys and values of all layers of a model, how many there are of each sequence in each layer, and where they are.
///
/// Lengths and block tables are on the device, and are changed there by recorded work: appending and attending read nothing back. The
/// host knows them as well, where it can, and otherwise how many there are at most; by that it takes pages and says that a cache is full.
///
/// Before a layer's [`Prologue`](crate::ops::attention::prologue::Prologue) comes [`KvCache::append`], for one layer or for all of them at
/// once; it says where the prologue puts the tokens ([`KvLayer`]), and how many attention then sees. A sequence can be cut
/// ([`KvCache::truncate`], [`KvCache::take_back`]) and forked ([`KvCache::fork`]): forks share pages, and a page that is shared is copied when
/// one of them writes to it.
///
/// Layers that skip tokens hold those that they kept ([`Coming::Counted`] and [`Coming::Kept`], by what
/// [`Select`](crate::ops::depth::Select) counts), so that their lengths differ. A token's position stays the one in the whole sequence, which a layer without skipping tells: its `starts` are
/// the positions of tokens that come one at a time. Attention counts by the layer's own: `starts` are its offsets, `lengths` its `kv_len`.
///
/// Calls change what the host knows at once, and the device when what they record is submitted. A call that returns an error has changed neither,
/// and what a recorder with an encoder of its own has changed is undone when it is dropped unsubmitted. A caller's encoder does not tell whether it
/// was submitted, and of two recorders side by side only what the later one has changed is undone: then the cache must be cleared.
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
    /// Of each layer and sequence.
    held: Vec<Held>,
    pages: Pages,
    /// How often pages that sequences had have become others or none.
    moved: u64,
    /// For each layer and sequence: where the tokens that came last began, if that is known.
    begun: Vec<Option<Begun>>,
    before: Option<Before>,
    /// Rows of the tables by which tokens turn, if they were told.
    positions: Option<usize>,
    /// What no other cache has.
    own: Arc<()>,
    /// For each layer, of its last append.
    turned: Vec<Turned>,
}

/// Which pages are whose.
#[derive(Clone, Debug)]
struct Pages {
    /// Those of each sequence, in order.
    of: Vec<Vec<usize>>,
    /// How many sequences share each page.
    shared: Vec<u32>,
    /// Those that nobody has, the next last.
    free: Vec<usize>,
}

/// What the host knew before a recorder changed it that may be dropped.
#[derive(Debug)]
struct Before {
    fate: Fate,
    held: Vec<Held>,
    begun: Vec<Option<Begun>>,
    /// Where pages have changed too.
    pages: Option<Pages>,
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
    /// I32, `[B]`: where the tokens that came last were appended; of a sequence to which none came [`NOWHERE`], where
    /// nothing is written.
    pub starts: Tensor,
    /// I32, `[B]`: how many tokens there are with them.
    pub lengths: Tensor,
    /// The starts that the host knows.
    begun: &'a [Option<Begun>],
    /// Tokens of some sequence have skipped it: a place in it is no position.
    pub(crate) skipped: bool,
    /// Nothing has come to it, or all of it is gone.
    pub(crate) empty: bool,
    /// See [`KvCache`].
    turned: &'a Turned,
}

impl KvLayer<'_> {
    /// Where a prologue appends.
    pub fn start(&self) -> Start<'_> {
        Start::Layer(self)
    }

    /// Where the last token is surely appended, of rows that have so many for each sequence: some may be padding. As far as the host knows.
    pub(crate) fn last(&self, each: usize) -> Option<usize> {
        self.begun.iter().flatten().filter_map(|begun| (begun.start + begun.tokens.min(each)).checked_sub(1)).max()
    }

    /// Something is recorded in which a token turns by the place where it is appended, by a table of so many rows.
    pub(crate) fn turned_by(&self, rows: usize) {
        self.turned.0.fetch_min(rows, Ordering::Relaxed);
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
    /// Sequences or pages that would end within a word (of f16 with an odd number of tokens, heads and numbers) have room for one token more.
    ///
    /// # Errors
    /// No heads or numbers, no room, layers larger than a binding of the device, 2^30 tokens or more, no memory, or a lost device.
    pub fn new(gpu: &Dispatcher, shape: KvShape, room: KvRoom) -> Result<Self> {
        let KvShape { layers, batch, groups, d, e, keys, values } = shape;
        let have = gpu.caps().storage_binding_bytes;
        let bound = |bytes: &[usize]| {
            let need = bytes.iter().fold(1usize, |all, n| all.saturating_mul(*n));
            let limit = "storage_binding_bytes";
            if need as u64 > have { Err(Error::Limit { op: OP, limit, need: need as u64, have }) } else { Ok(need) }
        };
        let (blocks, each, tables) = match room {
            KvRoom::Static { tokens } => (batch, tokens, 0),
            KvRoom::Paged { page, pages, each } => (pages, page, each),
        };
        if groups == 0 || each == 0 || batch == 0 {
            return Err(shape_error!(OP, "{batch} sequences of {groups} heads with {each} tokens have no room"));
        }
        // A block is whole words: of an even number of tokens it always is.
        let whole = [(keys, d), (values, e)].into_iter().all(|(format, width)| {
            let bytes = format.row_bytes(width).wrapping_mul(groups).wrapping_mul(each);
            bytes.is_multiple_of(4)
        });
        let each = each.saturating_add(usize::from(!whole));
        let room = match room {
            KvRoom::Static { .. } => KvRoom::Static { tokens: each },
            KvRoom::Paged { pages, each: of, .. } => KvRoom::Paged { page: each, pages, each: of },
        };
        let tokens = each.saturating_mul(tables.max(1));
        if tokens >= NOWHERE {
            return Err(full("tokens of a sequence", tokens, NOWHERE - 1));
        }
        let rows = bound(&[blocks, groups, each])?;
        for (format, width) in [(keys, d), (values, e)] {
            bound(&[rows, format.row_bytes(width)])?;
        }
        let lengths = bound(&[2, layers, batch, 4])? / 4;
        let entries = bound(&[batch, tables, 4])? / 4;
        let of_layer = |_| Ok((gpu.kv(keys, rows, d)?, gpu.kv(values, rows, e)?));
        let rows = (0..layers).map(of_layer).collect::<Result<Vec<_>>>()?;
        let pages = if matches!(room, KvRoom::Paged { .. }) { blocks } else { 0 };
        // Nothing has come, and there is no page.
        let mut numbers = [vec![NOWHERE as i32; batch], vec![0; batch]].concat().repeat(layers);
        numbers.resize((lengths + entries).max(1), -1);
        let state = gpu.upload_bytes(bytemuck::cast_slice(&numbers), [numbers.len()], Elem::I32)?;
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
            held: vec![Held::default(); layers * batch],
            pages: Pages { of: vec![Vec::new(); batch], shared: vec![0; pages], free: (0..pages).rev().collect() },
            moved: 0,
            begun: vec![None; layers * batch],
            before: None,
            positions: None,
            own: Arc::new(()),
            turned: (0..layers).map(|_| Turned::by_nothing()).collect(),
        })
    }

    /// What the codes of a layer stand for is multiplied by these, keys and values: of [`KvFormat::E4m3`] alone, whose scales are 1 until then.
    /// It is for a cache that is empty: what is there is not written anew, and what was recorded goes on with the scales of then.
    ///
    /// # Errors
    /// There is no such layer, or as [`KvRows::with_scale`].
    pub fn scale(&mut self, layer: usize, keys: Option<f32>, values: Option<f32>) -> Result<()> {
        let have = self.rows.len();
        let Some(rows) = self.rows.get_mut(layer) else {
            return Err(shape_error!(OP, "there is no layer {layer} among {have}"));
        };
        let scaled = |rows: &KvRows, scale: Option<f32>| match scale {
            Some(scale) => rows.clone().with_scale(scale),
            None => Ok(rows.clone()),
        };
        *rows = (scaled(&rows.0, keys)?, scaled(&rows.1, values)?);
        Ok(())
    }

    /// From here on tokens turn by tables of so many rows, and a sequence that would grow past them is an [`Error::Position`] of
    /// [`KvCache::append`] and [`KvCache::again`], before anything is changed. Without it a [`DecoderLayer`](crate::decoder::DecoderLayer)
    /// or a prologue says so, of places that it turns by; then room has been made already. What is recorded once and replayed says nothing.
    ///
    /// It is for tokens whose positions are counted as a sequence grows. Where layers skip tokens it is a layer without skipping
    /// that holds them all, and so is at the positions' end.
    pub fn turn_by(&mut self, rows: usize) {
        self.positions = Some(rows);
    }

    /// No sequence grows past so many positions when tokens come to a run of layers, as far as the host knows: a token's position is no less
    /// than the number of those before it that a layer holds.
    fn check_positions(&self, layers: &Range<usize>, coming: &[usize], rows: usize) -> Result<()> {
        coming.iter().enumerate().filter(|(_, n)| **n > 0).try_for_each(|(b, n)| {
            let held = self.of(layers.clone(), b).map(|h| h.least).max().unwrap_or(0);
            let end = held.saturating_add(*n);
            if end > rows { Err(past(OP, rows, end - 1)) } else { Ok(()) }
        })
    }

    /// There are positions for so many tokens that come to each sequence, whether or not this layer keeps them.
    pub(crate) fn check_turns(&self, layer: usize, coming: usize) -> Result<()> {
        let rows = self.positions.unwrap_or(usize::MAX);
        self.check_positions(&(layer..layer + 1), &vec![coming; self.shape.batch], rows)
    }

    /// From here on a recorder changes what the host knows.
    fn begin<E: Encoder>(&mut self, recorder: &Recorder<E>) {
        self.undo();
        let fate = recorder.fate();
        if !self.before.as_ref().is_some_and(|before| before.fate.is(fate)) {
            let (held, begun) = (self.held.clone(), self.begun.clone());
            self.before = fate.is_open().then(|| Before { fate: fate.clone(), held, begun, pages: None });
        }
    }

    /// Pages change too.
    fn turn_pages(&mut self) {
        if let Some(before) = &mut self.before {
            before.pages.get_or_insert_with(|| self.pages.clone());
        }
    }

    /// What was known before a recorder that has been dropped.
    fn gone(&self) -> Option<&Before> {
        self.before.as_ref().filter(|before| before.fate.is_gone())
    }

    /// Takes back what a recorder has changed that has been dropped.
    fn undo(&mut self) {
        if let Some(Before { held, begun, pages, .. }) = self.before.take_if(|before| before.fate.is_gone()) {
            (self.held, self.begun) = (held, begun);
            if let Some(pages) = pages {
                self.pages = pages;
                self.moved += 1;
            }
        }
    }

    fn held(&self) -> &[Held] {
        self.gone().map_or(&self.held, |before| &before.held)
    }

    /// What these layers hold of a sequence.
    fn of(&self, mut layers: Range<usize>, sequence: usize) -> impl Iterator<Item = Held> {
        let batch = self.shape.batch;
        let held = self.held();
        std::iter::from_fn(move || layers.next()).map(move |l| held[l * batch + sequence])
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
        self.gone().and_then(|before| before.pages.as_ref()).unwrap_or(&self.pages).free.len()
    }

    /// The bytes of all keys and values that there is room for.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|(keys, values)| keys.bytes() + values.bytes()).sum()
    }

    /// How many tokens of a sequence a layer holds; none where only the device knows.
    pub fn length(&self, layer: usize, sequence: usize) -> Option<usize> {
        let known = sequence < self.shape.batch && layer < self.shape.layers;
        self.held().get(layer * self.shape.batch + sequence).filter(|_| known)?.known()
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
        let of_layer = layer * batch..(layer + 1) * batch;
        let (begun, turned) = (self.gone().map_or(&self.begun, |before| &before.begun), &self.turned[layer]);
        let (held, begun) = (&self.held()[of_layer.clone()], &begun[of_layer]);
        let skipped = held.iter().any(|h| h.since.is_some());
        let empty = held.iter().all(|held| held.most == 0);
        Ok(KvLayer { keys, values, place, starts, lengths, begun, skipped, empty, turned })
    }

    /// Makes room for tokens that come to a run of layers, and moves their lengths on: from here on a layer's `starts` are where they go.
    ///
    /// # Errors
    /// Layers or sequences that are not there; a sequence that would be longer than there is room for, no page left, or a position past the
    /// tables ([`KvCache::turn_by`]), with both numbers; counts of another shape or storage, or of another dispatcher. Then nothing has changed.
    pub fn append<E: Encoder>(
        &mut self,
        recorder: &mut Recorder<E>,
        layers: Range<usize>,
        coming: Coming<'_>,
    ) -> Result<Appended> {
        self.begin(recorder);
        let Step { comes, taken, entries } = self.judge_append(recorder, &layers, coming)?;
        recorder.together(|recorder| {
            for (from, to, count) in self.copies(&taken) {
                self.copy(recorder, from, to, count)?;
            }
            self.states(&layers, coming, &comes, &entries).into_iter().try_for_each(|state| recorder.run(state))
        })?;
        if !taken.is_empty() {
            self.turn_pages();
        }
        let pages = self.pages.free.split_off(self.pages.free.len() - taken.len());
        for ((b, at, old), new) in taken.iter().zip(pages.into_iter().rev()) {
            self.pages.shared[new] = 1;
            match *old {
                Some(old) => {
                    self.pages.shared[old] -= 1;
                    self.pages.of[*b][*at] = new;
                }
                None => self.pages.of[*b].push(new),
            }
        }
        let copies = taken.iter().any(|(.., old)| old.is_some());
        self.moved += u64::from(copies);
        // What turns by a table is recorded after this.
        let turned = Turned::by_nothing();
        self.turned[layers.clone()].fill(turned.clone());
        self.count(&layers, &comes);
        let sets = (!taken.is_empty()).then_some(self.moved);
        Ok(Appended { cache: self.own.clone(), layers, comes, copies, sets, turned })
    }

    /// Whether an append would be taken, and what it does; nothing is recorded.
    pub(crate) fn judge_append<E: Encoder>(
        &mut self,
        recorder: &Recorder<E>,
        layers: &Range<usize>,
        coming: Coming<'_>,
    ) -> Result<Step> {
        self.undo();
        self.check_layers(layers)?;
        let comes = self.comes(coming)?;
        let runs = self.runs(layers, &comes)?;
        if let (Some(rows), false) = (self.positions, comes.skipping) {
            self.check_positions(layers, &comes.most, rows)?;
        }
        let taken = self.pages_wanted(&runs);
        if taken.len() > self.pages.free.len() {
            return Err(full("free pages", taken.len(), self.pages.free.len()));
        }
        let mut entries: Vec<(usize, Vec<i32>)> = Vec::new();
        for ((b, at, _), new) in taken.iter().zip(self.pages.free.iter().rev()) {
            let first = self.entry(*b, *at);
            match entries.last_mut() {
                Some((from, some)) if *from + some.len() == first && some.len() < ENTRIES => some.push(*new as i32),
                _ => entries.push((first, vec![*new as i32])),
            }
        }
        let states = self.states(layers, coming, &comes, &entries);
        states.iter().try_for_each(|state| recorder.judge(&state.problem()?, &state.operands()))?;
        Ok(Step { comes, taken, entries })
    }

    /// How many tokens come to each sequence.
    fn comes(&self, coming: Coming<'_>) -> Result<Comes> {
        let batch = self.shape.batch;
        let listed = |tokens: &[usize], skipping| match tokens.len() {
            n if n == batch => Ok(Comes { least: tokens.to_vec(), most: tokens.to_vec(), skipping }),
            n => Err(shape_error!(OP, "{n} numbers of tokens are listed for {batch} sequences")),
        };
        match coming {
            Coming::Each(n) => listed(&vec![n; batch], false),
            Coming::To { sequence, tokens } => {
                self.check_sequence(sequence)?;
                listed(&(0..batch).map(|b| if b == sequence { tokens } else { 0 }).collect::<Vec<_>>(), false)
            }
            Coming::Listed(tokens) => listed(tokens, false),
            Coming::Counted { most, .. } => {
                Ok(Comes { least: vec![0; batch], most: vec![most; batch], skipping: true })
            }
            Coming::Kept { tokens, .. } => listed(tokens, true),
        }
    }

    /// The pages of each sequence that tokens which come to it may be written to: from where the least of the layers may go on to the end of the
    /// longest. There is room for them.
    fn runs(&self, layers: &Range<usize>, comes: &Comes) -> Result<Vec<(usize, Range<usize>)>> {
        let mut runs = Vec::new();
        for (b, n) in comes.most.iter().enumerate().filter(|(_, n)| **n > 0) {
            let longest = self.of(layers.clone(), b).map(|h| h.most).max().unwrap_or(0);
            let end = longest.saturating_add(*n);
            if end > self.room() {
                return Err(full("room for tokens", end, self.room()));
            }
            if let KvRoom::Paged { page, .. } = self.room {
                let least = self.of(layers.clone(), b).map(|h| h.least).min().unwrap_or(0);
                // Padding may be written past what comes, to all pages that are there.
                runs.push((b, least / page..end.div_ceil(page).max(self.pages.of[b].len())));
            }
        }
        Ok(runs)
    }

    /// The rows of pages that are copied, pages that follow each other at once: the first, where it goes, and how many.
    fn copies(&self, taken: &[(usize, usize, Option<usize>)]) -> Vec<(usize, usize, usize)> {
        let KvRoom::Paged { page, .. } = self.room else { return Vec::new() };
        let rows = page * self.shape.groups;
        let mut copies: Vec<(usize, usize, usize)> = Vec::new();
        for ((.., old), new) in taken.iter().zip(self.pages.free.iter().rev()) {
            let Some((old, new)) = old.map(|old| (old * rows, new * rows)) else { continue };
            match copies.last_mut() {
                Some((from, to, count)) if (*from + *count, *to + *count) == (old, new) => *count += rows,
                _ => copies.push((old, new, rows)),
            }
        }
        copies
    }

    /// What an append does to lengths and block tables.
    fn states<'a>(
        &'a self,
        layers: &Range<usize>,
        coming: Coming<'a>,
        comes: &Comes,
        entries: &'a [(usize, Vec<i32>)],
    ) -> Vec<KvState<'a>> {
        let state = KvState { layers: (layers.start, layers.len()), ..self.of_sequences(0..self.shape.batch) };
        let mut states = match coming {
            Coming::Counted { counts, .. } | Coming::Kept { counts, .. } => {
                vec![KvState { counts: Some(counts), ..state }]
            }
            _ => {
                let mut first = 0;
                let alike = comes.most.chunk_by(|a, b| a == b).map(|run| {
                    first += run.len();
                    KvState { elements: (first - run.len(), run.len()), add: run[0] as i32, ..state }
                });
                alike.collect()
            }
        };
        for (i, (first, some)) in entries.iter().enumerate() {
            if i == states.len() {
                states.push(KvState { layers: (0, 0), ..state });
            }
            states[i].entries = (*first, some);
        }
        states
    }

    /// The host's part of an append.
    fn count(&mut self, layers: &Range<usize>, comes: &Comes) {
        let batch = self.shape.batch;
        for at in layers.start * batch..layers.end * batch {
            let (held, least, most) = (&mut self.held[at], comes.least[at % batch], comes.most[at % batch]);
            self.begun[at] = held.known().filter(|_| least > 0).map(|start| Begun { start, tokens: least });
            held.least += least;
            held.most += most;
            held.since = if comes.skipping { Some(0) } else { held.since.map(|n| n + most) };
        }
    }

    /// Counts tokens that come by a [`Recording`](crate::Recording) of [`KvCache::append`], which is about to be replayed: at each replay but the
    /// first, which was counted when it was recorded. Nothing is recorded.
    ///
    /// A recording sets pages as they were when it was made. So this is for static caches, and for paged ones until a page is needed. What
    /// always works is to record the layers alone, and to append anew before each replay:
    ///
    /// ```
    /// # use gristmill::decoder::{DecoderLayer, LayerScratch, Tokens};
    /// # use gristmill::{Dispatcher, KvCache, Result, kv_cache::Coming};
    /// # fn decode(
    /// #     gpu: &Dispatcher, layer: &DecoderLayer<'_>, scratch: &LayerScratch, one: &Tokens<'_>, cache: &mut KvCache
    /// # ) -> Result<()> {
    /// cache.turn_by(4096); // rows of the table by which the layer turns: past them an append is an error
    /// let layers = gpu.keep(|rec| layer.record(rec, scratch, one, Some(&cache.layer(0)?)))?;
    /// for _ in 0..100 {
    ///     let mut rec = gpu.record()?;
    ///     cache.append(&mut rec, 0..1, Coming::Each(1))?;
    ///     rec.replay(&layers)?;
    ///     rec.submit()?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`KvCache::append`]; an append to another cache; tokens past the tables by which a [`DecoderLayer`](crate::decoder::DecoderLayer) turns by
    /// their places that was recorded after this append and before the next; an append that copies pages, or takes some where sequences have had
    /// others since (by a fork, a cut, or a copy); or a paged cache in which a page would have to be taken or copied, which only a new append can
    /// do. Then nothing has changed.
    pub fn again(&mut self, appended: &Appended) -> Result<()> {
        let Appended { cache, layers, comes, copies, sets, turned } = appended;
        if !Arc::ptr_eq(cache, &self.own) {
            return Err(shape_error!(OP, "the append was to another cache"));
        }
        // Whoever records beside it does not know of this.
        self.undo();
        self.before = None;
        if *copies || sets.is_some_and(|then| then != self.moved) {
            return Err(shape_error!(OP, "pages are no longer as the recorded append sets them: append anew"));
        }
        if !comes.skipping {
            let turned = turned.0.load(Ordering::Relaxed);
            self.check_positions(layers, &comes.most, turned.min(self.positions.unwrap_or(usize::MAX)))?;
        }
        let need = self.pages_wanted(&self.runs(layers, comes)?).len();
        if need > 0 {
            return Err(full("pages of its own", need, 0));
        }
        self.count(layers, comes);
        Ok(())
    }

    /// Cuts a sequence to its first tokens, in all layers; one that is no longer stays as it is. Pages that nobody needs are free again.
    ///
    /// How many of the tokens a layer loses that holds fewer than all of them is known as far back as nothing has skipped it. To go further
    /// back, to the end of an earlier prompt say, fork the sequence there and fork it back.
    ///
    /// # Errors
    /// There is no such sequence; no layer holds all its tokens, so that its length is not known ([`KvCache::take_back`] does not need it); as
    /// [`KvCache::take_back`]. To no tokens it can always be cut.
    pub fn truncate<E: Encoder>(&mut self, recorder: &mut Recorder<E>, sequence: usize, tokens: usize) -> Result<()> {
        self.check_sequence(sequence)?;
        if tokens == 0 {
            return self.cut(recorder, sequence, None);
        }
        let all = 0..self.shape.layers;
        let whole = self.of(all.clone(), sequence).filter(|h| h.since.is_none()).map(|h| h.most).max();
        if whole.unwrap_or(0) < self.of(all, sequence).map(|h| h.most).max().unwrap_or(0) {
            return Err(shape_error!(
                OP,
                "tokens of sequence {sequence} skipped every layer: it has no length that is known"
            ));
        }
        self.take_back(recorder, sequence, whole.unwrap_or(0).saturating_sub(tokens))
    }

    /// Takes the last tokens of a sequence back, in all layers that hold any: drafts that were rejected, or an answer that is made anew.
    ///
    /// # Errors
    /// There is no such sequence; a layer that tokens have skipped, of which fewer came since then; layers that nothing skipped but that hold
    /// different numbers of tokens, as between the appends to each; or as [`Recorder::run`]. Then nothing has changed.
    pub fn take_back<E: Encoder>(&mut self, recorder: &mut Recorder<E>, sequence: usize, tokens: usize) -> Result<()> {
        self.check_sequence(sequence)?;
        // Of nothing there is nothing to take.
        if tokens == 0 || self.of(0..self.shape.layers, sequence).all(|held| held.most == 0) {
            return Ok(());
        }
        let mut whole = None;
        for (l, held) in self.of(0..self.shape.layers, sequence).enumerate().filter(|(_, h)| h.most > 0) {
            let last = held.since.unwrap_or(held.most);
            if last < tokens {
                return Err(shape_error!(
                    OP,
                    "of the last {tokens} tokens of sequence {sequence} layer {l} surely holds {last}, and may hold others before them"
                ));
            }
            let other = whole.filter(|n| *n != held.most && held.since.is_none());
            if let Some(other) = other {
                return Err(shape_error!(
                    OP,
                    "layer {l} holds {} tokens of sequence {sequence}, others {other}, though none was skipped",
                    held.most
                ));
            }
            whole = whole.or_else(|| held.since.is_none().then_some(held.most));
        }
        self.cut(recorder, sequence, Some(tokens))
    }

    /// The layers of a sequence lose so many tokens, or all.
    fn cut<E: Encoder>(&mut self, recorder: &mut Recorder<E>, sequence: usize, last: Option<usize>) -> Result<()> {
        self.begin(recorder);
        let left = |held: Held| match last {
            None => Held::default(),
            Some(n) => Held {
                least: held.least.saturating_sub(n),
                most: held.most.saturating_sub(n),
                since: held.since.map(|since| since.saturating_sub(n)),
            },
        };
        let longest = self.of(0..self.shape.layers, sequence).map(|h| left(h).most).max().unwrap_or(0);
        let keep = longest.div_ceil(self.page());
        let state = self.of_sequences(sequence..sequence + 1);
        recorder.run(KvState {
            add: -(last.unwrap_or(0) as i32),
            limit: if last.is_none() { 0 } else { state.limit },
            gone: self.entries_from(sequence, keep),
            ..state
        })?;
        let batch = self.shape.batch;
        for l in 0..self.shape.layers {
            let at = l * batch + sequence;
            self.held[at] = left(self.held[at]);
            self.begun[at] = None;
        }
        self.give_back(sequence, keep);
        Ok(())
    }

    /// Makes sequence `to` a copy of sequence `from`, in all layers. Of a paged cache nothing is copied but the block table: both share
    /// pages, until one of them writes to one. What `to` held is gone.
    ///
    /// The pages that a sequence may write to are copied when tokens come to it, of all layers: from that on which the shortest of the layers that
    /// they come to goes on. Where only the device knows how many tokens a layer holds ([`Coming::Counted`]), that is where it surely goes on at
    /// the earliest: the first page, if it has known that of none.
    ///
    /// # Errors
    /// Sequences that are not there or the same, or as [`Recorder::run`]. Then nothing has changed.
    pub fn fork<E: Encoder>(&mut self, recorder: &mut Recorder<E>, from: usize, to: usize) -> Result<()> {
        self.check_sequence(from)?;
        self.check_sequence(to)?;
        if from == to {
            return Err(shape_error!(OP, "sequence {from} cannot become its own fork"));
        }
        self.begin(recorder);
        let entries: Vec<i32> = self.pages.of[from].iter().map(|p| *p as i32).collect();
        let state = KvState { source: Some(from), ..self.of_sequences(to..to + 1) };
        let gone = self.entries_from(to, entries.len());
        recorder.together(|recorder| {
            recorder.run(KvState { gone, ..state })?;
            for (i, some) in entries.chunks(ENTRIES).enumerate() {
                let entries = (self.entry(to, i * ENTRIES), some);
                recorder.run(KvState { layers: (0, 0), source: None, entries, ..state })?;
            }
            if let KvRoom::Static { tokens } = self.room {
                let count = tokens * self.shape.groups;
                self.copy(recorder, from * count, to * count, count)?;
            }
            Ok(())
        })?;
        self.turn_pages();
        self.give_back(to, 0);
        self.pages.of[to] = self.pages.of[from].clone();
        for p in &self.pages.of[to] {
            self.pages.shared[*p] += 1;
        }
        let batch = self.shape.batch;
        for l in 0..self.shape.layers {
            self.held[l * batch + to] = self.held[l * batch + from];
            self.begun[l * batch + to] = None;
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

    /// Copies so many rows of all layers' keys and values.
    fn copy<E: Encoder>(&self, recorder: &mut Recorder<E>, from: usize, to: usize, count: usize) -> Result<()> {
        let rows = self.rows.iter().flat_map(|(keys, values)| [keys, values]);
        rows.map(|rows| KvCopy { rows, from, to, count }).try_for_each(|copy| recorder.run(copy))
    }

    /// A change of the lengths of sequences in all layers that leaves them as they are.
    fn of_sequences(&self, sequences: Range<usize>) -> KvState<'_> {
        KvState {
            state: &self.state,
            batch: self.shape.batch,
            layers: (0, self.shape.layers),
            elements: (sequences.start, sequences.len()),
            add: 0,
            counts: None,
            limit: self.room() as u32,
            source: None,
            entries: (0, &[]),
            gone: (0, 0),
        }
    }

    /// Tokens of a page.
    fn page(&self) -> usize {
        match self.room {
            KvRoom::Static { tokens } => tokens,
            KvRoom::Paged { page, .. } => page,
        }
    }

    /// The element of the state that says where a page of a sequence is.
    fn entry(&self, sequence: usize, page: usize) -> usize {
        match self.room {
            KvRoom::Static { .. } => 0,
            KvRoom::Paged { each, .. } => 2 * self.shape.layers * self.shape.batch + sequence * each + page,
        }
    }

    /// Those of a sequence's pages from one on: where the first is, and how many. Of all that the table has room for, since a recorder that was
    /// dropped may have left there what the host knows nothing of.
    fn entries_from(&self, sequence: usize, page: usize) -> (usize, usize) {
        match self.room {
            KvRoom::Static { .. } => (0, 0),
            KvRoom::Paged { each, .. } => (self.entry(sequence, page.min(each)), each.saturating_sub(page)),
        }
    }

    /// What sequences must get to write to these of their pages: those that they lack, and copies of those that they share: the sequence, the
    /// place among its pages, and the page that is there.
    fn pages_wanted(&self, runs: &[(usize, Range<usize>)]) -> Vec<(usize, usize, Option<usize>)> {
        // The shared pages that are left to others by that.
        let (mut left, mut wanted) = (Vec::new(), Vec::new());
        for (b, at) in runs.iter().flat_map(|(b, run)| run.clone().map(|at| (*b, at))) {
            let old = self.pages.of[b].get(at).copied();
            if let Some(page) = old {
                if self.pages.shared[page] as usize == 1 + left.iter().filter(|l| **l == page).count() {
                    continue;
                }
                left.push(page);
            }
            wanted.push((b, at, old));
        }
        wanted
    }

    /// A sequence keeps its first pages.
    fn give_back(&mut self, sequence: usize, keep: usize) {
        let keep = keep.min(self.pages.of[sequence].len());
        if keep < self.pages.of[sequence].len() {
            self.turn_pages();
        }
        let gone = self.pages.of[sequence].split_off(keep);
        self.moved += u64::from(!gone.is_empty());
        for p in gone.into_iter().rev() {
            self.pages.shared[p] -= 1;
            if self.pages.shared[p] == 0 {
                self.pages.free.push(p);
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
