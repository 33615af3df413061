//! Weights made of numbers: every format that devices encode in shapes that hurt, and matrices of real models.
//!
//! The specification is the host's encoder, to the bit: what is compared are the bytes of the weight on the device. Numbers that hurt, and ties
//! above all, are in `tests/encode.rs`.

use super::{Arrays, Case, Fill, Input, Stored, User, WeightInput, linear};
use crate::error::Result;
use crate::formats::Format;
use crate::formats::laid::Laid;
use crate::ops::linear::Encode;
use crate::proof::{Attrs, Expected, Roles};
use crate::reference;
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["encode"];

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    attrs.reader(op).finish()?;
    let op = Encode { x: r.need("x")?, w: r.weight("w")? };
    r.finish()?;
    user(&op)
}

pub(super) fn expected(case: &Case, arrays: &Arrays, _: Elem) -> Result<Vec<Expected>> {
    let values: Vec<f32> = arrays["x"].data.iter().map(|v| *v as f32).collect();
    let mut want = Vec::new();
    for weight in &case.weights {
        want = reference::encode(&Laid::words(&weight.of(&values, weight.shape[0])?)?);
    }
    Ok(vec![Expected::exact("w", want)])
}

const FLOATS: &[Elem] = &[Elem::F32, Elem::F16, Elem::Bf16];

/// A matrix of `[n,k]` into a format; the weight holds other numbers before, of so many rows.
fn make(name: &str, [n, k]: [usize; 2], rows: usize, format: Format) -> Case {
    let fill = |deviation| Fill::Normal { mean: 0.0, deviation };
    Case {
        name: format!("encode/{name}"),
        op: OPS[0],
        title: format!("[{n}, {k}] into {format}"),
        model: "",
        phase: "every format",
        attrs: Attrs::default(),
        inputs: vec![Input { role: "x", shape: vec![n, k], fill: fill(0.02), stored: Stored::Activation }],
        weights: vec![WeightInput { role: "w", shape: [n, k], rows, fill: fill(3.0), format, dense: Elem::F32 }],
        outputs: Vec::new(),
        storages: vec![Elem::F32],
        real: false,
        skew: 0,
        // Magnitude and maximum, product and rounding.
        flops: 4 * (n * k) as u64,
    }
}

/// The formats, by their names among those of linear layers.
const ENCODED: [&str; 43] = [
    "dense",
    "int8",
    "q4_0",
    "q4_1",
    "q5_0",
    "q5_1",
    "q8_0",
    "q2_k",
    "q3_k",
    "q4_k",
    "q5_k",
    "q6_k",
    "iq4_nl",
    "iq4_xs",
    "tq1_0",
    "tq2_0",
    "mxfp4",
    "nvfp4",
    "mlx-mxfp4",
    "mlx-mxfp8",
    "awq-gemm",
    "awq-gemv",
    "awq-gemv_fast",
    "gptq2",
    "gptq3",
    "gptq4",
    "gptq8",
    "mlx3",
    "mlx4",
    "mlx6",
    "hqq3",
    "hqq4",
    "onnx2",
    "onnx4",
    "e4m3",
    "e4m3-block",
    "e5m2",
    "sparse24",
    "group_ic",
    "hqq4-axis0",
    "lut16",
    "bitnet",
    "bcq",
];

/// Those that are timed.
const TIMED: [&str; 16] = [
    "dense",
    "int8",
    "q4_0",
    "q8_0",
    "q5_1",
    "q4_k",
    "q6_k",
    "mxfp4",
    "awq-gemm",
    "mlx4",
    "e4m3",
    "e4m3-block",
    "group_ic",
    "nf4",
    "bitnet",
    "bcq",
];

