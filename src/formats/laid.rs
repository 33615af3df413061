//! How a weight lies on the device: one buffer, laid out for kernels, whatever the file's layout is.
//!
//! Files order bits as their makers' kernels wanted them: along K or N, interleaved, in blocks of 18 bytes. Here all codes of a row
//! lie side by side in words, 32 to a block that begins at a whole word, so that a lane loads 32 codes of 4 bits with one load of
//! 16 bytes, and neighbouring lanes load neighbouring bytes; scales lie apart from them. No bit is added to the codes but where
//! 3, 5 and 6 bits become two planes (2 + 1, 4 + 1, 4 + 2), which is as many; ternary digits take 2 bits.
//!
//! ```text
//! codes   of each row ⌈K/32⌉ blocks of 32 codes. A plane of p bits has p words to a block; byte b of word j has at its bits
//!         p·i … p·i + p − 1 the code (j·8/p + i)·4 + b: a mask leaves four codes, one to a byte
//! high    the plane of the higher bits, where there are two
//! scales  by row and group: 8 to 64 bits each
//! supers  what scales are multiplied with
//! table   16 f32, for all or for each row
//! order   the group of each column
//! side    where the entries of each row begin, and where the last ends, in words of the section; then column and f32 of each entry
//! ```

use std::ops::Range;

use half::{bf16, f16};

use super::codec::Codec;
use super::form::{Form, Level, Place, Rule, Scale, greatest_divisor};
use super::nearest::{Nearest, Spread, fill_pack};
use super::packed::Packed;
use super::stack::Stack;
use super::{Dtype, Format};
use crate::error::{Error, Result};
use crate::ops::params::params;
use crate::ops::step::Builder;
use crate::plan::Const;
use crate::tensor::Elem;

params! {
    /// Where the sections of a weight begin in its buffer, in words, and how its rows follow each other. `struct weight_At` of
    /// `shaders/lib/weight.wgsl`.
    WeightAt {
        /// The first row of this part of the weight.
        row0: u32,
        /// Numbers in a row.
        k: u32,
        /// Blocks of 32 codes in a row; of dense numbers, quads.
        blocks: u32,
        /// Codes, or numbers.
        codes: u32,
        /// Their higher bits; of 2:4 sparsity, the places.
        high: u32,
        /// Scales.
        scales: u32,
        /// Scales in a row of scales.
        scales_row: u32,
        /// Super-scales.
        supers: u32,
        /// Tables.
        table: u32,
        /// The groups of columns.
        order: u32,
        /// The side list.
        side: u32,
        /// Always 0, which no compiler knows.
        nothing: u32,
    }
}

/// What the numbers of a weight are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Body {
    /// Numbers as they are.
    Dense(Elem),
    /// Two of four numbers, and their places.
    Sparse24(Elem),
    /// Sums of signed scales.
    Signs { bits: u32, group: u32, cols: u32 },
    /// Codes.
    Form(Form),
}

/// A part of a weight: rows that fit one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// The rows.
    pub rows: (u32, u32),
    /// The words of its buffer.
    pub words: u64,
    /// Where things are in it.
    pub at: [u32; 12],
}

/// A weight as kernels see it: numbers only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Laid {
    format: Format,
    n: u32,
    k: u32,
    body: Body,
    /// How a device rounds numbers into it.
    nearest: Option<Nearest>,
    /// Groups of a row, where a list of columns says which is whose.
    groups: u32,
    side: bool,
    /// Products with int8 codes are summed as integers over: nothing, a run that shares a scale, a row.
    integers: Integers,
    chunks: Vec<Chunk>,
}

/// How far products of codes with int8 codes are summed as integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Integers {
    /// Codes do not stand for whole numbers, or neighbours have different scales.
    None,
    /// Over a run that shares a scale.
    Run,
    /// Over a row.
    Row,
}

/// Over what codes of this form may be summed as integers with int8 codes. A row's sum stays below 2^31 where
/// `Σ|q − zero|·128 < 2^31` (A2Q: Colbert et al., arXiv 2308.13504); its largest possible value is looked at first, and only where that is
/// too large, the codes.
fn integers(w: &Packed<'_>, codec: &dyn Codec, body: Body) -> Integers {
    let k = w.k();
    let Body::Form(form) = body else { return Integers::None };
    if form.level != Level::Whole || run(form.place, k as u32) == 1 {
        return Integers::None;
    }
    let pairs = matches!(form.scale, Scale::F32 | Scale::F16);
    let one_scale = matches!(form.place, Place::Block { cols, .. } if cols as usize >= k);
    if form.rule != Rule::Scaled || !pairs || !one_scale {
        return Integers::Run;
    }
    let mut codes = vec![0; k];
    let mut fits = |n| {
        codec.codes(w, n, &mut codes);
        codes.iter().map(|q| product(form, u32::from(*q))).sum::<u64>() < MOST
    };
    if always(form, k as u64) || (0..w.n()).all(&mut fits) { Integers::Row } else { Integers::Run }
}

/// What sums of integers stay below.
const MOST: u64 = 1 << 31;

/// The largest magnitude of a product of this code with an int8 code.
fn product(form: Form, q: u32) -> u64 {
    u64::from(q.abs_diff(form.zero)) * 128
}

