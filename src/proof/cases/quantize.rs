//! Quantisation of activations: shapes of real models, and shapes and values that hurt.

use super::codes::{Coding, codes};
use super::{Arrays, Case, Fill, Input, Output, Stored, User, hand};
use crate::error::Result;
use crate::ops::norm::CODE_FLOOR;
use crate::ops::quantize::QuantizeRows;
use crate::proof::{Attrs, Expected, Roles};
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["quantize_rows"];

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    let zero = if a.flag("symmetric", true) { None } else { Some(r.need("zero")?) };
    let (bits, floor) = (a.number("bits", 8.0) as u32, a.number("floor", f64::from(CODE_FLOOR)) as f32);
    let op = QuantizeRows { zero, bits, floor, ..QuantizeRows::new(r.need("x")?, r.need("q")?, r.need("scale")?) };
    hand(&a, &r, user, &op)
}

/// The numbers of x are exact: all that is off is the arithmetic of the codes.
pub(super) fn expected(case: &Case, arrays: &Arrays, _: Elem) -> Result<Vec<Expected>> {
    let a = case.attrs.reader(case.op);
    let coding = Coding {
        bits: a.number("bits", 8.0) as u32,
        symmetric: a.flag("symmetric", true),
        // A floor is an f32 to the op.
        floor: f64::from(a.number("floor", f64::from(CODE_FLOOR)) as f32),
    };
    let x = &arrays["x"];
    let len = x.shape.last().copied().unwrap_or(1);
    Ok(codes("q", x, &vec![0.0; x.data.len()], len, coding))
}

const fn normal(deviation: f32) -> Fill {
    Fill::Normal { mean: 0.0, deviation }
}

/// What comes into the linears of Llama-3-8B, and into the last one of its MLP: name, title, rows, K, phase.
const REAL: [(&str, &str, usize, usize, &str); 4] = [
    ("llama3-8b-prefill-512", "hidden state 512", 512, 4096, "prefill"),
    ("llama3-8b-decode", "hidden state", 1, 4096, "decode"),
    ("llama3-8b-mlp-prefill-512", "MLP 512", 512, 14_336, "prefill"),
    ("llama3-8b-mlp-decode", "MLP", 1, 14_336, "decode"),
];

/// Rows, K, bits and skew: lengths around every border (a lane, a vec4, a subgroup, a workgroup, registers), every number of
/// bits, views, many rows, a long one and none.
const SHAPES: [(usize, usize, u32, usize); 28] = [
    (5, 1, 8, 0),
    (7, 3, 4, 0),
    (9, 31, 2, 0),
    (4, 33, 8, 0),
    (6, 127, 4, 0),
    (3, 129, 2, 0),
    (70, 1023, 8, 0),
    (2, 4099, 4, 0),
    (2, 8192, 2, 0),
    (2, 8193, 8, 0),
    (3, 16_385, 4, 0),
    (67, 128, 2, 0),
    (67, 128, 3, 0),
    (67, 128, 4, 0),
    (67, 128, 5, 0),
    (67, 128, 6, 0),
    (67, 128, 7, 0),
    (67, 128, 8, 0),
    (5, 64, 8, 0),
    (5, 63, 8, 1),
    (5, 256, 8, 4),
    (5, 4096, 8, 3),
    (5, 2050, 8, 5),
    (5, 12_288, 8, 0),
    (5, 8197, 8, 7),
    (70_001, 3, 8, 0),
    (1, 262_147, 8, 0),
    (0, 64, 8, 0),
];

