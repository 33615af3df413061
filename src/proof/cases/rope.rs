//! Rotary position embedding: heads of real models, and shapes and values that hurt.

use super::{Arrays, Case, Fill, Input, Output, Stored, User, hand};
use crate::error::{Error, Result};
use crate::ops::attention::Order;
use crate::ops::attention::rope::Rope;
use crate::proof::{Attrs, Expected, Roles};
use crate::reference::{self, Array};
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["rope"];

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    let (x, cos, sin, y) = (r.need("x")?, r.need("cos")?, r.need("sin")?, r.need("y")?);
    let d = x.shape().dims().last().copied().unwrap_or(0);
    let rotary_dim = a.number("rotary_dim", d as f64);
    if rotary_dim < 0.0 || rotary_dim.fract() != 0.0 {
        let rule = "it must be a whole number";
        return Err(Error::Value { op, name: "rotary_dim", value: rotary_dim.to_string(), rule });
    }
    let op = Rope {
        positions: r.maybe("positions"),
        order: if a.flag("tokens_first", false) { Order::TokensFirst } else { Order::HeadsFirst },
        interleaved: a.flag("interleaved", false),
        rotary_dim: Some(rotary_dim as usize),
        ..Rope::new(x, cos, sin, y)
    };
    hand(&a, &r, user, &op)
}

/// The relative error of one f32 operation.
const U: f64 = 1.0 / (1u64 << 24) as f64;

pub(super) fn expected(case: &Case, arrays: &Arrays, _: Elem) -> Result<Vec<Expected>> {
    let a = case.attrs.reader(case.op);
    let (interleaved, tokens_first) = (a.flag("interleaved", false), a.flag("tokens_first", false));
    let positions = arrays.get("positions");
    let turn = |x: &Array, cos: &Array, sin: &Array| reference::rope(x, cos, sin, positions, interleaved, tokens_first);
    let want = turn(&arrays["x"], &arrays["cos"], &arrays["sin"]).data;
    // Two products and their sum, each rounded once, or the sum fused: |a·cos| + |b·sin| is the sum of the magnitudes, in which the
    // reference's minus is undone by a sine below 0 of the second number.
    let size = |x: &Array| x.with(x.data.iter().map(|v| v.abs()).collect());
    let (x, cos, sin) = (size(&arrays["x"]), size(&arrays["cos"]), size(&arrays["sin"]));
    let less = turn(&x, &cos, &sin.with(sin.data.iter().map(|v| -v).collect())).data;
    let more = turn(&x, &cos, &sin).data;
    let bound = less.iter().zip(&more).map(|(a, b)| 3.0 * U * a.abs().max(b.abs())).collect();
    Ok(vec![Expected::new("y", want, bound)])
}

/// The shape of an input.
fn shape_of<'a>(case: &'a Case, role: &str) -> Option<&'a [usize]> {
    case.inputs.iter().find(|i| i.role == role).map(|i| i.shape.as_slice())
}

/// The bytes of both tables of angles that are more than one row for each of so many tokens.
pub(super) fn unread_angles(case: &Case, tokens: usize) -> usize {
    let Some([rows, width]) = shape_of(case, "cos") else { return 0 };
    2 * rows.saturating_sub(tokens) * width * 4
}

/// Those of a case whose positions choose from its tables.
pub(super) fn unread_bytes(case: &Case) -> u64 {
    shape_of(case, "positions").map_or(0, |positions| unread_angles(case, positions.iter().product()) as u64)
}

/// What tells one case from another.
#[derive(Clone, Copy)]
struct Shape {
    x: [usize; 4],
    rotary_dim: usize,
    interleaved: bool,
    tokens_first: bool,
    /// Rows of a table that positions choose from; 0: a row for each token, 1: a row for each token of each batch element.
    table: usize,
    skew: usize,
}

const fn plain(x: [usize; 4], rotary_dim: usize) -> Shape {
    Shape { x, rotary_dim, interleaved: false, tokens_first: false, table: 0, skew: 0 }
}

