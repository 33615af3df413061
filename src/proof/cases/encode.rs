//! Weights made of numbers: every format that devices encode in shapes that hurt, and matrices of real models.
//!
//! The specification is the host's encoder, to the bit: what is compared are the bytes of the weight on the device. Numbers that hurt, and ties
//! above all, are in `tests/encode.rs`.

use super::{Arrays, Case, Fill, Input, Stored, User, WeightInput, linear};
use crate::error::Result;
use crate::formats::Format;
use crate::formats::hqq::Hqq;
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
const ENCODED: [&str; 33] = [
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
    "gptq2",
    "gptq4",
    "gptq8",
    "mlx3",
    "mlx4",
    "mlx6",
    "hqq4",
    "onnx4",
    "e4m3",
    "e5m2",
    "sparse24",
];

/// Those that are timed.
const TIMED: [&str; 11] =
    ["dense", "int8", "q4_0", "q8_0", "q5_1", "q4_k", "q6_k", "mxfp4", "awq-gemm", "mlx4", "e4m3"];

pub(super) fn cases() -> Vec<Case> {
    let formats = linear::formats();
    let find =
        |name: &str| formats.iter().find(|(of, ..)| *of == name).map_or((Format::Dense, 1, 1), |f| (f.1, f.2, f.3));
    let mut all = Vec::new();
    for (name, format) in TIMED.map(|name| (name, find(name).0)).into_iter().chain([("nf4", find("nf4").0)]) {
        for (layer, shape) in [("q", [4096, 4096]), ("kv", [1024, 4096])] {
            let case = make(&format!("llama3-8b-{layer}-{name}"), shape, 128, format);
            all.push(Case { model: "Llama-3-8B", phase: "weights", real: true, storages: vec![Elem::F16], ..case });
        }
    }
    for name in ENCODED {
        let (format, n, k) = find(name);
        let shape = [37usize.next_multiple_of(n), 101usize.next_multiple_of(k)];
        all.push(make(name, shape, shape[0], format));
    }
    // Blocks that end with the rows, and scales of halves of 32.
    for (name, k) in [("nf4", 192), ("fp4", 192), ("onnx-bnb4", 96), ("onnx8", 256), ("mlx-nvfp4", 96), ("owq", 96)] {
        all.push(make(name, [38, k], 38, find(name).0));
    }
    all.push(make("hqq1", [40, 128], 40, Format::Hqq(Hqq { bits: 1, ..Hqq::default() })));
    let hurts = |name: &str, shape: [usize; 2], format: &str, why| {
        let case = make(&format!("{format}-{name}"), shape, shape[0], find(format).0);
        Case { phase: why, ..case }
    };
    for (n, k) in [(1, 32), (3, 32), (31, 96), (33, 32), (127, 160), (129, 32)] {
        all.push(hurts(&format!("{n}x{k}"), [n, k], "q4_0", "words that hold scales of two rows"));
    }
    for (n, k) in [(1, 256), (3, 256), (31, 512), (33, 256), (127, 768)] {
        for name in ["q4_k", "q6_k", "iq4_xs"] {
            all.push(hurts(&format!("{n}x{k}"), [n, k], name, "words that hold scales of two rows"));
        }
    }
    for (n, k) in [(1, 1), (3, 31), (2, 33), (5, 127), (3, 129), (2, 4099)] {
        all.push(hurts(&format!("{n}x{k}"), [n, k], "int8", "rows of any length"));
    }
    for k in [1, 3, 131] {
        all.push(hurts(&format!("7x{k}"), [7, k], "dense", "rows of any length"));
    }
    for (name, k, skew) in [("q8_0", 96, 1), ("int8", 77, 3), ("mxfp4", 64, 4), ("dense", 70, 5)] {
        let case = hurts("skew", [9, k], name, "numbers that begin anywhere");
        all.push(Case { skew, storages: FLOATS.to_vec(), ..case });
    }
    for dense in FLOATS {
        let mut case = hurts(&format!("as-{}", dense.name()), [9, 50], "dense", "numbers stored in another way");
        case.weights[0].dense = *dense;
        all.push(Case { storages: FLOATS.to_vec(), ..case });
    }
    all
}
