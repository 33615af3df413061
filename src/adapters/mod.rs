//! Live adapters on a device: the pool of a weight, from which rows of a batch take theirs.

use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};
use crate::ops::step::bindable_bytes;
use crate::plan::BIND_ALIGN_BYTES;
use crate::tensor::{Elem, Layout, Tensor};

mod attach;
mod model;

pub use attach::{
    AdapterAttach, AdapterAttachProblem, AdapterScale, AdapterScaleProblem, AttachParams, HeaderParams, PoolAt,
};
pub use model::{LoadedAdapter, ModelAdapters};

/// Which magnitudes the adapters of a set may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Magnitudes {
    /// None: LoRA, MiSS and LoHa.
    None,
    /// Of rows: DoRA too.
    #[default]
    Rows,
    /// Of rows and columns: BoRA too. x is then read with a factor for each input, and products of int8 codes are out of reach.
    Both,
}

/// What there is room for in an [`AdapterSet`]. It is chosen once: kernels are compiled for the storage and the magnitudes, and memory
/// is had for all adapters at their largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Room {
    /// Adapters.
    pub adapters: usize,
    /// The largest rank of one. LoHa of rank R has rank R² here.
    pub rank: usize,
    /// How `A` and `B` are stored: f32, f16 or bf16. What an adapter has is rounded to it.
    pub elem: Elem,
    /// Magnitudes that they may have.
    pub magnitudes: Magnitudes,
}

impl Room {
    /// Room for one adapter of this rank with magnitudes of rows, in f16.
    pub fn new(rank: usize) -> Self {
        Self { adapters: 1, rank, elem: Elem::F16, magnitudes: Magnitudes::Rows }
    }
}

/// The live adapters of a weight: a pool with a place for each, numbered from 0.
///
/// [`Linear`](crate::ops::linear::Linear) takes it beside the weight, and a number for each row of x. A place is empty until an adapter is
/// attached, and an empty place is no adapter.
///
/// [`AdapterAttach`] puts an adapter into a place, or another in its stead;
/// [`AdapterScale`] gives it another scale, or takes it away. All are ops like others: what was recorded
/// before them sees what was there before. The first of each kind compiles its kernels and has scratch for its norms; after that no memory is
/// had and no pipeline made.
///
/// In memory a place has 16 bytes that say what is there, the factors of rows and of columns in f32, `A` by rows of eight inputs, and `B` by
/// quads of outputs with ranks side by side; each part begins at 256 bytes. Beside the pool are some KB for the terms of a row of x, of up to
/// 64 ranks: the tray of `shaders/lib/make.wgsl`. Cloning shares the buffers.
#[derive(Clone, Debug)]
pub struct AdapterSet {
    pool: Tensor,
    tray: Tensor,
    shelf: Shelf,
}

/// What a set has room for, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shelf {
    n: u32,
    k: u32,
    room: Room,
}

/// A set as a problem sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub shelf: Shelf,
    pub layout: Layout,
    /// Of the tray.
    pub tray: Layout,
}

/// Slices of K of a term that is made in the dispatch that takes it: `pool_SLICES` of `shaders/lib/pool.wgsl`.
const SLICES: u64 = 8;

/// The most pairs of ranks for which a dispatch makes its terms itself. Of more, a is no longer little beside the weight.
const MOST_PAIRS: u64 = 32;

/// Parts begin at so many quads.
const ALIGN: u64 = BIND_ALIGN_BYTES / 16;

impl Shelf {
    fn new([n, k]: [usize; 2], room: Room) -> Result<Self> {
        let op = "adapter_set";
        let wrong = |name, value: String, rule| Err(Error::Value { op, name, value, rule });
        for (name, value) in [("n", n), ("k", k), ("adapters", room.adapters), ("rank", room.rank)] {
            if value == 0 || value > i32::MAX as usize {
                return wrong(name, value.to_string(), "it must be at least 1 and fit 31 bits");
            }
        }
        if !room.elem.is_float() {
            return wrong("elem", room.elem.name().to_owned(), "adapters are stored as f32, f16 or bf16");
        }
        let shelf = Self { n: n as u32, k: k as u32, room };
        // Quads are counted in 32 bits, and elements of the pool too.
        let quads = shelf.parts()[4].saturating_mul(room.adapters as u64);
        if quads > i32::MAX as u64 / 4 {
            let (need, have) = (quads.saturating_mul(16), i32::MAX as u64);
            return Err(Error::Limit { op, limit: "storage_binding_bytes", need, have });
        }
        Ok(shelf)
    }

    pub fn room(&self) -> Room {
        self.room
    }

    pub fn shape(&self) -> [usize; 2] {
        [self.n as usize, self.k as usize]
    }

    /// Pairs of ranks, of which there are an even number.
    pub fn pairs(&self) -> u64 {
        (self.room.rank as u64).div_ceil(4) * 2
    }

