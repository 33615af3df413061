//! Tables of cosines and sines for rotary position embedding, computed on the host in f64.
//!
//! Pair i of a token at position p turns by the angle `p·f_i`, with `f_i = theta^(−2i / rotary_dim)` unless a [`Scaling`] says otherwise.
//! In f32 such an angle is off by `p·2^-24`, which is a 256th of a radian at position 65,536, and more than that after its
//! cosine; in f64 it is not off by anything that f32 shows up to positions of 10^8.

use std::f64::consts::TAU;

use super::rope::past;
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result, shape_error};
use crate::shape::IntoShape;
use crate::tensor::{Elem, Tensor};

/// What errors of tables name.
const TABLE: &str = "rope table";

/// How frequencies are changed for contexts longer than those that a model was trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Scaling<'a> {
    /// They are not.
    #[default]
    None,
    /// Positions are divided: `f / factor` (Chen et al., "Extending Context Window of Large Language Models via Positional
    /// Interpolation", arXiv 2306.15595).
    Linear {
        /// How many times longer the context is.
        factor: f64,
    },
    /// "NTK-aware" scaling: theta becomes `theta·factor^(d / (d − 2))`, so that the slowest pair is slowed by the factor and the quickest
    /// not at all (appendix A.1 of the YaRN paper, arXiv 2309.00071).
    Ntk {
        /// How many times longer the context is.
        factor: f64,
    },
    /// The same for a context of `length` tokens, if that is more than `original`:
    /// `theta·(factor·length / original − factor + 1)^(d / (d − 2))`.
    DynamicNtk {
        /// As the checkpoint has it.
        factor: f64,
        /// The context that the model was trained on.
        original: f64,
        /// The context now.
        length: f64,
    },
    /// YaRN (Peng et al., arXiv 2309.00071): pairs that turn more than `quick` times within the original context are left as they are,
    /// those that turn less than `slow` times are slowed by the factor, and between the two is a ramp.
    Yarn {
        /// How many times longer the context is.
        factor: f64,
        /// The context that the model was trained on.
        original: f64,
        /// `quick` of checkpoints, 32 in the paper.
        quick: f64,
        /// `beta_slow`, 1 in the paper.
        slow: f64,
        /// What cosines and sines are multiplied by; none: `0.1·ln(factor) + 1`, and 1 for factors up to 1.
        attention_factor: Option<f64>,
        /// The ends of the ramp are whole pairs, as in most checkpoints; gpt-oss has fractions.
        truncate: bool,
    },
    /// As Llama 3.1 does it: waves longer than `original / low` are slowed by the factor, those shorter than `original / high` are not,
    /// and between the two it goes over smoothly. (The source is Meta's model code; there is no paper.)
    Llama3 {
        /// How many times longer the context is.
        factor: f64,
        /// `low_freq_factor`.
        low: f64,
        /// `high_freq_factor`.
        high: f64,
        /// The context that the model was trained on.
        original: f64,
    },
    /// A factor for each pair, as LongRoPE finds them: `f_i / factors[i]` (Ding et al., arXiv 2402.13753).
    Each {
        /// `rotary_dim / 2` of them.
        factors: &'a [f64],
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
    },
}

/// Which axis of a multimodal position (time, height, width) turns which pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sections<'a> {
    /// The first pairs turn by axis 0, the next by axis 1, and so on: so many each (Qwen2-VL, arXiv 2409.12191).
    Blocks(&'a [usize]),
    /// Pair i turns by axis `i mod 3`, as long as that axis has pairs left, else by axis 0 (Qwen3-VL).
    Interleaved([usize; 3]),
}

