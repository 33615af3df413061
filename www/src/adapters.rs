//! Adapters as pictures: one small weight, and what LoRA, DoRA and BoRA make of it.
//!
//! Base and adapter are made up here, by rules that are written below; nothing is trained. The merges are the device's, by `adapter_merge`.

use gristmill::formats::{Format, Packed};
use gristmill::proof::cases::{Case, Fill, Random, Values, WeightInput};
use gristmill::proof::measure::{Effort, Roof, Trial};
use gristmill::proof::{Attrs, Row};
use gristmill::{Caps, DeviceKind, Dispatcher, Elem, Error};

use crate::json::{list, maybe, object, text};
use crate::ran::{Of, Ran, case, wanted};
use crate::weights::weight;

type Result<T> = std::result::Result<T, Error>;

/// Rows and columns of the weight.
pub const SIDE: usize = 64;

/// The most terms of the adapter.
pub const RANK_MOST: usize = 8;

/// The adapters, by their names as an attribute.
pub const KINDS: [&str; 3] = ["lora", "dora", "bora"];

/// The formats that the base may be in; the first is as it was made.
const FORMATS: [(&str, Format); 3] = [("f32", Format::Dense), ("q8_0", Format::Q8_0), ("q4_0", Format::Q4_0)];

/// What is asked for.
#[derive(Clone)]
pub struct Asked {
    /// The base's format, by its name here.
    pub format: String,
    /// Terms of the adapter.
    pub rank: usize,
    /// What they are multiplied with.
    pub scale: f32,
    /// How far magnitudes are from the norms of the base: 0 is at them.
    pub magnitude: f32,
    /// BoRA takes the columns first.
    pub columns_first: bool,
}

/// A weight into which an adapter was merged.
pub struct Merged {
    kind: &'static str,
    /// The device's, where there is one, else the host's.
    pub weight: Vec<f32>,
    /// The largest difference from the host, the largest error over bound, and the plan.
    device: Option<(f64, f64, String)>,
}

/// Base, magnitudes and merges.
pub struct Shown {
    /// The base as it was made.
    pub made: Vec<f32>,
    /// The base as its format has it.
    pub base: Vec<f32>,
    /// Bytes of the base.
    bytes: usize,
    /// Magnitudes of rows and columns, which DoRA and BoRA have.
    pub magnitudes: [Vec<f32>; 2],
    /// By [`KINDS`].
    pub merged: Vec<Merged>,
}

/// The furrows of a millstone, whose rows differ in how long they are, and a little of seeded chance.
fn base() -> Vec<f32> {
    let mut random = Random::new("a weight with an adapter");
    let middle = (SIDE as f32 - 1.0) / 2.0;
    let number = |i: usize| {
        let (row, column) = ((i / SIDE) as f32, (i % SIDE) as f32);
        let (y, x) = (row - middle, column - middle);
        let around = (9.0 * y.atan2(x) + 0.33 * x.hypot(y)).cos();
        let long = 0.55 + 0.35 * (row / 8.5).sin() + if i / SIDE == 44 { 0.7 } else { 0.0 };
        long * (around + 0.3 * random.normal())
    };
    (0..SIDE * SIDE).map(number).collect()
}

/// `lora_A` and `lora_B`: each term is a bump along the columns times one along the rows, above and below zero in turn.
fn terms(rank: usize) -> [Vec<f32>; 2] {
    let bump = |i: usize, at: f32, wide: f32| (-((i as f32 - SIDE as f32 * at.fract()) / wide).powi(2)).exp();
    let (mut a, mut b) = (Vec::new(), vec![0.0; SIDE * rank]);
    for r in 0..rank {
        let (nth, wide) = ((r + 1) as f32, 11.0 - 0.8 * r as f32);
        a.extend((0..SIDE).map(|k| bump(k, 0.618 * nth - 0.2, wide)));
        let sign = if r % 2 == 0 { 1.0 } else { -1.0 };
        (0..SIDE).for_each(|n| b[n * rank + r] = sign * bump(n, 0.755 * nth - 0.45, wide));
    }
    [a, b]
}

/// The norms of rows, or of columns, each made longer or shorter by a wave along them.
fn magnitudes(base: &[f32], rows: bool, by: f32) -> Vec<f32> {
    let mut squares = vec![0.0f32; SIDE];
    base.iter().enumerate().for_each(|(i, v)| squares[if rows { i / SIDE } else { i % SIDE }] += v * v);
    let wave = |i: usize| (i as f32 * if rows { 0.23 } else { 0.31 }).sin();
    squares.into_iter().enumerate().map(|(i, square)| square.sqrt() * (1.0 + by * wave(i))).collect()
}