fn case(name: &str, shape: Shape) -> Case {
    let Shape { x, rotary_dim, interleaved, tokens_first, table, skew } = shape;
    let half = rotary_dim / 2;
    let (batch, tokens) = (x[0], if tokens_first { x[1] } else { x[2] });
    let rows = match table {
        0 => vec![tokens, half],
        1 => vec![batch, tokens, half],
        p => vec![p, half],
    };
    let input = |role, shape: &[usize], fill, stored| Input { role, shape: shape.to_vec(), fill, stored };
    let normal = Fill::Normal { mean: 0.0, deviation: 1.0 };
    // The op takes tables as they are: what is in them need not lie on a circle.
    let mut inputs = vec![
        input("x", &x, normal, Stored::Activation),
        input("cos", &rows, Fill::Uniform(-1.0, 1.0), Stored::Always(Elem::F32)),
        input("sin", &rows, Fill::Uniform(-1.0, 1.0), Stored::Always(Elem::F32)),
    ];
    if table > 1 {
        // Some are outside the table.
        let fill = Fill::Uniform(-1.4, table as f32 + 0.4);
        inputs.push(input("positions", &[batch, tokens], fill, Stored::Always(Elem::I32)));
    }
    Case {
        name: format!("rope/{name}"),
        op: OPS[0],
        title: name.replace('-', " "),
        model: "",
        phase: "odd shapes",
        attrs: Attrs::default()
            .with("rotary_dim", rotary_dim as f64)
            .with("interleaved", interleaved)
            .with("tokens_first", tokens_first),
        inputs,
        weights: Vec::new(),
        outputs: vec![Output { role: "y", shape: x.to_vec(), stored: Stored::Activation }],
        storages: vec![Elem::F32, Elem::F16, Elem::Bf16],
        real: false,
        skew,
        flops: (x[0] * x[1] * x[2] * rotary_dim) as u64 * 3,
    }
}

const fn woven(x: [usize; 4], rotary_dim: usize) -> Shape {
    Shape { interleaved: true, ..plain(x, rotary_dim) }
}

const ODD: &[(&str, Shape)] = &[
    ("one-pair", plain([1, 1, 3, 2], 2)),
    ("nothing-turns", plain([2, 3, 1, 5], 0)),
    ("odd-tail", plain([2, 3, 31, 65], 26)),
    ("even-tail", plain([1, 3, 33, 64], 16)),
    ("d127", plain([3, 1, 7, 127], 126)),
    ("no-tokens", plain([2, 3, 0, 8], 8)),
    ("interleaved-odd", woven([2, 3, 5, 33], 26)),
    ("interleaved-six", woven([2, 3, 5, 12], 12)),
    ("interleaved-seven", woven([2, 3, 5, 16], 14)),
    ("interleaved-table", Shape { table: 9, ..woven([2, 3, 31, 64], 32) }),
    ("batches", Shape { table: 1, ..plain([3, 2, 5, 64], 64) }),
    ("table", Shape { table: 17, ..plain([3, 2, 33, 40], 40) }),
    ("tokens-first", Shape { tokens_first: true, ..plain([3, 5, 2, 64], 48) }),
    ("tokens-first-batches", Shape { tokens_first: true, table: 1, ..woven([3, 5, 2, 10], 10) }),
    ("skewed", Shape { skew: 1, ..plain([2, 2, 3, 64], 64) }),
    ("skewed-by-four", Shape { skew: 4, table: 6, ..plain([2, 2, 3, 64], 64) }),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, model, heads, d) in [
        ("llama3-8b", "Llama-3-8B", 32, 128),
        ("qwen3-0.6b", "Qwen3-0.6B", 16, 128),
        ("gemma3-4b", "Gemma-3-4B", 8, 256),
    ] {
        for (phase, tokens) in [("decode", 1), ("prefill", 512)] {
            let shape = Shape { tokens_first: true, table: 8192, ..plain([1, tokens, heads, d], d) };
            let made = case(&format!("{name}-{phase}"), shape);
            all.push(Case { model, phase, real: true, storages: vec![Elem::F16], title: "queries".into(), ..made });
        }
    }
    for (name, shape) in ODD {
        all.push(case(name, *shape));
    }
    for (name, fill) in [
        ("special", Fill::Special),
        ("values-of-1e4", Fill::Normal { mean: 0.0, deviation: 1e4 }),
        ("constant", Fill::Constant(-3.0)),
    ] {
        let mut made = case(name, plain([2, 3, 4, 48], 40));
        made.inputs[0].fill = fill;
        all.push(Case { phase: "values that hurt", ..made });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_that_no_token_has_are_not_read() {
        let cases = cases();
        let bytes = |name: &str| cases.iter().find(|case| case.name == name).map(|case| case.bytes(Elem::F16));
        // x and y, a position, and one row of each table.
        assert_eq!(bytes("rope/llama3-8b-decode"), Some(2 * 32 * 128 * 2 + 4 + 2 * 64 * 4));
        assert_eq!(bytes("rope/llama3-8b-prefill"), Some(512 * (2 * 32 * 128 * 2 + 4 + 2 * 64 * 4)));
    }
}