impl Sections<'_> {
    /// More than there can be where they cannot be counted.
    fn pairs(&self) -> usize {
        let all = |sizes: &[usize]| sizes.iter().fold(0, |all: usize, size| all.saturating_add(*size));
        match self {
            Self::Blocks(sizes) => all(sizes),
            Self::Interleaved(sizes) => all(sizes),
        }
    }

    fn axes(&self) -> usize {
        match self {
            Self::Blocks(sizes) => sizes.len(),
            Self::Interleaved(_) => 3,
        }
    }

    fn axis(&self, pair: usize) -> usize {
        match self {
            Self::Blocks(sizes) => {
                let mut end = 0;
                let ends = sizes.iter().map(|n| {
                    end += n;
                    end
                });
                ends.take_while(|end| *end <= pair).count()
            }
            Self::Interleaved(sizes) => {
                let axis = pair % 3;
                if axis > 0 && pair < 3 * sizes[axis] { axis } else { 0 }
            }
        }
    }
}

/// Cosines and sines.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// `[positions, rotary_dim/2]`.
    pub cos: Vec<f32>,
    /// The same shape.
    pub sin: Vec<f32>,
}

/// The frequencies of a rotary position embedding, from which tables are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeTable<'a> {
    /// The base: 10,000 in the paper, 500,000 in Llama 3.
    pub theta: f64,
    /// How many numbers of a head turn.
    pub rotary_dim: usize,
    /// For longer contexts.
    pub scaling: Scaling<'a>,
}

impl RopeTable<'_> {
    /// Without scaling.
    pub fn new(theta: f64, rotary_dim: usize) -> Self {
        Self { theta, rotary_dim, scaling: Scaling::None }
    }

    /// The frequency of each pair in radians a position, and what cosines and sines are multiplied by.
    ///
    /// # Errors
    /// `rotary_dim` odd; a theta, factor or context that is no number above 0; another number of factors than of pairs.
    pub fn frequencies(&self) -> Result<(Vec<f64>, f64)> {
        let Self { theta, rotary_dim, scaling } = *self;
        if rotary_dim % 2 != 0 {
            let value = rotary_dim.to_string();
            return Err(Error::Value { op: TABLE, name: "rotary_dim", value, rule: "it must be even" });
        }
        let positive = |name, v: f64| {
            let rule = "it must be a number above 0";
            if v.is_finite() && v > 0.0 {
                Ok(v)
            } else {
                Err(Error::Value { op: TABLE, name, value: v.to_string(), rule })
            }
        };
        positive("theta", theta)?;
        let d = rotary_dim as f64;
        let pairs = rotary_dim / 2;
        let of = |theta: f64| -> Vec<f64> { (0..pairs).map(|i| theta.powf(-2.0 * i as f64 / d)).collect() };
        // With one pair there is nothing between the quickest and the slowest.
        let power = if rotary_dim > 2 { d / (d - 2.0) } else { 0.0 };
        Ok(match scaling {
            Scaling::None => (of(theta), 1.0),
            Scaling::Linear { factor } => {
                positive("factor", factor)?;
                (of(theta).into_iter().map(|f| f / factor).collect(), 1.0)
            }
            Scaling::Ntk { factor } => (of(theta * positive("factor", factor)?.powf(power)), 1.0),
            Scaling::DynamicNtk { factor, original, length } => {
                let length = positive("length", length)?.max(positive("original", original)?);
                let grown = positive("factor", factor)? * length / original - factor + 1.0;
                (of(theta * grown.powf(power)), 1.0)
            }
            Scaling::Yarn { factor, original, quick, slow, attention_factor, truncate } => {
                positive("factor", factor)?;
                positive("original", original)?;
                positive("quick", quick)?;
                positive("slow", slow)?;
                // All pairs of 1 turn alike: none is between quick and slow.
                positive("theta − 1", theta - 1.0)?;
                // The pair that turns so often within the original context.
                let pair = |turns: f64| d * (original / (turns * TAU)).ln() / (2.0 * theta.ln());
                let (mut low, mut high) = (pair(quick), pair(slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                (low, high) = (low.max(0.0), high.min(d - 1.0));
                if low == high {
                    high += 0.001;
                }
                let slowed = |(i, f): (usize, f64)| {
                    let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    f / factor * ramp + f * (1.0 - ramp)
                };
                let usual = if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 };
                let usual = attention_factor.unwrap_or(usual);
                (of(theta).into_iter().enumerate().map(slowed).collect(), positive("attention_factor", usual)?)
            }
            Scaling::Llama3 { factor, low, high, original } => {
                positive("factor", factor)?;
                positive("original", original)?;
                positive("low", low)?;
                positive("high − low", high - low)?;
                let slowed = |f: f64| {
                    let turns = original * f / TAU;
                    let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - smooth) * f / factor + smooth * f
                };
                (of(theta).into_iter().map(slowed).collect(), 1.0)
            }
            Scaling::Each { factors, attention_factor } => {
                if factors.len() != pairs {
                    return Err(shape_error!(TABLE, "{} factors for {pairs} pairs", factors.len()));
                }
                factors.iter().try_for_each(|f| positive("factor", *f).map(|_| ()))?;
                let by = positive("attention_factor", attention_factor)?;
                (of(theta).into_iter().zip(factors).map(|(f, by)| f / by).collect(), by)
            }
        })
    }

    /// A row for each position.
    ///
    /// # Errors
    /// As [`RopeTable::frequencies`].
    pub fn rows(&self, positions: impl IntoIterator<Item = f64>) -> Result<Rows> {
        let (frequencies, factor) = self.frequencies()?;
        let mut rows = Rows { cos: Vec::new(), sin: Vec::new() };
        for p in positions {
            for f in &frequencies {
                rows.push(p * f, factor);
            }
        }
        Ok(rows)
    }

    /// A row for each token of a multimodal sequence: `axes[a][t]` is its position along axis a.
    ///
    /// # Errors
    /// As [`RopeTable::frequencies`]; sections that are not of all pairs, or of another number of axes; axes of unequal length.
    pub fn rows_of_axes(&self, sections: Sections<'_>, axes: &[&[f64]]) -> Result<Rows> {
        let (frequencies, factor) = self.frequencies()?;
        if sections.pairs() != frequencies.len() || sections.axes() != axes.len() {
            let (pairs, given) = (frequencies.len(), axes.len());
            return Err(shape_error!(TABLE, "{sections:?} do not divide {pairs} pairs among {given} axes"));
        }
        let tokens = axes.first().map_or(0, |a| a.len());
        if let Some(other) = axes.iter().find(|a| a.len() != tokens) {
            return Err(shape_error!(TABLE, "one axis has {} positions, the first {tokens}", other.len()));
        }
        let mut rows = Rows { cos: Vec::new(), sin: Vec::new() };
        let of_pairs: Vec<_> = frequencies.iter().enumerate().map(|(i, f)| (axes[sections.axis(i)], f)).collect();
        for t in 0..tokens {
            of_pairs.iter().for_each(|(axis, f)| rows.push(axis[t] * **f, factor));
        }
        Ok(rows)
    }
}

