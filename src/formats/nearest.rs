//! How a device rounds numbers into a format: what the encoders of a format's file do, as data for `shaders/slot/nearest/`.
//!
//! A format says this of itself where its codes and scales follow from the range of the numbers that share a scale, or whose scales share one, or from
//! the mean of all. Sums of signed scales have no rule for one scale: `laid.rs` fills their slot. What is encoded by tables that are learnt is
//! encoded on the host.

use super::form::{Form, Level, Place, Scale};
use crate::ops::step::Builder;
use crate::plan::Const;

/// A rule of `shaders/slot/nearest/`, where its formula is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Nearest {
    /// About 128 by the largest magnitude; halves to even, or away from 0.
    Signed {
        /// Halves to even.
        even: bool,
    },
    /// About this by the number of the largest magnitude.
    About(u32),
    /// From the least number on, codes up to this.
    Ranged(u32),
    /// The affine rule of `round.rs`.
    Affine {
        /// The greatest code.
        most: u32,
        /// The least zero that can be stored.
        least: u32,
        /// The scale is an f16, and not an f32.
        half: bool,
        /// In the place of the zero stands a bias.
        biased: bool,
    },
    /// The affine rule with a zero that need be no whole number, codes up to this.
    Floating(u32),
    /// An edge of the range exactly on a code, codes up to this.
    Edge(u32),
    /// Small floats with a power of two.
    Power {
        /// By how much its exponent is below that of the largest magnitude.
        down: u32,
        /// Halves to the even code, or to the lower.
        even: bool,
    },
    /// E2M1 with an E4M3 scale.
    Float4 {
        /// Halves to the even code, or to the lower.
        even: bool,
    },
    /// Floats of 8 bits, so many of mantissa, with a scale in f32.
    Float8(u32),
    /// The NF4 table.
    Nf4,
    /// The FP4 table.
    Fp4,
    /// The table of the IQ4 formats.
    Iq4,
    /// −1, 0 and 1 by the largest magnitude.
    Ternary,
    /// The same by the mean of all magnitudes.
    Mean {
        /// The scale divides.
        inverse: bool,
    },
    /// From the least number on, codes up to `most`, by steps and least numbers up to `limit`.
    SuperRanged {
        /// The greatest code.
        most: u32,
        /// The greatest step.
        limit: u32,
    },
    /// About `half`, or the table of the IQ4 formats, by signed steps.
    SuperSigned {
        /// By what the number of the largest magnitude is divided.
        half: u32,
        /// The magnitude of the least step.
        limit: u32,
    },
}

impl Nearest {
    /// Fills the slot of a weight that is written, whose form this is; `alone` where each scale is found by itself.
    pub fn fill(self, step: &mut Builder, form: Form, alone: bool) {
        let number = |name, value| (name, Const::U32(value));
        let even = |even| ("into_nearest_EVEN", Const::Bool(even));
        let most = |most| number("into_nearest_MOST", most);
        let (filling, consts) = match self {
            Self::Signed { even: e } => ("slot/nearest/signed", vec![even(e)]),
            Self::About(half) => ("slot/nearest/about", vec![number("into_nearest_HALF", half)]),
            Self::Ranged(m) => ("slot/nearest/ranged", vec![most(m)]),
            Self::Affine { most: m, least, half, biased } => {
                let half = ("into_nearest_F16", Const::Bool(half));
                let biased = ("into_nearest_BIASED", Const::Bool(biased));
                ("slot/nearest/affine", vec![most(m), number("into_nearest_LEAST", least), half, biased])
            }
            Self::Floating(m) => ("slot/nearest/floating", vec![most(m)]),
            Self::Edge(m) => ("slot/nearest/edge", vec![most(m)]),
            Self::Power { down, even: e } => ("slot/nearest/power", vec![number("into_nearest_DOWN", down), even(e)]),
            Self::Float4 { even: e } => ("slot/nearest/float4", vec![even(e)]),
            Self::Float8(mantissa) => ("slot/nearest/float8", vec![number("into_nearest_MANTISSA", mantissa)]),
            Self::Nf4 => ("slot/nearest/nf4", Vec::new()),
            Self::Fp4 => ("slot/nearest/fp4", Vec::new()),
            Self::Iq4 => ("slot/nearest/iq4", Vec::new()),
            Self::Ternary => ("slot/nearest/ternary", Vec::new()),
            Self::Mean { inverse } => ("slot/nearest/mean", vec![("into_nearest_INVERSE", Const::Bool(inverse))]),
            Self::SuperRanged { most: m, limit } => {
                ("slot/nearest/super_ranged", vec![most(m), number("into_nearest_LIMIT", limit)])
            }
            Self::SuperSigned { half, limit } => {
                let levels = ("into_nearest_IQ4", Const::Bool(form.level == Level::Table));
                let limit = number("into_nearest_LIMIT", limit);
                ("slot/nearest/super_signed", vec![number("into_nearest_HALF", half), limit, levels])
            }
        };
        step.fill("into_nearest", filling);
        consts.into_iter().for_each(|(name, value)| step.set(name, value));
        fill_pack(step, form.bits);
        let parts = match form.scale {
            // Of 256 numbers there are so many scales.
            Scale::Super(of) | Scale::SuperPair(of) | Scale::SuperNibbles(of) => of / 8,
            Scale::E4m3 if !alone => 2,
            _ => 1,
        };
        if parts > 1 {
            step.set("into_PARTS", Const::U32(parts));
        }
        let keep = match form.scale {
            Scale::F16 => "slot/keep/f16",
            Scale::F16Pair => "slot/keep/f16_pair",
            Scale::F32Pair => "slot/keep/f32_pair",
            Scale::E8m0 | Scale::E4m3 => "slot/keep/byte",
            scale @ (Scale::Super(_) | Scale::SuperPair(_) | Scale::SuperNibbles(_)) => {
                step.fill("into", "slot/into/super");
                step.set("into_EACH", Const::U32(if matches!(scale, Scale::SuperPair(_)) { 16 } else { 8 }));
                step.set("into_SUPER_BITS", Const::U32(scale.super_bits()));
                return;
            }
            _ => "slot/keep/f32",
        };
        step.fill("into", "slot/into/coded");
        step.fill("into_keep", keep);
    }

