//! One weight matrix in every format: what it costs, what it loses, and how long the device takes to multiply by it.
//!
//! Only in a wasm with all cases: with it come the encoders and decoders of every format.

use gristmill::formats::{Dtype, Format, Packed, Part};
use gristmill::ops::linear::Dequantize;
use gristmill::proof::cases::{Case, Fill, Input, Output, Random, Stored, WeightInput};
use gristmill::proof::measure::{Effort, Roof, Trial};
use gristmill::proof::{AnyOp, Attrs, Row};
use gristmill::{Caps, DeviceKind, Dispatcher, Elem, Error};

use crate::json::{list, number, object, text};

type Result<T> = std::result::Result<T, Error>;

/// Rows and columns of the matrix that is shown. K-quants have blocks of 256 along a row.
pub const SIDE: usize = 256;

/// How many bins its errors are counted in; the middle one is about 0.
const BINS: usize = 41;

/// The bins reach so many times the RMS of the errors to either side; the outermost hold what is beyond, too.
const REACH: f64 = 3.0;

/// A format, its bits, its group.
type Choice = (&'static str, &'static [u32], Option<(&'static str, f64)>);

/// Formats with numbers to choose: the bits that there are (none where it has but one), and the group or block that they are shown with.
const CHOSEN: [Choice; 9] = [
    ("awq", &[], Some(("group", 128.0))),
    ("gptq", &[2, 3, 4, 8], Some(("group", 128.0))),
    ("group_ic", &[2, 3, 4, 8], Some(("group", 128.0))),
    ("onnx.nbits", &[2, 4, 8], Some(("block", 32.0))),
    ("mlx.affine", &[2, 3, 4, 5, 6, 8], Some(("group", 64.0))),
    ("hqq", &[1, 2, 3, 4, 8], Some(("group", 64.0))),
    ("owq", &[3, 4], None),
    ("bcq", &[1, 2, 3, 4], Some(("group", 32.0))),
    ("lut16", &[], Some(("group", 128.0))),
];

/// A format as it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Unique: the name of the format, and what tells it from others of that name.
    pub label: String,
    /// With its numbers.
    pub format: Format,
    /// How dense numbers are stored.
    pub dense: Elem,
    /// Bits a number on the device, with scales and all, where K is 4096.
    pub bits: f64,
}

/// All formats that can be written, by bits.
pub fn formats() -> Result<Vec<Shown>> {
    let mut all = Vec::new();
    let mut add = |label: String, format: Format, dense: Elem| -> Result<()> {
        let bits = weight(format, dense, [4096, 4096]).outline("weights")?.bits();
        all.push(Shown { label, format, dense, bits });
        Ok(())
    };
    for format in Format::all().into_iter().filter(Format::encodes) {
        let name = format.name();
        if format == Format::Dense {
            for elem in [Elem::F32, Elem::F16, Elem::Bf16] {
                add(format!("{name} {}", elem.name()), format, elem)?;
            }
            continue;
        }
        let Some((_, bits, group)) = CHOSEN.iter().find(|(of, ..)| *of == name) else {
            add(name.to_owned(), format, Elem::F32)?;
            continue;
        };
        let attrs = group.map_or_else(Attrs::default, |(word, size)| Attrs::default().with(word, size));
        for bits in *bits {
            let attrs = attrs.clone().with("bits", f64::from(*bits));
            let unit = if *bits == 1 { "bit" } else { "bits" };
            add(format!("{name} {bits} {unit}"), Format::parse(name, &attrs)?, Elem::F32)?;
        }
        if bits.is_empty() {
            add(name.to_owned(), Format::parse(name, &attrs)?, Elem::F32)?;
        }
    }
    all.sort_by(|a, b| a.bits.total_cmp(&b.bits));
    Ok(all)
}

/// The formats as JSON, with the size of the matrix that is shown and of the one that is multiplied by.
pub fn formats_json(shown: &[Shown], caps: &Caps) -> String {
    let one =
        |s: &Shown| object(&[("name", text(&s.label)), ("holds", text(s.format.holds())), ("bits", number(s.bits))]);
    object(&[
        ("side", SIDE.to_string()),
        ("multiplied", multiplied(caps).to_string()),
        ("formats", list(shown.iter().map(one))),
    ])
}

/// The matrix: the grooves of a millstone, which are smooth, under noise; three columns that are louder than the others, and a few
/// numbers that are far out. It is the same every time.
pub fn matrix() -> Vec<f32> {
    const OUT: usize = 48;
    const LOUD: [usize; 3] = [41, 150, 214];
    let mut random = Random::new("the matrix of the page");
    let mut all = Vec::with_capacity(SIDE * SIDE);
    for n in 0..SIDE {
        for k in 0..SIDE {
            let at = |i: usize| (i as f32 + 0.5) / SIDE as f32 - 0.5;
            let (y, x) = (at(n), at(k));
            let (radius, angle) = (x.hypot(y), y.atan2(x));
            // Grooves fade towards the eye of the stone, where they would be finer than numbers are.
            let groove = (9.0 * angle + 22.0 * radius).sin() * (1.0 - (-(radius * 7.0).powi(2)).exp());
            let wave = (5.0 * x - 3.0 * y).sin();
            let loud = if LOUD.contains(&k) { 4.0 } else { 1.0 };
            all.push(0.02 * loud * (0.8 * groove + 0.35 * wave + 0.35 * random.normal()));
        }
    }
    for _ in 0..OUT {
        let at = (random.uniform() * all.len() as f32) as usize;
        let sign = if random.uniform() < 0.5 { -1.0 } else { 1.0 };
        if let Some(v) = all.get_mut(at) {
            *v = sign * (0.12 + 0.12 * random.uniform());
        }
    }
    all
}

/// The matrix in a format.
pub fn encoded(shown: &Shown, values: &[f32]) -> Result<Packed<'static>> {
    let dtype = match (shown.format, shown.dense) {
        (Format::Dense, Elem::F16) => Dtype::F16,
        (Format::Dense, Elem::Bf16) => Dtype::Bf16,
        _ => return Packed::encode(shown.format, SIDE, SIDE, values),
    };
    let part = Part::new(dtype, &[SIDE, SIDE], shown.dense.encode(values));
    Packed::new(shown.format, SIDE, SIDE, [("w".to_owned(), part)].into())
}