impl Rows {
    fn push(&mut self, angle: f64, factor: f64) {
        self.cos.push((angle.cos() * factor) as f32);
        self.sin.push((angle.sin() * factor) as f32);
    }
}

impl Dispatcher {
    /// Cosines and sines of positions 0 to `positions − 1` on the device, each `[positions, rotary_dim/2]`.
    ///
    /// # Errors
    /// As [`RopeTable::frequencies`]; a storage that is no float; no memory, or a lost device.
    pub fn rope_table(&self, table: &RopeTable<'_>, positions: usize, elem: Elem) -> Result<(Tensor, Tensor)> {
        if !elem.is_float() {
            return Err(Error::Storage {
                op: TABLE,
                operand: "the table",
                have: elem.name(),
                want: "f32, f16 or bf16",
            });
        }
        // Memory first: to compute a table that there is no room for takes longer than to be told.
        let shape = [positions, table.rotary_dim / 2];
        let (cos, sin) = (self.zeros(shape, elem)?, self.zeros(shape, elem)?);
        let rows = table.rows((0..positions).map(|p| p as f64))?;
        cos.write(&rows.cos)?;
        sin.write(&rows.sin)?;
        Ok((cos, sin))
    }

    /// Positions that the host knows, I32 on the device, for tables of so many rows. On the device one outside them is silently
    /// taken as the nearest, for a kernel has nobody to tell; here it is an error.
    ///
    /// # Errors
    /// A position below 0, or past the tables: of those the last. As [`Dispatcher::upload_bytes`].
    pub fn positions(&self, positions: &[i64], shape: impl IntoShape, rows: usize) -> Result<Tensor> {
        if let Some(below) = positions.iter().find(|p| **p < 0) {
            let (value, rule) = (below.to_string(), "it must not be below 0");
            return Err(Error::Value { op: "positions", name: "position", value, rule });
        }
        // What a word of the device holds ends there too.
        let rows = rows.min(1 << 31);
        if let Some(last) = positions.iter().max().filter(|p| **p >= rows as i64) {
            return Err(past("positions", rows, *last as usize));
        }
        let words: Vec<u32> = positions.iter().map(|p| *p as u32).collect();
        self.upload_words(&words, shape, Elem::I32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: Scaling<'_>) -> Vec<f64> {
        RopeTable { theta: 10_000.0, rotary_dim: 8, scaling }.frequencies().map(|f| f.0).unwrap_or_default()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs()
    }

    #[test]
    fn frequencies_by_hand() -> Result<()> {
        // 10,000^(−2i/8) = 10^−i.
        for (f, want) in frequencies(Scaling::None).into_iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!(near(f, want), "{f} {want}");
        }
        for (f, want) in frequencies(Scaling::Linear { factor: 4.0 }).into_iter().zip([0.25, 0.025, 0.0025, 0.000_25]) {
            assert!(near(f, want), "{f} {want}");
        }
        // The quickest as it was, the slowest slowed by the factor; those between in equal ratios.
        for (f, want) in
            frequencies(Scaling::Ntk { factor: 8.0 }).into_iter().zip([1.0, 0.1 / 2.0, 0.01 / 4.0, 0.001 / 8.0])
        {
            assert!(near(f, want), "{f} {want}");
        }
        let dynamic = |length| frequencies(Scaling::DynamicNtk { factor: 2.0, original: 100.0, length });
        assert_eq!(dynamic(50.0), frequencies(Scaling::None));
        // 2·450/100 − 1 = 8.
        assert!(near(dynamic(450.0)[3], 0.001 / 8.0));
        let factors = [1.0, 2.0, 4.0, 5.0];
        let each = frequencies(Scaling::Each { factors: &factors, attention_factor: 1.0 });
        assert!(near(each[2], 0.0025) && near(each[3], 0.0002));
        Ok(())
    }