fn format_of(name: &str) -> Result<Format> {
    let found = FORMATS.iter().find(|(of, _)| *of == name);
    let rule = "it must be f32, q8_0 or q4_0";
    found.map(|f| f.1).ok_or_else(|| Error::Value { op: "adapter_merge", name: "base", value: name.to_owned(), rule })
}

/// A merge of this kind, without values.
fn merge(kind: &str, format: Format, dense: Elem, [n, k]: [usize; 2], rank: usize) -> Case {
    let (rows, columns, a, b) = ([n], [k], [rank, k], [n, rank]);
    let mut inputs: Vec<Of<'_>> = vec![("lora_A", &a), ("lora_B", &b)];
    match kind {
        "dora" => inputs.push(("lora_magnitude_vector", &rows)),
        "bora" => inputs.extend([("m_row", &rows[..]), ("m_col", &columns)]),
        _ => {}
    }
    let merge = case("adapter_merge", Attrs::default().with("kind", kind), &inputs, &[("y", &[n, k])]);
    Case { weights: vec![WeightInput { role: "w0", ..weight(format, dense, [n, k]) }], ..merge }
}

impl Asked {
    /// A merge into a weight of this shape and storage.
    fn merge(&self, kind: &str, y: Elem, shape: [usize; 2]) -> Result<Case> {
        let mut made = merge(kind, format_of(&self.format)?, y, shape, self.rank);
        if kind == "bora" {
            made.attrs = made.attrs.with("order", if self.columns_first { "col_row" } else { "row_col" });
        }
        Ok(made)
    }

    /// A merge that is shown.
    fn case(&self, kind: &str) -> Result<Case> {
        let mut made = self.merge(kind, Elem::F32, [SIDE; 2])?;
        made.attrs = made.attrs.with("scale", f64::from(self.scale));
        Ok(made)
    }

    /// The base, the adapter and the magnitudes; and the values of a merge's operands.
    fn made(&self) -> Result<(Shown, Values)> {
        let made = base();
        let packed = Packed::encode(format_of(&self.format)?, SIDE, SIDE, &made)?;
        let (base, bytes) = (packed.decode(), packed.bytes());
        let [rows, columns] = [true, false].map(|rows| magnitudes(&base, rows, self.magnitude));
        let [a, b] = terms(self.rank);
        let mut values = Values::from([("w0", made.clone()), ("lora_A", a), ("lora_B", b)]);
        values.extend([("lora_magnitude_vector", rows.clone()), ("m_row", rows.clone()), ("m_col", columns.clone())]);
        Ok((Shown { made, base, bytes, magnitudes: [rows, columns], merged: Vec::new() }, values))
    }

    /// All merges by the references.
    pub fn on_host(&self) -> Result<Shown> {
        let (mut shown, values) = self.made()?;
        for kind in KINDS {
            let weight = wanted(&self.case(kind)?.expected(&values, Elem::F32)?, "y");
            shown.merged.push(Merged { kind, weight, device: None });
        }
        Ok(shown)
    }

    /// All merges by the device, beside the references.
    pub async fn on_device(&self, gpu: &Dispatcher) -> Result<Shown> {
        let (mut shown, values) = self.made()?;
        for kind in KINDS {
            let case = self.case(kind)?;
            let (ran, [weight]) = Ran::new(gpu, &case, &values, ["y"]).await?;
            let expected = case.expected(&values, Elem::F32)?;
            let differences = expected.iter().flat_map(|e| &e.want).zip(&weight);
            let differences = differences.map(|(want, got)| (want - f64::from(*got)).abs());
            // NaN is the largest.
            let most = differences.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most });
            shown.merged.push(Merged { kind, weight, device: Some((most, ran.worst, ran.plan)) });
        }
        Ok(shown)
    }
}

impl Shown {
    /// What is not numbers by the thousand.
    pub fn json(&self) -> String {
        let merged = self.merged.iter().map(|merged| {
            let device = merged.device.as_ref();
            object(&[
                ("kind", text(merged.kind)),
                ("difference", maybe(device.map(|d| d.0))),
                ("worst", maybe(device.map(|d| d.1))),
                ("plan", text(device.map_or("", |d| &d.2))),
            ])
        });
        object(&[("bytes", self.bytes.to_string()), ("merged", list(merged))])
    }
}

