//! How a device rounds numbers into a format: what the encoders of a format's file do, as data for `shaders/slot/nearest/`.
//!
//! A format says this of itself where its codes and scales follow from the numbers that share a scale and from nothing else. What is
//! encoded by what a super-block has in common, by tables that are learnt, or across rows is encoded on the host.

use super::form::{Form, Place, Scale};
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
    /// The affine rule of `round.rs` with an f16 scale.
    Affine {
        /// The greatest code.
        most: u32,
        /// The least zero that can be stored.
        least: u32,
    },
    /// An edge of the range exactly on a code, codes up to this.
    Edge(u32),
    /// Small floats with a power of two.
    Power {
        /// By how much its exponent is below that of the largest magnitude.
        down: u32,
        /// Halves to the even code, or to the lower.
        even: bool,
    },
    /// The NF4 table.
    Nf4,
    /// E4M3 with a scale in f32.
    E4m3,
}

impl Nearest {
    /// Fills the slot of a weight that is written, whose form this is.
    pub fn fill(self, step: &mut Builder, form: Form) {
        let (filling, consts): (_, &[(&'static str, Const)]) = match self {
            Self::Signed { even } => ("slot/nearest/signed", &[("into_nearest_EVEN", Const::Bool(even))]),
            Self::About(half) => ("slot/nearest/about", &[("into_nearest_HALF", Const::U32(half))]),
            Self::Ranged(most) => ("slot/nearest/ranged", &[("into_nearest_MOST", Const::U32(most))]),
            Self::Affine { most, least } => (
                "slot/nearest/affine",
                &[("into_nearest_MOST", Const::U32(most)), ("into_nearest_LEAST", Const::U32(least))],
            ),
            Self::Edge(most) => ("slot/nearest/edge", &[("into_nearest_MOST", Const::U32(most))]),
            Self::Power { down, even } => (
                "slot/nearest/power",
                &[("into_nearest_DOWN", Const::U32(down)), ("into_nearest_EVEN", Const::Bool(even))],
            ),
            Self::Nf4 => ("slot/nearest/nf4", &[]),
            Self::E4m3 => ("slot/nearest/e4m3", &[]),
        };
        step.fill("into_nearest", filling);
        consts.iter().for_each(|(name, value)| step.set(name, *value));
        let pack = match form.bits {
            2 => "slot/pack/u2",
            3 => "slot/pack/u3",
            4 => "slot/pack/u4",
            5 => "slot/pack/u5",
            6 => "slot/pack/u6",
            _ => "slot/pack/u8",
        };
        step.fill("into_pack", pack);
        let keep = match form.scale {
            Scale::F16 => "slot/keep/f16",
            Scale::F16Pair => "slot/keep/f16_pair",
            Scale::F32Pair => "slot/keep/f32_pair",
            Scale::E8m0 => "slot/keep/e8m0",
            _ => "slot/keep/f32",
        };
        step.fill("into_keep", keep);
    }

    /// Scales are stored so that a device can write them: as the rule's encoder on the host stores them.
    fn stores(self, scale: Scale) -> bool {
        match self {
            Self::Signed { .. } => matches!(scale, Scale::F16 | Scale::F32),
            Self::About(_) => scale == Scale::F16,
            Self::Ranged(_) | Self::Affine { .. } => scale == Scale::F16Pair,
            Self::Edge(_) => scale == Scale::F32Pair,
            Self::Power { .. } => scale == Scale::E8m0,
            Self::Nf4 | Self::E4m3 => scale == Scale::F32,
        }
    }

    /// The columns that share a scale, or the rule that a weight of `n` rows and `k` columns in this form breaks.
    pub fn cols(self, form: Form, n: u32, k: u32) -> Result<u32, &'static str> {
        if !self.stores(form.scale) {
            return Err("its scales are stored in another way than its encoder stores them");
        }
        match form.place {
            Place::Block { rows, cols } if rows == 1 || n == 1 => {
                if cols < k && !cols.is_multiple_of(32) {
                    return Err("numbers that share a scale must be a multiple of 32, or a row");
                }
                Ok(cols.min(k))
            }
            Place::Block { .. } => Err("its scales serve several rows"),
            Place::Flat(_) => Err("K must be a multiple of its block, whose scales would run on over the ends of rows"),
            Place::Ordered | Place::Wrapped(_) => Err("numbers that share a scale must lie side by side"),
        }
    }
}