/// What a format made of the matrix.
#[derive(Debug, PartialEq)]
pub struct Loss {
    /// The RMS of the errors over that of the numbers.
    pub relative: f64,
    /// The largest error, over the RMS of the numbers.
    pub largest: f64,
    /// The RMS of the numbers.
    pub rms: f64,
    /// How many errors are in each bin.
    pub bins: Vec<u32>,
    /// The outer edge of the bins, over the RMS of the numbers.
    pub reach: f64,
}

/// What was lost from `values` to `decoded`.
pub fn loss(values: &[f32], decoded: &[f32]) -> Loss {
    let errors = || values.iter().zip(decoded).map(|(v, d)| f64::from(*d) - f64::from(*v));
    let mean = |sum: f64| (sum / values.len() as f64).sqrt();
    let rms = mean(values.iter().map(|v| f64::from(*v).powi(2)).sum());
    let error = mean(errors().map(|e| e * e).sum());
    let largest = errors().fold(0.0f64, |most, e| most.max(e.abs()));
    let (middle, mut bins) = ((BINS / 2) as f64, vec![0; BINS]);
    for e in errors() {
        let at = if error > 0.0 { (e / (REACH * error) * (middle + 0.5)).round() } else { 0.0 };
        if let Some(bin) = bins.get_mut((at.clamp(-middle, middle) + middle) as usize) {
            *bin += 1;
        }
    }
    Loss { relative: error / rms, largest: largest / rms, rms, bins, reach: REACH * error / rms }
}

impl Loss {
    /// As JSON; `device` is how many numbers the device decoded to the same bits, where there is one.
    pub fn json(&self, name: &str, bytes: usize, device: Option<usize>) -> String {
        object(&[
            ("name", text(name)),
            ("error", number(self.relative)),
            ("largest", number(self.largest)),
            ("rms", number(self.rms)),
            ("reach", number(self.reach)),
            ("bins", list(self.bins.iter().map(ToString::to_string))),
            ("bytes", bytes.to_string()),
            ("same", device.map_or_else(|| "null".to_owned(), |same| same.to_string())),
        ])
    }
}

/// How many numbers the device decodes to the bits that the host has.
pub async fn same_on_device(gpu: &Dispatcher, packed: &Packed<'_>, decoded: &[f32]) -> Result<usize> {
    let (w, y) = (gpu.weight(packed)?, gpu.zeros([SIDE, SIDE], Elem::F32)?);
    let mut recorder = gpu.record()?;
    // As an op of the case table, which is compiled for it already.
    let op: &dyn AnyOp = &Dequantize { w: &w, y: &y };
    recorder.run(op)?;
    recorder.submit()?;
    let got = y.read().await?;
    Ok(got.iter().zip(decoded).filter(|(a, b)| a.to_bits() == b.to_bits()).count())
}

/// Rows and columns of the weight that is multiplied by: a layer of an 8-billion model, and less where a processor has to do it.
fn multiplied(caps: &Caps) -> usize {
    if caps.kind == DeviceKind::Cpu { 1024 } else { 4096 }
}