/// Sums of rows stay below it, whatever the codes are.
fn always(form: Form, k: u64) -> bool {
    product(form, 0).max(product(form, (1 << form.bits) - 1)) * k < MOST
}

/// A section of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Codes,
    High,
    Scales,
    Supers,
    Table,
    Order,
    Side,
}

const SECTIONS: [Section; 7] =
    [Section::Codes, Section::High, Section::Scales, Section::Supers, Section::Table, Section::Order, Section::Side];

/// The bits of the lower plane of codes and of the higher.
fn planes(bits: u32) -> (u32, u32) {
    match bits {
        3 => (2, 1),
        5 => (4, 1),
        6 => (4, 2),
        7 => (8, 0),
        other => (other, 0),
    }
}

/// The bits of a scale with what stands beside it.
fn scale_bits(scale: Scale) -> u64 {
    match scale {
        Scale::One => 0,
        Scale::E8m0 | Scale::E4m3 | Scale::Nested(_) | Scale::Super(_) | Scale::SuperNibbles(_) => 8,
        Scale::F16 | Scale::SuperPair(_) => 16,
        Scale::F32 | Scale::F16Pair | Scale::Bf16Pair => 32,
        Scale::F32Pair => 64,
    }
}

/// Neighbours along K that have one scale, as far as a block of 32 has whole runs of them; at least 4, or 1.
fn run(place: Place, k: u32) -> u32 {
    let run = match place {
        Place::Block { cols, .. } if cols >= k => 32,
        Place::Block { cols, .. } => greatest_divisor(cols, 32),
        Place::Flat(size) => greatest_divisor(greatest_divisor(size, 32), k),
        Place::Ordered | Place::Wrapped(_) => 1,
    };
    if run < 4 { 1 } else { run }
}

/// What a kernel wants of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decode {
    /// The host's numbers, bit for bit.
    Exact,
    /// Numbers for sums: those that are subnormal may be flushed.
    Sums,
    /// The same, after its lanes have brought the levels into workgroup memory.
    Near,
    /// Codes, for products with int8 codes.
    Codes,
}

/// The slots of weights in kernels: the names of their slots and constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// `w`.
    W,
    /// `up`.
    Up,
}

macro_rules! named {
    ($slot:expr, $name:literal) => {
        match $slot {
            Slot::W => concat!("w", $name),
            Slot::Up => concat!("up", $name),
        }
    };
}

impl Slot {
    /// Its name in kernels.
    pub fn name(self) -> &'static str {
        named!(self, "")
    }

    /// The binding of the weight's buffer.
    pub fn binding(self) -> u32 {
        match self {
            Self::W => 6,
            Self::Up => 7,
        }
    }
}

fn elem_of(dtype: Dtype) -> Elem {
    match dtype {
        Dtype::F16 => Elem::F16,
        Dtype::Bf16 => Elem::Bf16,
        _ => Elem::F32,
    }
}

impl Laid {
    /// How a weight lies on a device whose bindings reach `binding_bytes`.
    ///
    /// # Errors
    /// Not even the fewest rows that must stay together fit a binding.
    pub fn new(w: &Packed<'_>, binding_bytes: u64) -> Result<Self> {
        Self::of(&Stack::one(w), binding_bytes)
    }

    /// As [`Laid::new`], of matrices below each other.
    ///
    /// # Errors
    /// As [`Laid::new`].
    pub fn of(stack: &Stack<'_, '_>, binding_bytes: u64) -> Result<Self> {
        let w = stack.first();
        let codec = w.codec();
        let form = stack.form();
        let body = match (w.format(), form) {
            (_, Some(form)) => Body::Form(form),
            (Format::Sparse24, _) => Body::Sparse24(elem_of(w.get("values").dtype)),
            (Format::Bcq(bcq), _) => {
                Body::Signs { bits: bcq.bits, group: bcq.group.size(w.n()) as u32, cols: bcq.cols }
            }
            _ => Body::Dense(elem_of(w.get("w").dtype)),
        };
        let side = stack.all().any(Packed::has_side).then(|| stack.sides(stack.n()));
        // Scales that are there several times would each be found by itself.
        let own = codec.form(w) == form;
        let whole = |name, size: usize| {
            let rule = "shaders count rows and columns in 32 bits";
            u32::try_from(size).map_err(|_| Error::Value { op: w.format().name(), name, value: size.to_string(), rule })
        };
        let laid = Self {
            format: w.format(),
            n: whole("n", stack.n())?,
            k: whole("k", w.k())?,
            body,
            nearest: codec.nearest(w).filter(|_| own),
            groups: groups_of(w, codec, body),
            side: side.is_some(),
            integers: stack.all().map(|w| integers(w, codec, body)).min().unwrap_or(Integers::None),
            chunks: Vec::new(),
        };
        laid.chunked(binding_bytes, side.as_deref())
    }