/// Values that hurt: what they are, how many bits, the floor, and whether f16 has them.
const VALUES: [(&str, Fill, u32, f32, bool); 12] = [
    ("zeros", Fill::Constant(0.0), 8, CODE_FLOOR, true),
    ("constant", Fill::Constant(1234.5), 4, CODE_FLOOR, true),
    ("negative-constant", Fill::Constant(-0.3), 8, CODE_FLOOR, true),
    ("values-of-1e4", normal(1e4), 8, CODE_FLOOR, true),
    ("positive", Fill::Uniform(0.5, 1.5), 8, CODE_FLOOR, true),
    ("negative", Fill::Uniform(-1.5, -0.5), 4, CODE_FLOOR, true),
    ("below-the-floor", normal(0.03), 8, 0.5, true),
    ("tiny", normal(1e-20), 8, 0.0, false),
    ("subnormal", normal(1e-39), 8, 0.0, false),
    ("largest", normal(2e37), 2, CODE_FLOOR, false),
    // Not symmetric, the code of 0 and that of the last number both lie on a tie, and would together be one past the last code.
    ("ties-8", Fill::These(&[-127.5, 127.5, 0.0, 1.0]), 8, CODE_FLOOR, true),
    ("ties-4", Fill::These(&[-7.5, 7.5, 0.0, 1.0]), 4, CODE_FLOOR, true),
];

/// Symmetric codes.
fn symmetric(name: &str, shape: &[usize], fill: Fill, bits: u32, floor: f32) -> Case {
    let rows: usize = shape.iter().rev().skip(1).product();
    let output = |role, shape: &[usize], elem| Output { role, shape: shape.to_vec(), stored: Stored::Always(elem) };
    Case {
        name: format!("quantize_rows/{name}"),
        op: OPS[0],
        title: name.replace('-', " "),
        model: "",
        phase: "",
        attrs: Attrs::default().with("bits", f64::from(bits)).with("floor", f64::from(floor)),
        inputs: vec![Input { role: "x", shape: shape.to_vec(), fill, stored: Stored::Activation }],
        weights: Vec::new(),
        outputs: vec![output("q", shape, Elem::I8), output("scale", &[rows], Elem::F32)],
        storages: vec![Elem::F32, Elem::F16, Elem::Bf16],
        real: false,
        skew: 0,
        // Magnitude and maximum, division and rounding.
        flops: shape.iter().product::<usize>() as u64 * 4,
    }
}

/// The same, not symmetric.
fn asymmetric(case: &Case) -> Case {
    let mut case = Case { attrs: case.attrs.clone().with("symmetric", false), ..case.clone() };
    case.outputs[0].stored = Stored::Always(Elem::U8);
    case.outputs.push(Output { role: "zero", stored: Stored::Always(Elem::I32), ..case.outputs[1].clone() });
    case.name.push_str("-asymmetric");
    case.title.push_str(" asymmetric");
    case
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, title, rows, k, phase) in REAL {
        let case = symmetric(name, &[rows, k], normal(1.0), 8, CODE_FLOOR);
        all.push(Case { model: "Llama-3-8B", phase, real: true, title: title.to_owned(), ..case });
    }
    all.push(asymmetric(&all[0]));
    let first = all.len();
    for (rows, k, bits, skew) in SHAPES {
        let case = symmetric(&format!("{rows}x{k}-bits-{bits}"), &[rows, k], normal(1.0), bits, CODE_FLOOR);
        all.push(Case { skew, phase: "odd shapes", ..case });
    }
    all.push(Case { phase: "several dimensions", ..symmetric("2x3x4x8", &[2, 3, 4, 8], normal(1.0), 8, CODE_FLOOR) });
    for (name, fill, bits, floor, f16) in VALUES {
        for k in [129, 4096] {
            let mut case = symmetric(&format!("{name}-{k}"), &[3, k], fill, bits, floor);
            case.phase = "values that hurt";
            if !f16 {
                case.storages.remove(1);
            }
            // Values of one length in each storage are enough.
            if k == 129 {
                case.storages.truncate(1);
            }
            all.push(case);
        }
    }
    // What reads x is the same for both kinds.
    for at in first..all.len() {
        all.push(Case { storages: vec![Elem::F32], ..asymmetric(&all[at]) });
    }
    all
}