/// A weight of a case, of which 256 rows are made at most.
pub fn weight(format: Format, dense: Elem, shape: [usize; 2]) -> WeightInput {
    let deviation = 1.0 / (shape[1] as f32).sqrt();
    let rows = shape[0].min(256);
    WeightInput { role: "w", shape, rows, fill: Fill::Normal { mean: 0.0, deviation }, format, dense }
}

/// One row of activations times a weight in this format, as a case like those of the table.
pub fn product(shown: &Shown, caps: &Caps) -> Case {
    let side = multiplied(caps);
    let (fill, stored) = (Fill::Normal { mean: 0.0, deviation: 1.0 }, Stored::Activation);
    Case {
        name: format!("linear/weights-{}", shown.label),
        op: "linear",
        title: shown.label.clone(),
        model: "",
        phase: "decode",
        attrs: Attrs::default(),
        inputs: vec![Input { role: "x", shape: vec![1, side], fill, stored }],
        weights: vec![weight(shown.format, shown.dense, [side, side])],
        outputs: vec![Output { role: "y", shape: vec![1, side], stored }],
        storages: vec![Elem::F32],
        real: true,
        skew: 0,
        flops: 2 * (side * side) as u64,
    }
}

/// Checks the product by its best plan and times it.
pub async fn multiply(gpu: &Dispatcher, shown: &Shown, roof: &Roof) -> Result<Row> {
    let effort = Effort::page();
    let case = product(shown, gpu.caps());
    let trial = Trial::new(gpu, &case, Elem::F32, Some(&effort))?;
    let best = trial.plans()?.into_iter().next().map(|plan| plan.name).unwrap_or_default();
    Ok(trial.row(&best, Some(roof), &effort).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_that_can_be_written_is_shown_by_bits() {
        let shown = formats().expect("formats");
        let named = |name: &str| shown.iter().filter(|s| s.format.name() == name).count();
        for format in Format::all() {
            assert_eq!(named(format.name()) > 0, format.encodes(), "{format}");
        }
        assert_eq!([named("dense"), named("mlx.affine"), named("gguf.q4_0")], [3, 6, 1]);
        assert!(shown.iter().all(|s| (1.0..=32.0).contains(&s.bits)), "{shown:?}");
        assert!(shown.windows(2).all(|two| two[0].bits <= two[1].bits && two[0].label != two[1].label));
        let json = formats_json(&shown, &Caps::baseline());
        assert!(json.starts_with(r#"{"side":256,"multiplied":"#) && json.contains(r#""name":"gguf.q4_0""#), "{json}");
    }

    #[test]
    fn errors_fall_with_bits_and_bins_hold_every_number() {
        let (values, shown) = (matrix(), formats().expect("formats"));
        assert_eq!(values.len(), SIDE * SIDE);
        assert_eq!(values, matrix());
        let of = |label: &str| {
            let shown = shown.iter().find(|s| s.label == label).expect("a format");
            loss(&values, &encoded(shown, &values).expect("it can be written").decode())
        };
        assert_eq!(of("dense f32").relative, 0.0);
        let labels = ["gguf.q8_0", "gguf.q6_k", "gguf.q5_0", "gguf.q4_0", "gguf.tq2_0"];
        let errors = labels.map(|label| of(label).relative);
        assert!(errors[0] > 0.0 && errors.windows(2).all(|two| two[0] < two[1]), "{errors:?}");
        for label in ["dense f32", "gguf.q4_0", "hqq 1 bit"] {
            assert_eq!(of(label).bins.iter().sum::<u32>() as usize, SIDE * SIDE, "{label}");
        }
    }

    #[test]
    fn losses_of_numbers_that_are_known() {
        // The numbers have an RMS of 5, the errors one of 1/2.
        let lost = loss(&[3.0, -4.0, 5.0, -7.071_068], &[3.0, -4.0, 6.0, -7.071_068]);
        assert!((lost.rms - 5.0).abs() < 0.05 && (lost.relative * lost.rms - 0.5).abs() < 1e-6, "{lost:?}");
        assert!((lost.largest * lost.rms - 1.0).abs() < 1e-6, "{lost:?}");
        assert_eq!((lost.bins[BINS / 2], lost.bins[BINS / 2 + 14]), (3, 1), "{lost:?}");
    }

    #[test]
    fn every_format_is_multiplied_by() {
        let caps = Caps::baseline();
        for shown in formats().expect("formats") {
            let plans = product(&shown, &caps).plans(Elem::F32, &caps);
            assert!(plans.as_ref().is_ok_and(|plans| !plans.is_empty()), "{}: {plans:?}", shown.label);
        }
    }
}