/// Shapes that hurt: format, N, K, what begins before x in elements, and why.
const HURTS: &[(&str, usize, usize, usize, &str)] = &[
    ("nf4", 38, 192, 0, "blocks that end with the rows"),
    ("fp4", 38, 192, 0, "blocks that end with the rows"),
    ("onnx-bnb4", 38, 96, 0, "blocks that end with the rows"),
    ("onnx8", 38, 256, 0, "blocks that end with the rows"),
    ("mlx-nvfp4", 38, 96, 0, "blocks that end with the rows"),
    ("owq", 38, 96, 0, "blocks that end with the rows"),
    ("nf4", 37, 101, 0, "scales anywhere"),
    ("onnx-bnb4", 37, 101, 0, "scales anywhere"),
    ("mlx-nvfp4", 37, 48, 0, "scales anywhere"),
    ("hqq1", 40, 24, 0, "scales anywhere"),
    ("e4m3-block", 300, 200, 1, "scales anywhere"),
    ("group_ic", 129, 33, 1, "scales anywhere"),
    ("hqq4-axis0", 96, 34, 1, "scales anywhere"),
    ("bitnet", 36, 35, 1, "scales anywhere"),
    ("bcq", 96, 40, 3, "scales anywhere"),
    ("q4_0", 1, 32, 0, "words that hold scales of two rows"),
    ("q4_0", 3, 32, 0, "words that hold scales of two rows"),
    ("q4_0", 31, 96, 0, "words that hold scales of two rows"),
    ("q4_0", 33, 32, 0, "words that hold scales of two rows"),
    ("q4_0", 127, 160, 0, "words that hold scales of two rows"),
    ("q4_0", 129, 32, 0, "words that hold scales of two rows"),
    ("q4_k", 1, 256, 0, "words that hold scales of two rows"),
    ("q6_k", 3, 256, 0, "words that hold scales of two rows"),
    ("iq4_xs", 31, 512, 0, "words that hold scales of two rows"),
    ("q4_k", 33, 256, 0, "words that hold scales of two rows"),
    ("q6_k", 127, 768, 0, "words that hold scales of two rows"),
    ("iq4_xs", 1, 256, 0, "words that hold scales of two rows"),
    ("int8", 1, 1, 0, "rows of any length"),
    ("int8", 3, 31, 0, "rows of any length"),
    ("int8", 2, 33, 0, "rows of any length"),
    ("int8", 5, 127, 0, "rows of any length"),
    ("int8", 3, 129, 0, "rows of any length"),
    ("int8", 2, 4099, 0, "rows of any length"),
    ("dense", 7, 1, 0, "rows of any length"),
    ("dense", 7, 3, 0, "rows of any length"),
    ("dense", 7, 131, 0, "rows of any length"),
    ("q8_0", 9, 96, 1, "numbers that begin anywhere"),
    ("int8", 9, 77, 3, "numbers that begin anywhere"),
    ("mxfp4", 9, 64, 4, "numbers that begin anywhere"),
    ("dense", 9, 70, 5, "numbers that begin anywhere"),
];

pub(super) fn cases() -> Vec<Case> {
    let formats = linear::formats();
    let find =
        |name: &str| formats.iter().find(|(of, ..)| *of == name).map_or((Format::Dense, 1, 1), |f| (f.1, f.2, f.3));
    let mut all = Vec::new();
    for name in TIMED {
        for (layer, shape) in [("q", [4096, 4096]), ("kv", [1024, 4096])] {
            let case = make(&format!("llama3-8b-{layer}-{name}"), shape, 128, find(name).0);
            all.push(Case { model: "Llama-3-8B", phase: "weights", real: true, storages: vec![Elem::F16], ..case });
        }
    }
    for name in ENCODED {
        let (format, n, k) = find(name);
        let shape = [37usize.next_multiple_of(n), 101usize.next_multiple_of(k)];
        all.push(make(name, shape, shape[0], format));
    }
    for (name, n, k, skew, why) in HURTS {
        let mut case = make(&format!("{name}-{n}x{k}"), [*n, *k], *n, find(name).0);
        (case.phase, case.skew) = (why, *skew);
        if *skew > 0 {
            case.storages = FLOATS.to_vec();
        }
        all.push(case);
    }
    for dense in FLOATS {
        let mut case = make(&format!("dense-as-{}", dense.name()), [9, 50], 9, Format::Dense);
        (case.phase, case.storages) = ("numbers stored in another way", FLOATS.to_vec());
        case.weights[0].dense = *dense;
        all.push(case);
    }
    all
}
