//! Quantisation of activations: shapes of real models, and shapes and values that hurt.

use std::collections::BTreeMap;

use super::codes::{Coding, codes};
use super::{Case, Fill, Input, Output, Stored, User};
use crate::error::Result;
use crate::ops::norm::CODE_FLOOR;
use crate::ops::quantize::QuantizeRows;
use crate::proof::{Attrs, Expected, Roles};
use crate::reference::Array;
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["quantize_rows"];

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    let zero = if a.flag("symmetric", true)? { None } else { Some(r.need("zero")?) };
    let (bits, floor) = (a.number("bits", 8.0)? as u32, a.number("floor", f64::from(CODE_FLOOR))? as f32);
    let op = QuantizeRows { zero, bits, floor, ..QuantizeRows::new(r.need("x")?, r.need("q")?, r.need("scale")?) };
    a.finish()?;
    r.finish()?;
    user(&op)
}

/// The numbers of x are exact: all that is off is the arithmetic of the codes.
pub(super) fn expected(case: &Case, arrays: &BTreeMap<&'static str, Array>) -> Result<Vec<Expected>> {
    let a = case.attrs.reader(case.op);
    let coding = Coding {
        bits: a.number("bits", 8.0)? as u32,
        symmetric: a.flag("symmetric", true)?,
        // A floor is an f32 to the op.
        floor: f64::from(a.number("floor", f64::from(CODE_FLOOR))? as f32),
    };
    let x = &arrays["x"];
    let len = x.shape.last().copied().unwrap_or(1);
    Ok(codes("q", x, &vec![0.0; x.data.len()], len, coding))
}

const NORMAL: Fill = normal(1.0);

const fn normal(deviation: f32) -> Fill {
    Fill::Normal { mean: 0.0, deviation }
}

/// Symmetric codes of so many bits.
fn make(name: &str, shape: &[usize], bits: u32, fill: Fill, phase: &'static str) -> Case {
    let rows: usize = shape.iter().rev().skip(1).product();
    let output = |role, shape: &[usize], elem| Output { role, shape: shape.to_vec(), stored: Stored::Always(elem) };
    Case {
        name: format!("quantize_rows/{name}"),
        op: OPS[0],
        title: name.replace('-', " "),
        model: "",
        phase,
        attrs: Attrs::default().with("bits", f64::from(bits)),
        inputs: vec![Input { role: "x", shape: shape.to_vec(), fill, stored: Stored::Activation }],
        outputs: vec![output("q", shape, Elem::I8), output("scale", &[rows], Elem::F32)],
        storages: vec![Elem::F32, Elem::F16, Elem::Bf16],
        real: false,
        skew: 0,
        // Magnitude and maximum, division and rounding.
        flops: shape.iter().product::<usize>() as u64 * 4,
    }
}

/// The same, not symmetric.
fn asymmetric(case: Case) -> Case {
    let mut case = Case { attrs: case.attrs.with("symmetric", false), ..case };
    let scale = case.outputs[1].clone();
    case.outputs[0].stored = Stored::Always(Elem::U8);
    case.outputs.push(Output { role: "zero", stored: Stored::Always(Elem::I32), ..scale });
    case.name.push_str("-asymmetric");
    case.title.push_str(" asymmetric");
    case
}

fn with(case: Case, name: &str, value: f64) -> Case {
    Case { attrs: case.attrs.with(name, value), ..case }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    // What comes into the linears of Llama-3-8B, and into the last one of its MLP.
    for (k, name) in [(4096, "llama3-8b"), (14_336, "llama3-8b-mlp")] {
        for (rows, phase) in [(512, "prefill"), (1, "decode")] {
            let case = make(&format!("{name}-{phase}-{rows}"), &[rows, k], 8, NORMAL, phase);
            let title = format!("{} {rows}", if k == 4096 { "hidden state" } else { "MLP" });
            all.push(Case { model: "Llama-3-8B", real: true, title, ..case });
        }
    }
    let case = make("llama3-8b-prefill-512", &[512, 4096], 8, NORMAL, "prefill");
    let title = "hidden state 512".to_owned();
    all.push(asymmetric(Case { model: "Llama-3-8B", real: true, title, ..case }));
    // Both ways of each.
    let mut both = Vec::new();
    // Lengths around every border: a lane, a vec4, a subgroup, a workgroup, registers.
    let lens = [1, 3, 31, 33, 127, 129, 1023, 4099, 8192, 8193, 16_385];
    for (i, (k, rows)) in lens.into_iter().zip([5, 7, 9, 4, 6, 3, 70, 2, 2, 2, 3]).enumerate() {
        let bits = [8, 4, 2][i % 3];
        both.push(make(&format!("length-{k}-bits-{bits}"), &[rows, k], bits, NORMAL, "odd lengths"));
    }
    for bits in 2..=8 {
        both.push(make(&format!("bits-{bits}"), &[67, 128], bits, NORMAL, "every width"));
    }
    both.push(make("huge-1x262147", &[1, 262_147], 8, NORMAL, "one huge row"));
    both.push(make("tiny-70001x3", &[70_001, 3], 8, NORMAL, "many tiny rows"));
    both.push(make("several-dimensions", &[2, 3, 4, 8], 8, NORMAL, "several dimensions"));
    both.push(make("no-rows", &[0, 64], 8, NORMAL, "nothing to do"));
    for (k, skew) in [(64, 0), (63, 1), (4096, 3), (2050, 5), (12_288, 0), (8197, 7), (256, 4)] {
        both.push(Case { skew, ..make(&format!("view-{k}-skew-{skew}"), &[5, k], 8, NORMAL, "views") });
    }
    for k in [129, 4096] {
        both.push(make(&format!("zeros-{k}"), &[3, k], 8, Fill::Constant(0.0), "zero rows"));
        both.push(make(&format!("constant-{k}"), &[3, k], 4, Fill::Constant(1234.5), "constant rows"));
        both.push(make(&format!("constant-negative-{k}"), &[3, k], 8, Fill::Constant(-0.3), "constant rows"));
        both.push(make(&format!("large-{k}"), &[3, k], 8, normal(1e4), "values of 1e4"));
        both.push(make(&format!("positive-{k}"), &[3, k], 8, Fill::Uniform(0.5, 1.5), "of one sign"));
        both.push(make(&format!("negative-{k}"), &[3, k], 4, Fill::Uniform(-1.5, -0.5), "of one sign"));
        let floor = make(&format!("floor-{k}"), &[3, k], 8, normal(0.03), "below the floor");
        both.push(with(floor, "floor", 0.5));
        // F16 has neither.
        for (name, deviation) in [("tiny", 1e-20), ("subnormal", 1e-39)] {
            let case = make(&format!("{name}-{k}"), &[3, k], 8, normal(deviation), "tiny numbers");
            both.push(Case { storages: vec![Elem::F32, Elem::Bf16], ..with(case, "floor", 0.0) });
        }
        let huge = make(&format!("huge-values-{k}"), &[3, k], 8, normal(2e37), "the largest numbers");
        both.push(Case { storages: vec![Elem::F32, Elem::Bf16], ..huge });
    }
    let subnormal = make("subnormal-floor", &[3, 40], 8, normal(1e-39), "tiny numbers");
    all.push(Case { storages: vec![Elem::F32, Elem::Bf16], ..subnormal });
    for case in both {
        all.push(asymmetric(case.clone()));
        all.push(case);
    }
    all
}
