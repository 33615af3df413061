//! The numeric forms: what codes, levels, scales and zeros make of each other. Almost every format is one of them, so that a codec
//! only says where its bits stand, and one decode on the host and one on the device serve all.
//!
//! ```text
//! scaled   w = (level(q) − zero)·scale     integer zero, float zero, codebook, small floats
//! biased   w = level(q)·scale + bias
//! power    w = level(q)·2^(e − 127)        e8m0 scales, whose powers f32 cannot all hold
//! ```
//!
//! What does not fit (dense numbers, 2:4 sparsity, sums of signed scales) decodes by itself, here and in `shaders/slot/weight/`.

use super::bits::{E2M1_DOUBLED, f8, half_e8m0};
use super::codec::Codec;
use super::packed::Packed;

/// What a code stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    /// The whole number that it is.
    Whole,
    /// An entry of a table of 16.
    Table,
    /// An entry of the row's table of 16.
    RowTable,
    /// A float of 4 bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
    E2m1,
    /// A float of 8 bits, of which NaN is but 0x7f and 0xff.
    E4m3,
    /// The upper byte of an f16.
    E5m2,
}

/// How scales are stored on the device, and zeros or biases beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scale {
    /// There are none: 1.
    One,
    /// f32.
    F32,
    /// f16.
    F16,
    /// f32, and a zero or bias in f32.
    F32Pair,
    /// f16, and a zero or bias in f16.
    F16Pair,
    /// bfloat16, and a zero or bias in bfloat16.
    Bf16Pair,
    /// A byte e, which means 2^(e − 127).
    E8m0,
    /// A byte, which is a float.
    E4m3,
    /// A byte into a map of 256, times a number of a super-block of this many, plus an offset.
    Nested(u32),
    /// A signed byte, times the number of a super-block of this many.
    Super(u32),
    /// Two bytes, times the two numbers of a super-block of this many; the second is a negative bias.
    SuperPair(u32),
    /// As that, in 4 bits each.
    SuperNibbles(u32),
}

impl Scale {
    /// The bits of what a super-block shares, where scales are numbers of few bits: one f16, or two.
    pub fn super_bits(self) -> u32 {
        match self {
            Self::Super(_) => 16,
            Self::SuperPair(_) | Self::SuperNibbles(_) => 32,
            _ => 0,
        }
    }

    /// Floats as they are in a file, or wider; of two types, one that holds both.
    pub fn of(dtypes: &[super::Dtype]) -> Self {
        use super::Dtype::{Bf16, F16};
        let all = |dtype| dtypes.iter().all(|d| *d == dtype);
        match (dtypes.len() > 1, all(F16), all(Bf16)) {
            (false, true, _) => Self::F16,
            (false, ..) => Self::F32,
            (true, true, _) => Self::F16Pair,
            (true, _, true) => Self::Bf16Pair,
            (true, ..) => Self::F32Pair,
        }
    }
}

/// Which scale a number has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// That of a block of so many rows and columns; the last may be short.
    Block {
        /// Rows.
        rows: u32,
        /// Columns.
        cols: u32,
    },
    /// That of a run of so many numbers of the flat matrix, which may run on over the end of a row.
    Flat(u32),
    /// Of the row, that which the column's entry in a list says.
    Ordered,
    /// That of its place in the flat matrix modulo so many.
    Wrapped(u32),
}

impl Place {
    /// All of the weight.
    pub const TENSOR: Self = Self::Block { rows: u32::MAX, cols: u32::MAX };
    /// All of a row.
    pub const ROW: Self = Self::Block { rows: 1, cols: u32::MAX };

    /// Groups along K.
    pub fn along(cols: usize) -> Self {
        Self::Block { rows: 1, cols: cols as u32 }
    }

    /// As it is on a matrix of this width: a run that ends with the rows is a block.
    pub fn on(self, k: usize) -> Self {
        match self {
            Self::Flat(size) if k.is_multiple_of(size as usize) => Self::Block { rows: 1, cols: size },
            other => other,
        }
    }
}

/// How level, scale and zero make a number. Products are formed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// `(level − zero)·scale`.
    Scaled,
    /// `level·scale + bias`.
    Biased,
    /// `level·2^(e − 127)`.
    Power,
}