    /// As the layout of a weight in this format of `n` rows and `k` columns, of which `sample` is one of few rows: for plans without a
    /// device.
    ///
    /// # Errors
    /// As [`Laid::new`].
    pub fn like(sample: &Packed<'_>, n: usize, binding_bytes: u64) -> Result<Self> {
        let laid = Self::new(sample, u64::MAX)?;
        let side = laid.side.then(|| Stack::one(sample).sides(n));
        Self { n: n as u32, chunks: Vec::new(), ..laid }.chunked(binding_bytes, side.as_deref())
    }

    /// As [`Laid::like`], for codes that are not known yet.
    ///
    /// # Errors
    /// As [`Laid::new`].
    pub fn blank(sample: &Packed<'_>, n: usize, binding_bytes: u64) -> Result<Self> {
        let mut laid = Self { n: n as u32, chunks: Vec::new(), ..Self::new(sample, u64::MAX)? };
        match (&mut laid.body, sample.format()) {
            (Body::Form(form), _) => *form = sample.codec().grown(*form, n, laid.k as usize),
            (Body::Signs { group, .. }, Format::Bcq(bcq)) => *group = bcq.group.size(n) as u32,
            _ => {}
        }
        let mut laid = laid.chunked(binding_bytes, None)?;
        if laid.judged_by_codes() {
            laid.integers = Integers::Run;
        }
        Ok(laid)
    }

    /// Only for the codes that are there rows are summed as integers.
    fn judged_by_codes(&self) -> bool {
        match self.body {
            Body::Form(form) => self.integers == Integers::Row && !always(form, u64::from(self.k)),
            _ => false,
        }
    }