    pub fn has_rows(&self) -> bool {
        self.room.magnitudes != Magnitudes::None
    }

    pub fn has_cols(&self) -> bool {
        self.room.magnitudes == Magnitudes::Both
    }

    /// The filling by which eight numbers are read.
    pub fn eight(&self) -> &'static str {
        match self.room.elem {
            Elem::F16 => "slot/eight/f16",
            Elem::Bf16 => "slot/eight/bf16",
            _ => "slot/eight/f32",
        }
    }

    /// The quads at which the factors of rows, those of columns, a and b begin in a place, and where the next place does.
    fn parts(&self) -> [u64; 5] {
        let (n, k) = (u64::from(self.n), u64::from(self.k));
        let eight = 8 * self.room.elem.bytes() as u64 / 16;
        let sizes = [
            1,
            if self.has_rows() { n.div_ceil(4) } else { 0 },
            if self.has_cols() { k.div_ceil(4) } else { 0 },
            (2 * self.pairs() * eight).saturating_mul(k.div_ceil(8)),
            (self.pairs() * eight).saturating_mul(n.div_ceil(4)),
        ];
        let mut end = 0u64;
        sizes.map(|quads| {
            end = end.saturating_add(quads.next_multiple_of(ALIGN));
            end
        })
    }

    fn words(&self) -> u64 {
        self.parts()[4] * self.room.adapters as u64 * 4
    }

    /// Where things are, in a binding that begins with the pool; terms begin at this word.
    pub fn at(&self, terms: u64) -> PoolAt {
        let [rows, cols, a, b, stride] = self.parts().map(|quads| quads as u32);
        PoolAt { base: 0, stride, rows, cols, a, b, pairs: self.pairs() as u32, terms: terms as u32 }
    }

    /// The terms of a row of x that a dispatch makes itself, those of all slices; none where it does not.
    pub fn made(&self) -> u64 {
        if self.pairs() > MOST_PAIRS { 0 } else { SLICES * 2 * self.pairs() }
    }

    /// The words of a half of the tray: for the set's own terms, and for those of a second matrix.
    pub fn half(&self) -> u64 {
        2 * self.made()
    }

    /// The counter, with nothing beside it, and both halves.
    fn tray_words(&self) -> u64 {
        64 + 2 * self.half()
    }

    /// Words of the terms of a row of x.
    pub fn terms(&self) -> u64 {
        4 + 2 * self.pairs()
    }
}

impl AdapterSet {
    /// A set without memory, of no device, for plans where there is no GPU.
    ///
    /// # Errors
    /// As [`Dispatcher::adapter_set`], but for memory.
    pub fn outline(shape: [usize; 2], room: Room) -> Result<Self> {
        let shelf = Shelf::new(shape, room)?;
        let outline = |words| Tensor::outline([words as usize], Elem::U32);
        Ok(Self { pool: outline(shelf.words())?, tray: outline(shelf.tray_words())?, shelf })
    }

    /// The shape of the weight, `[N, K]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shelf.shape()
    }

    /// What there is room for.
    pub fn room(&self) -> Room {
        self.shelf.room
    }

    /// The bytes that it takes on the device.
    pub fn bytes(&self) -> u64 {
        self.pool.bytes() + self.tray.bytes()
    }

    /// The bytes of a place.
    pub(crate) fn place_bytes(&self) -> u64 {
        self.pool.bytes() / self.room().adapters.max(1) as u64
    }

    pub(crate) fn pool(&self) -> &Tensor {
        &self.pool
    }

    /// Where a dispatch makes terms for itself. Nothing else may write there.
    pub(crate) fn tray(&self) -> &Tensor {
        &self.tray
    }

    pub(crate) fn held(&self) -> Held {
        Held { shelf: self.shelf, layout: self.pool.layout(), tray: self.tray.layout() }
    }

    /// The same set with another pool, which holds the same: for timing.
    pub(crate) fn over(&self, pool: Tensor) -> Self {
        Self { pool, ..self.clone() }
    }
}

impl Dispatcher {
    /// A set of adapters for a weight of this shape, `[N, K]`, all its places empty.
    ///
    /// # Errors
    /// A number of the room that is 0, adapters that do not fit one binding of the device together, no memory, or a lost device.
    pub fn adapter_set(&self, shape: [usize; 2], room: Room) -> Result<AdapterSet> {
        let shelf = Shelf::new(shape, room)?;
        let have = bindable_bytes(self.caps()).min(self.caps().buffer_bytes);
        if shelf.words() * 4 > have {
            let (op, limit) = ("adapter_set", "storage_binding_bytes");
            return Err(Error::Limit { op, limit, need: shelf.words() * 4, have });
        }
        let zeros = |words| self.zeros([words as usize], Elem::U32);
        Ok(AdapterSet { pool: zeros(shelf.words())?, tray: zeros(shelf.tray_words())?, shelf })
    }
}