/// Rows and columns of the weight whose merges are timed: those of a layer, and less where a processor has to do it.
fn timed(caps: &Caps) -> [usize; 2] {
    if caps.kind == DeviceKind::Cpu { [192, 256] } else { [3072, 1024] }
}

/// What the page must know before it asks.
pub fn shape_json(caps: &Caps) -> String {
    object(&[
        ("side", SIDE.to_string()),
        ("rank", RANK_MOST.to_string()),
        ("formats", list(FORMATS.iter().map(|(name, _)| text(name)))),
        ("timed", list(timed(caps).iter().map(ToString::to_string))),
    ])
}

/// A merge of the size of a layer, in f16.
fn layer(kind: &str, asked: &Asked, caps: &Caps) -> Result<Case> {
    let mut made = asked.merge(kind, Elem::F16, timed(caps))?;
    made.inputs.iter_mut().for_each(|input| input.fill = Fill::Normal { mean: 0.0, deviation: 0.5 });
    let [n, k] = timed(caps);
    // The product, and of each norm squares, their sum, and what a number is multiplied with.
    let norms = KINDS.iter().position(|of| *of == kind).unwrap_or_default();
    made.flops = ((2 * asked.rank + 3 * norms) * n * k) as u64;
    Ok(made)
}

/// Checks a merge of the size of a layer by its best plan and times it.
pub async fn time_merge(gpu: &Dispatcher, kind: &str, asked: &Asked, roof: &Roof) -> Result<Row> {
    let effort = Effort::page();
    let case = layer(kind, asked, gpu.caps())?;
    let trial = Trial::new(gpu, &case, Elem::F16, Some(&effort))?;
    let best = trial.plans()?.into_iter().next().map(|plan| plan.name).unwrap_or_default();
    Ok(trial.row(&best, Some(roof), &effort).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(scale: f32, magnitude: f32) -> Asked {
        Asked { format: "f32".into(), rank: 4, scale, magnitude, columns_first: false }
    }

    fn shown(asked: &Asked) -> Shown {
        asked.on_host().expect("merges")
    }

    fn norms(weight: &[f32], rows: bool) -> Vec<f32> {
        magnitudes(weight, rows, 0.0)
    }

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn an_adapter_of_nothing_leaves_the_base() {
        let of = shown(&asked(0.0, 0.0));
        for merged in &of.merged {
            assert!(apart(&merged.weight, &of.base) < 1e-5, "{}", merged.kind);
        }
    }

    #[test]
    fn norms_are_the_magnitudes_where_the_formula_says_so() {
        let of = shown(&asked(1.5, 0.4));
        let [rows, columns] = &of.magnitudes;
        let [lora, dora, bora] = [0, 1, 2].map(|i| &of.merged[i].weight);
        assert!(apart(&norms(dora, true), rows) < 1e-5);
        assert!(apart(&norms(lora, true), rows) > 0.5, "no magnitude holds LoRA");
        assert!(apart(&norms(bora, false), columns) < 1e-5 && apart(&norms(bora, true), rows) > 1e-2);
        let turned = shown(&Asked { columns_first: true, ..asked(1.5, 0.4) });
        let bora = &turned.merged[2].weight;
        assert!(apart(&norms(bora, true), rows) < 1e-5 && apart(&norms(bora, false), columns) > 1e-2);
    }

    #[test]
    fn a_base_in_few_bits_is_another_base() {
        let of = shown(&Asked { format: "q4_0".into(), ..asked(1.0, 0.0) });
        assert_eq!(of.bytes, SIDE * SIDE / 32 * 18);
        let off = apart(&of.made, &of.base);
        assert!(off > 0.01 && off < 0.5, "{off}");
        assert!(Asked { format: "q2".into(), ..asked(1.0, 0.0) }.on_host().is_err());
    }

    #[test]
    fn every_merge_can_be_timed() {
        for kind in [DeviceKind::Cpu, DeviceKind::Discrete] {
            let caps = Caps { kind, ..Caps::baseline() };
            for (of, (format, _)) in KINDS.into_iter().flat_map(|of| FORMATS.map(|f| (of, f))) {
                let asked = Asked { format: format.into(), ..asked(1.0, 0.0) };
                let plans = layer(of, &asked, &caps).expect("a case").plans(Elem::F16, &caps);
                assert!(plans.as_ref().is_ok_and(|plans| !plans.is_empty()), "{of} {format}: {plans:?}");
            }
        }
    }
}