    /// Scales are stored so that a device can write them: as the rule's encoder on the host stores them.
    fn stores(self, scale: Scale) -> bool {
        match self {
            Self::Signed { .. } => matches!(scale, Scale::F16 | Scale::F32),
            Self::About(_) | Self::Iq4 | Self::Ternary => scale == Scale::F16,
            Self::Ranged(_) => scale == Scale::F16Pair,
            Self::Affine { half, .. } => scale == if half { Scale::F16Pair } else { Scale::F32Pair },
            Self::Edge(_) | Self::Floating(_) => scale == Scale::F32Pair,
            Self::Power { .. } => scale == Scale::E8m0,
            Self::Float4 { .. } => scale == Scale::E4m3,
            Self::Nf4 | Self::Fp4 | Self::Float8(_) | Self::Mean { .. } => scale == Scale::F32,
            Self::SuperRanged { .. } => matches!(scale, Scale::SuperPair(_) | Scale::SuperNibbles(_)),
            Self::SuperSigned { .. } => matches!(scale, Scale::Super(_)),
        }
    }

    /// How kernels find the scales of a weight of `n` rows and `k` columns in this form, or the rule that it breaks.
    pub fn spread(self, form: Form, n: u32, k: u32) -> Result<Spread, &'static str> {
        if !self.stores(form.scale) {
            return Err("its scales are stored in another way than its encoder stores them");
        }
        let whole = |cols: u32| k.is_multiple_of(cols) && cols.is_multiple_of(32) && cols.is_power_of_two();
        match (form.place, form.scale) {
            (Place::Block { rows: 1, cols }, Scale::Super(of) | Scale::SuperPair(of) | Scale::SuperNibbles(of)) => {
                Ok(Spread::Row(cols * of))
            }
            (Place::Block { rows: 1, cols: 16 }, Scale::E4m3) if k.is_multiple_of(32) => Ok(Spread::Row(32)),
            (_, Scale::E4m3) => Ok(Spread::Runs),
            (Place::TENSOR, _) if matches!(self, Self::Mean { .. }) => Ok(Spread::Runs),
            (Place::Block { rows, cols }, _) if rows == 1 || n == 1 => match self {
                // Lanes without numbers have zeros, which need not be between those of others.
                Self::Floating(_) if !whole(cols) => Ok(Spread::Runs),
                _ if cols < k && !cols.is_multiple_of(32) => Ok(Spread::Runs),
                _ => Ok(Spread::Row(cols.min(k))),
            },
            (Place::TENSOR, _) => Err("one scale serves all of it"),
            (Place::Block { .. } | Place::Flat(_) | Place::Wrapped(_), _) => Ok(Spread::Runs),
            (Place::Ordered, _) => Err("a list says which of its columns share a scale"),
        }
    }
}

/// Fills the slot of codes that are written.
pub(crate) fn fill_pack(step: &mut Builder, bits: u32) {
    let pack = match bits {
        1 => "slot/pack/u1",
        2 => "slot/pack/u2",
        3 => "slot/pack/u3",
        4 => "slot/pack/u4",
        5 => "slot/pack/u5",
        6 => "slot/pack/u6",
        _ => "slot/pack/u8",
    };
    step.fill("into_pack", pack);
}

/// Where the numbers are that share a scale, as kernels find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Spread {
    /// So many neighbours of a row are coded together, in whole blocks of 32 or as a row: they share a scale, or what their scales are multiplied
    /// with, or are two halves of 32. One dispatch finds scales and codes.
    Row(u32),
    /// Anywhere, in runs of neighbours: one dispatch finds the scales, the next the codes.
    Runs,
}