    /// How kernels that write the weight find its scales ([`Nearest::spread`]).
    ///
    /// # Errors
    /// No kernel can: the rule that the weight breaks.
    pub(crate) fn written(&self) -> std::result::Result<Spread, &'static str> {
        if self.side {
            return Err("to some of its rows a side list is added");
        }
        if self.judged_by_codes() {
            return Err("its rows are summed as integers, as its codes allow, and others might not");
        }
        let spread = match (self.body, self.nearest) {
            (Body::Dense(_) | Body::Sparse24(_), _) => Spread::Row(32),
            (Body::Form(form), Some(nearest)) => nearest.spread(form, self.n, self.k)?,
            (Body::Signs { .. }, _) => Spread::Runs,
            _ => return Err("it is encoded on the host only"),
        };
        if spread == Spread::Runs && self.chunks.len() > 1 && !self.parts_are_whole() {
            return Err("it is in several parts, and rows of more than one share a scale");
        }
        Ok(spread)
    }

    /// Fills the slot of which scale a number has: its name, and those of its constants.
    pub(crate) fn fill_place(
        &self,
        place: Place,
        step: &mut Builder,
        [slot, of_rows, of_cols, size]: [&'static str; 4],
    ) {
        match place {
            Place::Block { rows, cols } => {
                step.fill(slot, "slot/place/block");
                step.set(of_rows, Const::U32(if rows >= self.n { u32::MAX } else { rows }));
                step.set(of_cols, Const::U32(if cols >= self.k { u32::MAX } else { cols }));
            }
            Place::Flat(numbers) => {
                step.fill(slot, "slot/place/flat");
                step.set(size, Const::U32(numbers));
            }
            Place::Ordered => step.fill(slot, "slot/place/ordered"),
            Place::Wrapped(cols) => {
                step.fill(slot, "slot/place/wrapped");
                step.set(of_cols, Const::U32(cols));
            }
        }
    }

    /// Every part has scales of its own, and no others.
    fn parts_are_whole(&self) -> bool {
        matches!(self.body, Body::Form(Form { place: Place::Block { rows, .. }, .. }) if rows < self.n)
    }

    /// Which scale a number has, where there are scales.
    pub(crate) fn place(&self) -> Option<Place> {
        match self.body {
            Body::Form(form) => Some(form.place),
            Body::Signs { group, cols, .. } => Some(Place::Block { rows: group, cols }),
            _ => None,
        }
    }

    /// How many signed scales a number is the sum of, if it is that.
    pub(crate) fn signs(&self) -> Option<u32> {
        match self.body {
            Body::Signs { bits, .. } => Some(bits),
            _ => None,
        }
    }

    /// Its scale is the mean of all magnitudes.
    pub(crate) fn by_mean(&self) -> bool {
        matches!(self.nearest, Some(Nearest::Mean { .. }))
    }

    /// Neighbours along K have one scale, by fours.
    pub(crate) fn by_fours(&self) -> bool {
        self.place().is_some_and(|place| run(place, self.k) > 1)
    }

    /// The bits of the scales of numbers that are coded together, and of what stands beside them: none where there are no scales, and
    /// beside them those of what the scales are multiplied with.
    pub(crate) fn scale_bits(&self, cols: u32) -> (u64, u32) {
        match self.body {
            Body::Form(form) => {
                let scales = match form.place {
                    Place::Block { cols: of, .. } => cols.div_ceil(of),
                    _ => 1,
                };
                (scale_bits(form.scale) * u64::from(scales), form.scale.super_bits())
            }
            _ => (0, 0),
        }
    }

    /// The words of 32 numbers, with what scales them: the registers of a block as it lies in memory.
    pub(crate) fn block_words(&self) -> u64 {
        (self.bytes() * 8).div_ceil((u64::from(self.n) * u64::from(self.k)).max(1))
    }

    /// Two of every four numbers are stored.
    pub(crate) fn sparse(&self) -> bool {
        matches!(self.body, Body::Sparse24(_))
    }

    /// How numbers are stored, where they are as they are and nothing is added.
    pub(crate) fn plain(&self) -> Option<Elem> {
        match self.body {
            Body::Dense(elem) if !self.side => Some(elem),
            _ => None,
        }
    }

    /// Fills the slot of a weight that is written; `alone` where each scale is found by itself.
    pub(crate) fn fill_into(&self, step: &mut Builder, alone: bool) {
        match (self.body, self.nearest) {
            (Body::Form(form), Some(nearest)) => nearest.fill(step, form, alone),
            (Body::Signs { bits, .. }, _) => {
                step.fill("into", "slot/into/signs");
                step.set("into_PLANES", Const::U32(bits));
                fill_pack(step, bits);
            }
            (Body::Dense(elem) | Body::Sparse24(elem), _) => {
                step.fill("into", "slot/into/dense");
                if let Body::Sparse24(_) = self.body {
                    step.set("into_SPARSE", Const::Bool(true));
                }
                step.fill(
                    "into_narrow",
                    match elem {
                        Elem::F16 => "slot/narrow/f16",
                        Elem::Bf16 => "slot/narrow/bf16",
                        _ => "slot/narrow/f32",
                    },
                );
            }
            _ => {}
        }
    }

    fn chunked(mut self, binding_bytes: u64, side: Option<&[u32]>) -> Result<Self> {
        let numbers = u64::from(self.n) * u64::from(self.k);
        if matches!(self.place(), Some(Place::Flat(_) | Place::Wrapped(_))) && numbers > u64::from(u32::MAX) {
            // Kernels count them in 32 bits.
            let (op, limit) = (self.format.name(), "numbers of which scales follow no rows");
            return Err(Error::Limit { op, limit, need: numbers, have: u64::from(u32::MAX) });
        }
        // Rows that share scales stay together.
        let step = match self.body {
            Body::Form(Form { place: Place::Block { rows, .. }, .. }) if rows < self.n => rows,
            _ => 1,
        };
        // Outputs are stored by fours.
        let step = step / greatest_divisor(step, 4) * 4;
        let mut row0 = 0;
        while row0 < self.n {
            let rest = self.n - row0;
            let bytes = |steps: u32| self.chunk(row0, rest.min(steps.saturating_mul(step)), side).words * 4;
            // The bytes of a chunk grow with its rows: the most that fit, by halving.
            let (mut fits, mut over) = (0, rest.div_ceil(step) + 1);
            while over - fits > 1 {
                let middle = fits + (over - fits) / 2;
                if bytes(middle) <= binding_bytes { fits = middle } else { over = middle }
            }
            if fits == 0 {
                let (op, limit) = (self.format.name(), "storage_binding_bytes");
                return Err(Error::Limit { op, limit, need: bytes(1), have: binding_bytes });
            }
            let rows = rest.min(fits.saturating_mul(step));
            self.chunks.push(self.chunk(row0, rows, side));
            row0 += rows;
        }
        Ok(self)
    }

    /// The chunk of these rows.
    fn chunk(&self, row0: u32, rows: u32, side: Option<&[u32]>) -> Chunk {
        let mut at = [0u64; 7];
        let mut words = 0u64;
        for (section, at) in SECTIONS.iter().zip(&mut at) {
            *at = words;
            words += self.section_words(*section, row0, rows, side).next_multiple_of(4);
        }
        let [codes, high, scales, supers, table, order, side_at] = at.map(|a| a as u32);
        let blocks = match self.body {
            Body::Dense(_) => self.k.div_ceil(4),
            _ => self.k.div_ceil(32),
        };
        let at = WeightAt {
            row0,
            k: self.k,
            blocks,
            codes,
            high,
            scales,
            scales_row: self.scales_row(),
            supers,
            table,
            order,
            side: side_at,
            nothing: 0,
        };
        Chunk { rows: (row0, row0 + rows), words: words.max(4), at: bytemuck::cast(at) }
    }

    fn scales_row(&self) -> u32 {
        match self.body {
            Body::Form(Form { place: Place::Block { cols, .. }, .. }) => self.k.div_ceil(cols),
            Body::Form(Form { place: Place::Ordered, .. }) => self.groups,
            Body::Signs { group, .. } => self.n / group,
            _ => 0,
        }
    }

    /// The scales of a chunk: those of its rows, or all.
    fn scale_count(&self, rows: u32) -> u64 {
        let (n, k, rows) = (u64::from(self.n), u64::from(self.k), u64::from(rows));
        match self.body {
            Body::Form(form) => match form.place {
                Place::Block { rows: r, .. } => rows.div_ceil(u64::from(r)) * u64::from(self.scales_row()),
                Place::Flat(size) => (n * k).div_ceil(u64::from(size)),
                Place::Ordered => rows * u64::from(self.groups),
                Place::Wrapped(cols) => u64::from(cols),
            },
            Body::Signs { bits, group, cols } => k / u64::from(cols) * (n / u64::from(group)) * u64::from(bits),
            _ => 0,
        }
    }

    fn section_words(&self, section: Section, row0: u32, rows: u32, side: Option<&[u32]>) -> u64 {
        let count = u64::from(rows);
        let blocks = u64::from(self.k.div_ceil(32));
        match (section, self.body) {
            (Section::Codes, Body::Dense(elem)) => {
                count * u64::from(self.k.div_ceil(4)) * if elem == Elem::F32 { 4 } else { 2 }
            }
            (Section::Codes, Body::Sparse24(elem)) => count * blocks * if elem == Elem::F32 { 16 } else { 8 },
            (Section::High, Body::Sparse24(_)) => count * blocks,
            (Section::Codes, Body::Form(Form { bits, .. }) | Body::Signs { bits, .. }) => {
                count * blocks * u64::from(planes(bits).0)
            }
            (Section::High, Body::Form(Form { bits, .. }) | Body::Signs { bits, .. }) => {
                count * blocks * u64::from(planes(bits).1)
            }
            (Section::Scales, Body::Form(form)) => (self.scale_count(rows) * scale_bits(form.scale)).div_ceil(32),
            (Section::Scales, Body::Signs { .. }) => self.scale_count(rows),
            (Section::Supers, Body::Form(form)) => {
                let scales = self.scale_count(rows);
                match form.scale {
                    Scale::Super(of) => scales.div_ceil(u64::from(of)).div_ceil(2),
                    Scale::SuperPair(of) | Scale::SuperNibbles(of) => scales.div_ceil(u64::from(of)),
                    // The offset and the map stand before them.
                    Scale::Nested(of) => 257 + scales.div_ceil(u64::from(of)),
                    _ => 0,
                }
            }
            (Section::Table, Body::Form(form)) => match form.level {
                Level::Table => 16,
                Level::RowTable => 16 * count,
                _ => 0,
            },
            (Section::Order, Body::Form(Form { place: Place::Ordered, .. })) => u64::from(self.k),
            (Section::Side, _) if self.side => {
                let side = side.map_or(&[][..], |side| &side[row0 as usize..][..rows as usize]);
                count + 1 + 2 * side.iter().map(|entries| u64::from(*entries)).sum::<u64>()
            }
            _ => 0,
        }
    }

    /// True where the rows of `w` can stand for all rows of this: what its rows share, such as scales, begins and ends with them.
    pub fn repeats(&self, w: &Packed<'_>) -> bool {
        let whole = |rows: u32| rows as usize >= w.n() || w.n().is_multiple_of(rows as usize);
        w.n() == self.n as usize
            || match self.body {
                Body::Form(Form { scale: Scale::Nested(_), .. }) => false,
                Body::Form(Form { place: Place::Block { rows, .. }, .. }) => whole(rows),
                Body::Form(Form { place: Place::Flat(_) | Place::Wrapped(_), .. }) => false,
                Body::Signs { group, .. } => self.n.is_multiple_of(group),
                _ => true,
            }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows: output features.
    pub fn n(&self) -> usize {
        self.n as usize
    }

    /// Columns: input features.
    pub fn k(&self) -> usize {
        self.k as usize
    }

    /// How far products with int8 codes are summed as integers.
    pub(crate) fn integers(&self) -> Integers {
        self.integers
    }

    /// Its numbers are f32 as they are, and may use all 24 bits.
    pub(crate) fn is_f32(&self) -> bool {
        matches!(self.body, Body::Dense(Elem::F32) | Body::Sparse24(Elem::F32))
    }

    /// Its numbers are f16 as they are.
    pub(crate) fn is_f16(&self) -> bool {
        self.body == Body::Dense(Elem::F16)
    }

    /// Something is added to some row.
    pub fn has_side(&self) -> bool {
        self.side
    }

    /// The parts.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.words * 4).sum()
    }

    /// Hands over the words of a chunk in pieces of a few MB: where a piece begins, in words, and the piece.
    pub(crate) fn write(
        &self,
        stack: &Stack<'_, '_>,
        chunk: &Chunk,
        put: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.write_some(stack, chunk, &SECTIONS, put)
    }

    /// All words of a weight that fits one binding.
    ///
    /// # Errors
    /// As [`Laid::new`].
    pub(crate) fn words(w: &Packed<'_>) -> Result<Vec<u32>> {
        let laid = Self::new(w, u64::MAX)?;
        let mut words = Vec::new();
        for chunk in laid.chunks() {
            words.resize(chunk.words as usize, 0);
            laid.write(&Stack::one(w), chunk, |at, bytes| {
                let at = at as usize;
                words[at..at + bytes.len() / 4].copy_from_slice(bytemuck::cast_slice(bytes));
                Ok(())
            })?;
        }
        Ok(words)
    }

    /// The same of what no kernel writes: the table.
    pub(crate) fn write_table(
        &self,
        w: &Packed<'_>,
        chunk: &Chunk,
        put: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.write_some(&Stack::one(w), chunk, &[Section::Table], put)
    }

    fn write_some(
        &self,
        stack: &Stack<'_, '_>,
        chunk: &Chunk,
        wanted: &[Section],
        mut put: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        const PIECE_WORDS: u64 = 1 << 20;
        let (from, to) = chunk.rows;
        let side = self.side.then(|| stack.sides(self.n as usize));
        let mut at = 0;
        for section in SECTIONS {
            let words = self.section_words(section, from, to - from, side.as_deref());
            let row_words = words / u64::from(to - from);
            let by_row = matches!(section, Section::Codes | Section::High) && row_words > 0;
            let rows_at_once = if by_row { (PIECE_WORDS / row_words).max(1) as usize } else { usize::MAX };
            let mut done = at;
            let mut row = if wanted.contains(&section) { from } else { to } as usize;
            while words > 0 && row < to as usize {
                let rows = row..row.saturating_add(rows_at_once).min(to as usize);
                row = rows.end;
                let piece = self.section(stack, section, rows, words as usize);
                put(done, bytemuck::cast_slice(&piece))?;
                done += piece.len() as u64;
            }
            at += words.next_multiple_of(4);
        }
        Ok(())
    }

    /// The words of a section for these rows of a chunk. Rows past those of `stack` repeat them.
    fn section(&self, stack: &Stack<'_, '_>, section: Section, rows: Range<usize>, words: usize) -> Vec<u32> {
        let k = self.k as usize;
        let first = stack.first();
        let codec = first.codec();
        match (section, self.body) {
            (Section::Codes, Body::Dense(elem)) => {
                let row = |(w, n): (&Packed<'_>, usize)| numbers(w.get("w"), n * k, k, k.next_multiple_of(4), elem);
                rows.flat_map(|n| row(stack.row(n))).collect()
            }
            (Section::Codes, Body::Sparse24(elem)) => {
                let padded = k.next_multiple_of(32) / 2;
                let row = |(w, n): (&Packed<'_>, usize)| numbers(w.get("values"), n * (k / 2), k / 2, padded, elem);
                rows.flat_map(|n| row(stack.row(n))).collect()
            }
            (Section::High, Body::Sparse24(_)) => {
                let row_bytes = k.div_ceil(8);
                let row = |n: usize| {
                    let (w, n) = stack.row(n);
                    let bytes = &w.get("index").bytes[n * row_bytes..][..row_bytes];
                    bytes.chunks(4).map(|b| (0..).zip(b).fold(0, |word, (i, b)| word | u32::from(*b) << (8 * i)))
                };
                rows.flat_map(row).collect()
            }
            (Section::Codes | Section::High, Body::Form(Form { bits, .. }) | Body::Signs { bits, .. }) => {
                let (low, high) = planes(bits);
                let (bits, shift) = if section == Section::Codes { (low, 0) } else { (high, low) };
                let mut codes = vec![0u8; k.next_multiple_of(32)];
                let mut out = Vec::new();
                for (w, n) in rows.map(|n| stack.row(n)) {
                    match self.body {
                        Body::Signs { bits, .. } => signs(w, bits as usize, n, &mut codes[..k]),
                        _ => codec.codes(w, n, &mut codes[..k]),
                    }
                    plane(&codes, bits, shift, &mut out);
                }
                out
            }
            (Section::Scales, Body::Signs { bits, group, cols }) => {
                let (bits, group) = (bits as usize, group as usize);
                let mut out = Vec::with_capacity(words);
                for tile in 0..k / cols as usize {
                    for (w, n) in (0..self.n as usize / group).map(|g| stack.row(g * group)) {
                        let at = (tile * (w.n() / group) + n / group) * bits;
                        out.extend((at..at + bits).map(|i| w.get("alpha").word(i)));
                    }
                }
                out
            }
            (Section::Scales, Body::Form(form)) => {
                let serves = match form.place {
                    Place::Block { rows, .. } => rows as usize,
                    _ => 1,
                };
                let places = self.scale_places(form, &rows);
                let mut out = vec![0u32; words];
                let bits = scale_bits(form.scale) as usize;
                for (i, (row, g)) in places.enumerate() {
                    let (w, row) = stack.scales(row * serves);
                    let word = scale_word(form.scale, codec.scale(w, row, g));
                    let at = i * bits;
                    out[at / 32] |= (word as u32) << (at % 32);
                    if bits == 64 {
                        out[at / 32 + 1] = (word >> 32) as u32;
                    }
                }
                out
            }
            (Section::Supers, Body::Form(form)) => {
                let mut out = Vec::with_capacity(words);
                let (Scale::Super(of) | Scale::SuperPair(of) | Scale::SuperNibbles(of) | Scale::Nested(of)) =
                    form.scale
                else {
                    return out;
                };
                let of = of as usize;
                if let Scale::Nested(_) = form.scale {
                    out.push(codec.supers(first, 0, 0)[1].to_bits());
                    out.extend((0..256).map(|i| codec.map(first, i).to_bits()));
                    let all = (first.n() * k).div_ceil(match form.place {
                        Place::Flat(size) => size as usize,
                        _ => k,
                    });
                    out.extend((0..all.div_ceil(of)).map(|s| codec.supers(first, 0, s)[0].to_bits()));
                    return out;
                }
                let per_row = self.scales_row() as usize / of;
                let halves = rows.map(|n| stack.row(n));
                let halves = halves.flat_map(|(w, n)| (0..per_row).map(move |s| codec.supers(w, n, s)));
                let half = |v: f32| u32::from(f16::from_f32(v).to_bits());
                if let Scale::Super(_) = form.scale {
                    out.resize(words, 0);
                    halves.enumerate().for_each(|(i, [d, _])| out[i / 2] |= half(d) << (16 * (i % 2)));
                } else {
                    out.extend(halves.map(|[d, m]| half(d) | half(m) << 16));
                }
                out
            }
            (Section::Table, Body::Form(form)) => match form.level {
                Level::RowTable => {
                    let rows = rows.map(|n| stack.row(n));
                    rows.flat_map(|(w, n)| codec.table(w, n)).map(f32::to_bits).collect()
                }
                _ => codec.table(first, 0).map(f32::to_bits).to_vec(),
            },
            (Section::Order, _) => (0..k).map(|k| codec.order(first, k) as u32).collect(),
            (Section::Side, _) => {
                let all: Vec<_> = rows.map(|n| stack.row(n)).map(|(w, n)| w.side(n)).collect();
                let mut end = all.len() as u32 + 1;
                let mut out = vec![end];
                for row in &all {
                    end += 2 * row.len() as u32;
                    out.push(end);
                }
                out.extend(all.iter().flatten().flat_map(|(col, value)| [*col as u32, value.to_bits()]));
                out
            }
            _ => Vec::new(),
        }
    }

    /// Row and number of every scale of a chunk, in their order.
    fn scale_places(&self, form: Form, rows: &Range<usize>) -> Box<dyn Iterator<Item = (usize, usize)>> {
        let per_row = self.scales_row() as usize;
        match form.place {
            Place::Block { rows: r, .. } => {
                let r = r as usize;
                let rows = rows.start / r..rows.end.div_ceil(r);
                Box::new(rows.flat_map(move |row| (0..per_row).map(move |g| (row, g))))
            }
            Place::Ordered => Box::new(rows.clone().flat_map(move |row| (0..per_row).map(move |g| (row, g)))),
            Place::Flat(_) | Place::Wrapped(_) => Box::new((0..self.scale_count(0) as usize).map(|g| (0, g))),
        }
    }

    /// Fills a weight's slot.
    pub(crate) fn fill(&self, step: &mut Builder, slot: Slot, decode: Decode) {
        let products = decode == Decode::Codes;
        let body = slot.name();
        if self.side {
            step.fill(named!(slot, "_side"), "slot/side/list");
        } else {
            step.fill(named!(slot, "_side"), "slot/side/none");
        }
        let native = step.native_f16();
        let number = |elem| match elem {
            Elem::F16 if native => "slot/dense/f16_native",
            Elem::F16 => "slot/dense/f16",
            Elem::Bf16 => "slot/dense/bf16",
            _ => "slot/dense/f32",
        };
        let field = |bits| match bits {
            1 => "slot/field/u1",
            2 => "slot/field/u2",
            3 => "slot/field/u3",
            4 => "slot/field/u4",
            5 => "slot/field/u5",
            6 => "slot/field/u6",
            _ => "slot/field/u8",
        };
        match self.body {
            Body::Dense(elem) => {
                step.fill(body, "slot/weight/dense");
                step.set(named!(slot, "_WHOLE"), Const::Bool(self.k.is_multiple_of(8)));
                step.fill(named!(slot, "_dense"), number(elem));
            }
            Body::Sparse24(elem) => {
                step.fill(body, "slot/weight/sparse24");
                step.fill(named!(slot, "_dense"), number(elem));
            }
            Body::Signs { bits, group, cols } => {
                step.fill(body, "slot/weight/signs");
                step.fill(named!(slot, "_field"), field(bits));
                step.set(named!(slot, "_BITS"), Const::U32(bits));
                step.set(named!(slot, "_ROWS"), Const::U32(group));
                step.set(named!(slot, "_COLS"), Const::U32(cols));
            }
            Body::Form(form) => {
                let run = run(form.place, self.k);
                let each = if run == 1 { "slot/weight/coded_each" } else { "slot/weight/coded" };
                step.fill(body, if products { "slot/weight/coded_dot" } else { each });
                if products && form.bits == 8 {
                    step.set(named!(slot, "_FLIP"), Const::U32(0x8080_8080));
                }
                if run > 1 {
                    step.set(named!(slot, "_RUN"), Const::U32(run));
                }
                step.fill(named!(slot, "_field"), field(form.bits));
                let near = decode == Decode::Near;
                let level = match form.level {
                    Level::Whole if form.bits == 8 => "slot/level/byte",
                    Level::Whole => "slot/level/whole",
                    Level::Table if near => "slot/level/table_near",
                    Level::Table => "slot/level/table",
                    Level::RowTable => "slot/level/row_table",
                    Level::E2m1 if near => "slot/level/e2m1_near",
                    Level::E2m1 => "slot/level/e2m1",
                    Level::E4m3 if decode != Decode::Exact => "slot/level/e4m3_sums",
                    Level::E4m3 => "slot/level/e4m3",
                    Level::E5m2 if decode != Decode::Exact => "slot/level/e5m2_sums",
                    Level::E5m2 => "slot/level/e5m2",
                };
                if !products {
                    step.fill(named!(slot, "_level"), level);
                }
                step.fill(
                    named!(slot, "_rule"),
                    match (form.rule, form.scale) {
                        (Rule::Scaled, _) => "slot/rule/scaled",
                        // Products of f32 are rounded, and a device that fuses would not round them.
                        (Rule::Biased, Scale::F32Pair) => "slot/rule/biased_apart",
                        (Rule::Biased, _) => "slot/rule/biased",
                        (Rule::Power, _) if decode == Decode::Exact => "slot/rule/power",
                        (Rule::Power, _) => "slot/rule/halves",
                    },
                );
                let (filling, of) = match form.scale {
                    Scale::One => ("slot/scale/one", None),
                    Scale::F32 => ("slot/scale/f32", None),
                    Scale::F16 => ("slot/scale/f16", None),
                    Scale::F32Pair => ("slot/scale/f32_pair", None),
                    Scale::F16Pair => ("slot/scale/f16_pair", None),
                    Scale::Bf16Pair => ("slot/scale/bf16_pair", None),
                    Scale::E8m0 if decode == Decode::Exact => ("slot/scale/e8m0", None),
                    Scale::E8m0 => ("slot/scale/e8m0_halves", None),
                    Scale::E4m3 => ("slot/scale/e4m3", None),
                    Scale::Nested(of) => ("slot/scale/nested", Some(of)),
                    Scale::Super(of) => ("slot/scale/super", Some(of)),
                    Scale::SuperPair(of) => ("slot/scale/super_pair", Some(of)),
                    Scale::SuperNibbles(of) => ("slot/scale/super_nibbles", Some(of)),
                };
                step.fill(named!(slot, "_scale"), filling);
                if let Some(of) = of {
                    step.set(named!(slot, "_scale_OF"), Const::U32(of));
                }
                if form.zero != 0 {
                    step.set(named!(slot, "_ZERO"), Const::U32(form.zero));
                }
                let names = [
                    named!(slot, "_place"),
                    named!(slot, "_place_ROWS"),
                    named!(slot, "_place_COLS"),
                    named!(slot, "_place_SIZE"),
                ];
                self.fill_place(form.place, step, names);
            }
        }
    }
}

/// The groups of a row, where a list of columns says which is whose: one more than the largest in the list.
fn groups_of(w: &Packed<'_>, codec: &dyn Codec, body: Body) -> u32 {
    match body {
        Body::Form(Form { place: Place::Ordered, .. }) => {
            (0..w.k()).map(|k| codec.order(w, k) as u32 + 1).max().unwrap_or(1)
        }
        _ => 0,
    }
}

/// Words of `count` numbers from `first` on, padded with zeros.
fn numbers(part: &super::Part<'_>, first: usize, count: usize, padded: usize, elem: Elem) -> Vec<u32> {
    if elem == Elem::F32 {
        return (0..padded).map(|i| if i < count { part.word(first + i) } else { 0 }).collect();
    }
    let short = |i: usize| if i < count { u32::from(part.short(first + i)) } else { 0 };
    (0..padded / 2).map(|i| short(2 * i) | short(2 * i + 1) << 16).collect()
}

/// Bit b of the code of w[n,k] is whether scale b is added.
fn signs(w: &Packed<'_>, bits: usize, n: usize, out: &mut [u8]) {
    let (signs, rows) = (w.get("bWeight"), w.n() / 32);
    for (k, out) in out.iter_mut().enumerate() {
        let first = (k * rows + n / 32) * bits;
        *out = (0..bits).fold(0, |code, b| code | (((signs.word(first + b) >> (n % 32)) & 1) as u8) << b);
    }
}

/// The words of a plane of a row: `bits` of each code from bit `shift` on.
fn plane(codes: &[u8], bits: u32, shift: u32, out: &mut Vec<u32>) {
    let mask = (1u32 << bits) - 1;
    for codes in codes.chunks_exact((32 / bits) as usize) {
        let mut word = 0;
        for (i, quad) in (0..).zip(codes.chunks_exact(4)) {
            for (b, code) in (0..).zip(quad) {
                word |= (u32::from(*code) >> shift & mask) << (8 * b + bits * i);
            }
        }
        out.push(word);
    }
}

/// The bits of a scale and what stands beside it.
fn scale_word(scale: Scale, [s, z]: [f32; 2]) -> u64 {
    let half = |v: f32| u64::from(f16::from_f32(v).to_bits());
    let brain = |v: f32| u64::from(bf16::from_f32(v).to_bits());
    let byte = |v: f32| u64::from(v as i16 as u8);
    match scale {
        Scale::One => 0,
        Scale::F32 => u64::from(s.to_bits()),
        Scale::F16 => half(s),
        Scale::F32Pair => u64::from(s.to_bits()) | u64::from(z.to_bits()) << 32,
        Scale::F16Pair => half(s) | half(z) << 16,
        Scale::Bf16Pair => brain(s) | brain(z) << 16,
        Scale::E8m0 | Scale::E4m3 | Scale::Nested(_) | Scale::Super(_) => byte(s),
        Scale::SuperPair(_) => byte(s) | byte(z) << 8,
        Scale::SuperNibbles(_) => byte(s) | byte(z) << 4,
    }
}