    #[test]
    fn llama3_keeps_short_waves_and_slows_long_ones() -> Result<()> {
        // Turns within 1000 positions: 159.2, 15.92, 1.592, 0.1592.
        let scaled = frequencies(Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 1000.0 });
        assert!(near(scaled[0], 1.0) && near(scaled[1], 0.1) && near(scaled[3], 0.001 / 8.0));
        let smooth = (10.0 / TAU - 1.0) / 3.0;
        assert!(near(scaled[2], 0.01 * (smooth + (1.0 - smooth) / 8.0)));
        Ok(())
    }

    #[test]
    fn yarn_by_hand() -> Result<()> {
        let yarn = |truncate, attention_factor| Scaling::Yarn {
            factor: 4.0,
            original: 1000.0,
            quick: 32.0,
            slow: 1.0,
            attention_factor,
            truncate,
        };
        let table = |scaling| RopeTable { theta: 10_000.0, rotary_dim: 8, scaling };
        // The pair that turns n times: log10(1000 / 2πn): 0.697 and 2.202, so the ramp is from pair 0 to pair 3.
        let (scaled, factor) = table(yarn(true, None)).frequencies()?;
        for (i, (f, plain)) in scaled.iter().zip([1.0, 0.1, 0.01, 0.001]).enumerate() {
            let ramp = i as f64 / 3.0;
            assert!(near(*f, plain * (1.0 - ramp + ramp / 4.0)), "{i}");
        }
        assert!(near(factor, 0.1 * 4f64.ln() + 1.0));
        let (low, high) = ((1000.0 / (TAU * 32.0)).log10(), (1000.0 / TAU).log10());
        let (scaled, factor) = table(yarn(false, Some(1.5))).frequencies()?;
        let ramp = (1.0 - low) / (high - low);
        assert!(near(scaled[0], 1.0) && near(scaled[1], 0.1 * (1.0 - ramp * 0.75)) && near(scaled[3], 0.001 / 4.0));
        assert_eq!(factor, 1.5);
        // Cosines and sines carry the factor.
        let rows = table(yarn(false, Some(1.5))).rows([0.0])?;
        assert_eq!((rows.cos, rows.sin), (vec![1.5; 4], vec![0.0; 4]));
        Ok(())
    }

    #[test]
    fn far_positions_are_as_exact_as_near_ones() -> Result<()> {
        // Ten million turns and an eighth.
        let table = RopeTable::new(10_000.0, 2);
        let rows = table.rows([TAU * 10_000_000.125])?;
        assert!((f64::from(rows.cos[0]) - 0.5f64.sqrt()).abs() < 1e-7);
        assert!((f64::from(rows.sin[0]) - 0.5f64.sqrt()).abs() < 1e-7);
        Ok(())
    }

    #[test]
    fn sections_take_their_axis() -> Result<()> {
        let table = RopeTable::new(10_000.0, 12);
        let (t, h, w) = ([3.0, 4.0], [5.0, 6.0], [7.0, 8.0]);
        let blocks = Sections::Blocks(&[1, 2, 3]);
        assert_eq!((0..6).map(|i| blocks.axis(i)).collect::<Vec<_>>(), [0, 1, 1, 2, 2, 2]);
        let woven = Sections::Interleaved([3, 2, 1]);
        assert_eq!((0..6).map(|i| woven.axis(i)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 0]);
        let rows = table.rows_of_axes(blocks, &[&t, &h, &w])?;
        let of = |axis: &[f64; 2]| table.rows(*axis);
        for (i, axis) in [&t, &h, &h, &w, &w, &w].into_iter().enumerate() {
            assert_eq!(rows.cos[6 + i], of(axis)?.cos[6 + i]);
            assert_eq!(rows.sin[i], of(axis)?.sin[i]);
        }
        // Text has the same position on all axes: then sections make no difference.
        assert_eq!(table.rows_of_axes(woven, &[&t, &t, &t])?, of(&t)?);
        assert!(table.rows_of_axes(Sections::Blocks(&[1, 2, 2]), &[&t, &h, &w]).is_err());
        assert!(table.rows_of_axes(blocks, &[&t, &h]).is_err());
        assert!(table.rows_of_axes(blocks, &[&t, &h, &w[..1]]).is_err());
        Ok(())
    }

    #[test]
    fn what_cannot_be_is_an_error() -> Result<()> {
        let wrong = |rotary_dim, scaling| {
            RopeTable { theta: 10_000.0, rotary_dim, scaling }
                .frequencies()
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        assert!(wrong(7, Scaling::None).contains("rotary_dim = 7"));
        assert!(wrong(8, Scaling::Linear { factor: 0.0 }).contains("factor = 0"));
        assert!(wrong(8, Scaling::Ntk { factor: f64::NAN }).contains("factor = NaN"));
        let short = Scaling::Each { factors: &[1.0], attention_factor: 1.0 };
        assert!(wrong(8, short).contains("1 factors for 4 pairs"));
        let each = Scaling::Each { factors: &[1.0; 4], attention_factor: f64::NAN };
        assert!(wrong(8, each).contains("attention_factor = NaN"));
        let yarn = |attention_factor| {
            let (factor, original, quick, slow) = (4.0, 4096.0, 32.0, 1.0);
            Scaling::Yarn { factor, original, quick, slow, attention_factor, truncate: true }
        };
        assert_eq!(wrong(8, yarn(None)), "");
        assert!(wrong(8, yarn(Some(f64::INFINITY))).contains("attention_factor = inf"));
        let table = RopeTable { theta: 1.0, rotary_dim: 8, scaling: yarn(None) };
        assert!(table.frequencies().is_err_and(|e| e.to_string().contains("theta − 1 = 0")));
        Ok(())
    }
}