/// A numeric form: plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    /// Of a code: 1, 2, 3, 4, 5, 6 or 8.
    pub bits: u32,
    /// What a code stands for.
    pub level: Level,
    /// How scales are stored.
    pub scale: Scale,
    /// Of whole codes, the zero where none is stored.
    pub zero: u32,
    /// Which scale a number has.
    pub place: Place,
    /// How they make a number.
    pub rule: Rule,
}

impl Form {
    /// Whole codes about a zero, by default 0.
    pub const fn scaled(bits: u32, scale: Scale, place: Place) -> Self {
        Self { bits, level: Level::Whole, scale, zero: 0, place, rule: Rule::Scaled }
    }

    /// Whole codes with a bias.
    pub const fn biased(bits: u32, scale: Scale, place: Place) -> Self {
        Self { rule: Rule::Biased, ..Self::scaled(bits, scale, place) }
    }

    /// The same with this zero.
    pub const fn about(self, zero: u32) -> Self {
        Self { zero, ..self }
    }

    /// The same with these levels.
    pub const fn levels(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// Row and number in it of the scale of w[n,k], on a matrix of width `width`.
    pub fn at(&self, w: &Packed<'_>, codec: &dyn Codec, n: usize, k: usize) -> (usize, usize) {
        let width = w.k();
        match self.place {
            Place::Block { rows, cols } => (n / rows as usize, k / cols as usize),
            Place::Flat(size) => (0, (n * width + k) / size as usize),
            Place::Ordered => (n, codec.order(w, k)),
            Place::Wrapped(cols) => (0, (n * width + k) % cols as usize),
        }
    }

    /// Decodes row n.
    pub fn row(&self, w: &Packed<'_>, codec: &dyn Codec, n: usize, out: &mut [f32]) {
        let mut codes = vec![0; out.len()];
        codec.codes(w, n, &mut codes);
        let table = match self.level {
            Level::Table | Level::RowTable => codec.table(w, n),
            _ => [0.0; 16],
        };
        let (mut place, mut scale) = ((usize::MAX, 0), [0.0; 2]);
        for (k, (out, q)) in out.iter_mut().zip(codes).enumerate() {
            let at = self.at(w, codec, n, k);
            if at != place {
                (place, scale) = (at, self.scale(w, codec, at));
            }
            let level = match self.level {
                Level::Whole => f32::from(q),
                Level::Table | Level::RowTable => table[usize::from(q % 16)],
                Level::E2m1 => 0.5 * E2M1_DOUBLED[usize::from(q % 16)],
                Level::E4m3 => f8::<3>(q),
                Level::E5m2 => f8::<2>(q),
            };
            let [scale, zero] = scale;
            *out = match self.rule {
                Rule::Scaled => (level - zero) * scale,
                Rule::Biased => level * scale + zero,
                // Both factors are numbers that f32 has.
                Rule::Power => (2.0 * level) * half_e8m0(scale as u8),
            };
        }
    }

    /// The scale at a place, and the zero or bias; of e8m0 the exponent.
    fn scale(&self, w: &Packed<'_>, codec: &dyn Codec, (row, g): (usize, usize)) -> [f32; 2] {
        let [scale, zero] = if self.scale == Scale::One { [1.0, 0.0] } else { codec.scale(w, row, g) };
        let fixed = self.zero as f32;
        match self.scale {
            Scale::F32Pair | Scale::F16Pair | Scale::Bf16Pair => [scale, zero],
            Scale::One | Scale::F32 | Scale::F16 | Scale::E8m0 => [scale, fixed],
            Scale::E4m3 => [f8::<3>(scale as u8), fixed],
            Scale::Nested(of) => {
                let [factor, offset] = codec.supers(w, row, g / of as usize);
                [codec.map(w, scale as usize) * factor + offset, fixed]
            }
            Scale::Super(of) => [codec.supers(w, row, g / of as usize)[0] * scale, fixed],
            Scale::SuperPair(of) | Scale::SuperNibbles(of) => {
                let [d, m] = codec.supers(w, row, g / of as usize);
                [d * scale, -(m * zero)]
            }
        }
    }
}

/// The greatest number that divides both.
pub(crate) fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// Where a scale of runs of the flat matrix stands: by row and number where the runs end with the rows, else by number.
pub(crate) fn flat_at(w: &Packed<'_>, form: Option<Form>, row: usize, g: usize) -> usize {
    match form.map(|form| form.place) {
        Some(Place::Block { cols, .. }) => row * (w.k() / cols as usize) + g,
        _ => g,
    }
}
