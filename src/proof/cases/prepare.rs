//! Preparation of weights: shapes that hurt along both axes, every rule, values far from zero, and a weight of a real model.

use super::codes::U;
use super::making::Making;
use super::{Arrays, Case, Fill, Input, Output, Stored, User, hand};
use crate::error::{Error, Result};
use crate::ops::prepare::{Along, Factors, MatrixStats, MatrixVector, Pick, Prune, Rescale, Rule, Standard};
use crate::proof::{Attrs, Expected, Reader, Roles, Value};
use crate::reference::{self, Array, Factor, Rescaling};
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["matrix_stats", "matrix_vector", "scale_factors", "rescale", "prune", "pick"];

fn along(op: &'static str, a: &Reader<'_>) -> Result<Along> {
    let name = a.text("along", "rows");
    let found = [Along::Rows, Along::Columns].into_iter().find(|along| along.name() == name);
    found.ok_or_else(|| Error::Value { op, name: "along", value: name.to_owned(), rule: "it must be rows or columns" })
}

/// The deviation of this name.
fn standard(name: &str, eps: f32) -> Option<Standard> {
    Some(match name {
        "outside" => Standard::Outside(eps),
        "unbiased" => Standard::Unbiased(eps),
        "biased" => Standard::Biased(eps),
        "scaled" => Standard::Scaled(eps),
        _ => return None,
    })
}

/// The rule that attributes and operands make.
fn rule<'t>(op: &'static str, a: &Reader<'_>, r: &Roles<'t>) -> Result<Rule<'t>> {
    let number = |name, absent| a.number(name, absent) as f32;
    let wrong = |name, value: &str, rule| Error::Value { op, name, value: value.to_owned(), rule };
    let count = a.number("count", 1.0) as u32;
    Ok(match a.text("rule", "") {
        "norm" => Rule::Norm { mean: r.need("mean")?, squares: r.need("squares")?, count },
        "unit" => Rule::Unit { mean: r.need("mean")?, squares: r.need("squares")?, length: r.maybe("length"), count },
        "standard" => {
            let name = a.text("by", "");
            let Some(by) = standard(name, number("eps", 0.0)) else {
                return Err(wrong("by", name, "it must be outside, unbiased, biased or scaled"));
            };
            let factor = number("factor", 1.0);
            Rule::Standard {
                mean: r.need("mean")?,
                squares: r.need("squares")?,
                gain: r.maybe("gain"),
                count,
                by,
                factor,
            }
        }
        "ratio" => Rule::Ratio { over: r.maybe("over"), under: r.need("under")? },
        "affine" => Rule::Affine {
            variance: r.need("variance")?,
            mean: r.maybe("mean"),
            weight: r.maybe("weight"),
            bias: r.maybe("bias"),
            eps: number("eps", 0.0),
        },
        "equal" => Rule::Equal { before: r.need("before")?, after: r.need("after")?, least: number("least", 0.0) },
        "power" => {
            Rule::Power { magnitude: r.need("magnitude")?, power: number("power", 0.5), least: number("least", 1e-4) }
        }
        "limit" => Rule::Limit {
            mean: r.need("mean")?,
            squares: r.need("squares")?,
            magnitude: r.need("magnitude")?,
            count,
            deviations: number("deviations", 1.0),
        },
        other => return Err(wrong("rule", other, "it must be the name of a rule")),
    })
}

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    match op {
        "matrix_stats" => {
            let op = MatrixStats { w: r.need("w")?, along: along(op, &a)?, stats: r.need("stats")? };
            hand(&a, &r, user, &op)
        }
        "matrix_vector" => {
            let op = MatrixVector {
                minus: r.maybe("minus"),
                along: along(op, &a)?,
                bias: r.maybe("bias"),
                alpha: a.number("alpha", 1.0) as f32,
                ..MatrixVector::new(r.need("w")?, r.need("x")?, r.need("y")?)
            };
            hand(&a, &r, user, &op)
        }
        "scale_factors" => {
            let op = Factors { rule: rule(op, &a, &r)?, scale: r.need("scale")?, shift: r.maybe("shift") };
            hand(&a, &r, user, &op)
        }
        "rescale" => {
            let op = Rescale {
                row_shift: r.maybe("row_shift"),
                col_shift: r.maybe("col_shift"),
                row: r.maybe("row"),
                col: r.maybe("col"),
                add: r.maybe("add"),
                limit: r.maybe("limit"),
                ..Rescale::new(r.need("w")?, r.need("y")?)
            };
            hand(&a, &r, user, &op)
        }
        "prune" => {
            let (drop, of) = (a.number("drop", 2.0) as u32, a.number("of", 4.0) as u32);
            let op = Prune { w: r.need("w")?, norm: r.maybe("norm"), drop, of, y: r.need("y")? };
            hand(&a, &r, user, &op)
        }
        _ => {
            let op =
                Pick { w: r.need("w")?, minus: r.maybe("minus"), places: r.need("places")?, value: r.need("value")? };
            hand(&a, &r, user, &op)
        }
    }
}

/// An attribute that is a name.
fn text<'c>(case: &'c Case, name: &str) -> &'c str {
    match case.attrs.0.get(name) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

/// An attribute that is a number.
fn value(case: &Case, name: &str, absent: f64) -> f64 {
    match case.attrs.0.get(name) {
        Some(Value::Number(v)) => *v,
        _ => absent,
    }
}

/// How often a term of a sum over so many is rounded at most: a lane adds every 128th number in a row, or every 32nd of a column, four
/// at a time, and lanes are added by halving.
fn depth(len: usize) -> f64 {
    (len.div_ceil(32) + 16) as f64
}

/// That a root is off by, in WGSL's own terms: 1 / inverseSqrt, of 2 and 2.5 ulp.
const ROOT: f64 = 9.0 * U;
/// That a division is off by: 2.5 ulp.
const DIVISION: f64 = 5.0 * U;

fn stats(case: &Case, w: &Array) -> Vec<Expected> {
    let rows = text(case, "along") != "columns";
    let want = reference::matrix_stats(w, rows);
    let (count, len) = if rows { (w.shape[0], w.shape[1]) } else { (w.shape[1], w.shape[0]) };
    let (d, len) = (depth(len), len as f64);
    let bound = (0..4 * count).map(|i| {
        let [squares, magnitude] = [1, 2].map(|stat| want.data[stat * count + i % count]);
        // The mean is off by its sum and its division, before what is left is taken out of it. Then squares are about another centre,
        // of which `off²·len` is taken away again, with the error of the sum of what is left.
        let off = (d * U + DIVISION + U) * magnitude;
        let all = squares + len * off * off;
        match i / count {
            // What is left: the sum of what the mean is off by, and the last addition.
            0 => (d + 3.0) * U * (all / len).sqrt() + DIVISION * off + U * magnitude,
            1 => {
                (d + 8.0) * U * all
                    + 2.0 * off * (d + 2.0) * U * (len * all).sqrt()
                    + (DIVISION + 4.0 * U) * len * off * off
            }
            2 => off,
            _ => 0.0,
        }
    });
    let bound = bound.collect();
    vec![Expected::new("stats", want.data, bound)]
}

fn product(case: &Case, arrays: &Arrays) -> Vec<Expected> {
    let rows = text(case, "along") != "columns";
    let alpha = f64::from(value(case, "alpha", 1.0) as f32);
    let get = |role: &str| arrays.get(role);
    let (w, x) = (&arrays["w"], &arrays["x"]);
    let want = reference::matrix_vector(w, get("minus"), rows, x, get("bias"), alpha);
    // The same of magnitudes: each term pays for the difference, the product and its sums, and then for alpha and the bias.
    let abs = |a: &Array| a.with(a.data.iter().map(|v| v.abs()).collect());
    let minus = Array { shape: w.shape.clone(), data: Array::or(get("minus"), 0.0, w.data.len()) };
    let difference = w.with(w.data.iter().zip(&minus.data).map(|(w, v)| (w - v).abs()).collect());
    let size = reference::matrix_vector(&difference, None, rows, &abs(x), None, alpha.abs());
    let d = depth(if rows { w.shape[1] } else { w.shape[0] });
    let bound = size.data.iter().zip(&want.data).map(|(size, y)| (d + 4.0) * U * size + 2.0 * U * y.abs()).collect();
    vec![Expected::new("y", want.data, bound)]
}

/// The factor i of a case, by its reference.
fn factor(case: &Case, arrays: &Arrays, i: usize) -> Factor {
    // Numbers are f32 to the op.
    let number = |name: &str, absent: f64| f64::from(value(case, name, absent) as f32);
    let of = |role: &str, absent: f64| arrays.get(role).map_or(absent, |a| a.data[i]);
    let (mean, squares, count) = (of("mean", 0.0), of("squares", 0.0), number("count", 1.0));
    match text(case, "rule") {
        "norm" => Factor::Norm { mean, squares, count },
        "unit" => Factor::Unit { mean, squares, count, length: of("length", 1.0) },
        "standard" => {
            let (eps, gain) = (number("eps", 0.0), of("gain", 1.0) * number("factor", 1.0));
            let (divisor, inside, least, outside) = match text(case, "by") {
                "outside" => (count - 1.0, 0.0, 0.0, eps),
                "unbiased" => (count - 1.0, eps, 0.0, 0.0),
                "biased" => (count, eps, 0.0, 0.0),
                _ => (1.0, 0.0, eps, 0.0),
            };
            Factor::Standard { mean, squares, divisor, inside, least, outside, gain }
        }
        "ratio" => Factor::Ratio { over: of("over", 1.0), under: of("under", 0.0) },
        "affine" => Factor::Affine {
            variance: of("variance", 0.0),
            mean,
            weight: of("weight", 1.0),
            bias: of("bias", 0.0),
            eps: number("eps", 0.0),
        },
        "equal" => Factor::Equal { before: of("before", 0.0), after: of("after", 0.0), least: number("least", 0.0) },
        "power" => {
            let (power, least) = (number("power", 0.5), number("least", 1e-4));
            Factor::Power { magnitude: of("magnitude", 0.0), power, least }
        }
        _ => Factor::Limit {
            mean,
            squares,
            magnitude: of("magnitude", 0.0),
            count,
            deviations: number("deviations", 1.0),
        },
    }
}

/// How far scale and shift may be off, as made by the kernel's formula.
fn factor_bound(factor: Factor, [scale, shift]: [f64; 2]) -> [f64; 2] {
    match factor {
        // Two products, a sum and a root, which halves what comes into it.
        Factor::Norm { .. } => [(ROOT + 2.0 * U) * scale, 0.0],
        Factor::Unit { .. } => [(ROOT + DIVISION + 2.0 * U) * scale.abs(), 0.0],
        // A division, two sums and a root; then a product and a division.
        Factor::Standard { .. } => [(ROOT + 2.0 * DIVISION + 4.0 * U) * scale.abs(), 0.0],
        Factor::Ratio { .. } => [DIVISION * scale.abs(), 0.0],
        Factor::Affine { mean, .. } => {
            let off = (ROOT + DIVISION + U) * scale.abs();
            [off, off * mean.abs() + 2.0 * U * (mean * scale).abs() + U * shift.abs()]
        }
        Factor::Equal { .. } => [(2.0 * ROOT + DIVISION) * scale, (2.0 * ROOT + DIVISION) * shift],
        // log2 is right within 3 ulp, and absolutely within 2^-21 near 1; exp2 within 3 + 2·|its argument| ulp.
        Factor::Power { magnitude, power, least } => {
            let log = magnitude.max(least).log2().abs();
            let argument = power.abs() * (8.0 * U + 6.0 * U * log) + 2.0 * U * power.abs() * log;
            let relative = std::f64::consts::LN_2 * argument + (3.0 + 2.0 * power.abs() * log) * 2.0 * U;
            [2.0 * relative * scale, 2.0 * relative * shift]
        }
        Factor::Limit { mean, squares, magnitude, count, deviations } => {
            // What is left of squares may be little beside what it is made of: then its root is off by the root of the error.
            let about = (squares + count * (mean * mean - magnitude * magnitude)).max(0.0);
            let error = U * (squares + 6.0 * count * (mean * mean + magnitude * magnitude)) + U * about;
            let root = (about + error).sqrt() - (about - error).max(0.0).sqrt();
            let by = (count - 1.0).max(1.0).sqrt();
            let deviation = root / by + (ROOT + DIVISION + 2.0 * U) * (about + error).sqrt() / by;
            [deviations * deviation + 2.0 * U * scale, 0.0]
        }
    }
}

fn factors(case: &Case, arrays: &Arrays) -> Vec<Expected> {
    let count = case.outputs[0].shape[0];
    let (mut want, mut bound) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for i in 0..count {
        let factor = factor(case, arrays, i);
        let made = reference::scale_factors(factor);
        let bounds = factor_bound(factor, made);
        for at in 0..2 {
            want[at].push(made[at]);
            bound[at].push(bounds[at]);
        }
    }
    let [scale, shift] = want;
    let [scale_bound, shift_bound] = bound;
    let all = [Expected::new("scale", scale, scale_bound), Expected::new("shift", shift, shift_bound)];
    all.into_iter().take(case.outputs.len()).collect()
}

fn rescaled(case: &Case, arrays: &Arrays) -> Vec<Expected> {
    let get = |role: &str| arrays.get(role);
    let by = Rescaling {
        row_shift: get("row_shift"),
        col_shift: get("col_shift"),
        row: get("row"),
        col: get("col"),
        add: get("add"),
        limit: get("limit"),
    };
    let (w, width) = (&arrays["w"], case.outputs[0].shape[1]);
    let want = reference::rescale(w, by, width);
    // The same of magnitudes without a limit: shifts are added and taken away, two products, a sum. A limit moves nothing further apart.
    let abs = |a: &Array, sign: f64| a.with(a.data.iter().map(|v| v.abs() * sign).collect());
    let of = |role: &str, sign: f64| get(role).map(|a| abs(a, sign));
    let (row_shift, col_shift) = (of("row_shift", -1.0), of("col_shift", -1.0));
    let (row, col, add) = (of("row", 1.0), of("col", 1.0), of("add", 1.0));
    let size = Rescaling {
        row_shift: row_shift.as_ref(),
        col_shift: col_shift.as_ref(),
        row: row.as_ref(),
        col: col.as_ref(),
        add: add.as_ref(),
        limit: None,
    };
    let shifted = row_shift.is_some() || col_shift.is_some();
    let steps = f64::from(u8::from(shifted)) * 2.0
        + [&row, &col, &add].iter().filter(|v| v.is_some()).count() as f64
        + if row.is_some() && col.is_some() { 1.0 } else { 0.0 };
    let size = reference::rescale(&abs(w, 1.0), size, width);
    // Nothing is rounded where there is nothing to do: then NaN and infinities come through as they are.
    let bound = size.data.iter().map(|v| if v.is_finite() { steps * U * v } else { 0.0 }).collect();
    vec![Expected::new("y", want.data, bound)]
}

fn pruned(case: &Case, arrays: &Arrays) -> Vec<Expected> {
    let (drop, of) = (value(case, "drop", 2.0) as usize, value(case, "of", 4.0) as usize);
    let (w, norm) = (&arrays["w"], arrays.get("norm"));
    let want = reference::prune(w, norm, drop, of);
    // A score is one product. Where two of a group differ by no more than its rounding, either may be the lower, and its number be there or not.
    let k = w.shape[1];
    let norms = Array::or(norm, 1.0, k);
    let mut bound = Vec::with_capacity(w.data.len());
    for (group, numbers) in w.data.chunks(of).enumerate() {
        let score = |i: usize| numbers[i].abs() * norms[(group * of + i) % k];
        for (i, number) in numbers.iter().enumerate() {
            let near = |j: usize| {
                let (a, b) = (score(i), score(j));
                i != j && a != b && (a - b).abs() <= 2.0 * U * a.max(b)
            };
            bound.push(if norm.is_some() && (0..of).any(near) { number.abs() } else { 0.0 });
        }
    }
    vec![Expected::new("y", want.data, bound)]
}

fn picked(arrays: &Arrays) -> Vec<Expected> {
    let places: Vec<[usize; 2]> = arrays["places"].data.chunks(2).map(|p| [p[0] as usize, p[1] as usize]).collect();
    let want = reference::pick(&arrays["w"], arrays.get("minus"), &places);
    // One difference, whose rounding is that of the storage.
    let bound = vec![0.0; want.data.len()];
    vec![Expected::new("value", want.data, bound)]
}

pub(super) fn expected(case: &Case, arrays: &Arrays, _: Elem) -> Result<Vec<Expected>> {
    Ok(match case.op {
        "matrix_stats" => stats(case, &arrays["w"]),
        "matrix_vector" => product(case, arrays),
        "scale_factors" => factors(case, arrays),
        "rescale" => rescaled(case, arrays),
        "prune" => pruned(case, arrays),
        _ => picked(arrays),
    })
}

const F32: &[Elem] = &[Elem::F32];
const FLOATS: &[Elem] = &[Elem::F32, Elem::F16, Elem::Bf16];
const NORMAL: Fill = Fill::Normal { mean: 0.0, deviation: 1.0 };

/// A case in the making.
struct Make(Box<Case>);

impl Making for Make {
    fn case(&mut self) -> &mut Case {
        &mut self.0
    }

    fn done(self) -> Case {
        *self.0
    }
}

impl Make {
    fn new(op: &'static str, name: &str, phase: &'static str) -> Self {
        Self(Box::new(Case {
            name: format!("{op}/{name}"),
            op,
            title: name.replace('-', " "),
            model: "",
            phase,
            attrs: Attrs::default(),
            inputs: Vec::new(),
            weights: Vec::new(),
            outputs: Vec::new(),
            storages: F32.to_vec(),
            real: false,
            skew: 0,
            flops: 0,
        }))
    }

    fn input(self, role: &'static str, shape: &[usize], fill: Fill) -> Self {
        self.stored(role, shape, fill, Stored::Activation)
    }

    fn stored(mut self, role: &'static str, shape: &[usize], fill: Fill, stored: Stored) -> Self {
        self.0.inputs.push(Input { role, shape: shape.to_vec(), fill, stored });
        self.0.flops = self.0.flops.max(2 * shape.iter().product::<usize>() as u64);
        self
    }

    /// f32 whatever the storage is, as all vectors that ops here make.
    fn made(mut self, role: &'static str, shape: &[usize]) -> Self {
        self.0.outputs.push(Output { role, shape: shape.to_vec(), stored: Stored::Always(Elem::F32) });
        self
    }

    fn y(mut self, shape: &[usize]) -> Self {
        self.0.outputs.push(Output { role: "y", shape: shape.to_vec(), stored: Stored::Activation });
        self
    }

    fn real(mut self) -> Self {
        (self.0.model, self.0.real, self.0.storages) = ("Qwen3-0.6B", true, vec![Elem::F16]);
        self
    }
}

/// Shapes around every border: a quad, a lane's walk, a team, the 32 columns of a workgroup, the rows that have a workgroup of their own.
const SHAPES: [[usize; 2]; 8] = [[1, 1], [3, 31], [31, 3], [33, 127], [129, 33], [5, 4099], [70, 256], [2, 8200]];
/// The weight of a real model: gate and up of Qwen3-0.6B.
const GATE: [usize; 2] = [3072, 1024];

fn of_stats(name: &str, [n, k]: [usize; 2], along: Along, fill: Fill, phase: &'static str) -> Make {
    let count = if along == Along::Rows { n } else { k };
    let name = format!("{name}-{}", along.name());
    let made = Make::new("matrix_stats", &name, phase).attr("along", along.name());
    made.input("w", &[n, k], fill).made("stats", &[4, count])
}

fn of_product(name: &str, [n, k]: [usize; 2], along: Along, phase: &'static str) -> Make {
    let [x, y] = if along == Along::Rows { [k, n] } else { [n, k] };
    let made = Make::new("matrix_vector", &format!("{name}-{}", along.name()), phase).attr("along", along.name());
    made.input("w", &[n, k], NORMAL).input("x", &[x], NORMAL).made("y", &[y])
}

fn of_rule(name: &str, rule: &str, count: usize, both: bool) -> Make {
    let made = Make::new("scale_factors", name, "rules").attr("rule", rule).made("scale", &[count]);
    if both { made.made("shift", &[count]) } else { made }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for along in [Along::Rows, Along::Columns] {
        all.push(of_stats("qwen3-0.6b-gate", GATE, along, NORMAL, "load").real());
        all.push(of_product("qwen3-0.6b-gate", GATE, along, "load").real());
        for [n, k] in SHAPES {
            let name = format!("{n}x{k}");
            let some = if n == 33 { FLOATS } else { F32 };
            all.push(of_stats(&name, [n, k], along, NORMAL, "odd shapes").storages(some));
            all.push(of_product(&name, [n, k], along, "odd shapes").storages(some));
        }
        for (name, fill) in [
            ("constant", Fill::Constant(1234.5)),
            ("far-from-zero", Fill::Normal { mean: 1000.0, deviation: 0.01 }),
            ("values-of-1e4", Fill::Normal { mean: 0.0, deviation: 1e4 }),
            ("zeros", Fill::Constant(0.0)),
        ] {
            all.push(of_stats(name, [67, 129], along, fill, "values that hurt"));
        }
        all.push(of_stats("special", [13, 37], along, Fill::Special, "NaN, infinities, zeros"));
        all.push(of_stats("skew", [20, 64], along, NORMAL, "operands that begin anywhere").storages(FLOATS).skew(1));
        let [n, k] = [40, 68];
        let count = if along == Along::Rows { n } else { k };
        // Two weights that are nearly alike.
        let near = Fill::Normal { mean: 1.0, deviation: 1e-3 };
        let made = of_product("difference", [n, k], along, "a difference, alpha, a bias").attr("alpha", -0.5);
        let mut made = made.input("minus", &[n, k], near).input("bias", &[count], NORMAL).storages(FLOATS).skew(3);
        made.0.inputs[0].fill = near;
        all.push(made);
    }

    let positive = Fill::Uniform(0.1, 2.0);
    let moments = |made: Make, n: usize| made.input("mean", &[n], NORMAL).input("squares", &[n], positive);
    all.push(moments(of_rule("norm", "norm", 129, false).attr("count", 17.0), 129));
    all.push(moments(of_rule("unit", "unit", 33, false).attr("count", 3.0), 33));
    let unit = moments(of_rule("unit-length", "unit", 65, false).attr("count", 300.0), 65);
    all.push(unit.input("length", &[65], NORMAL).storages(FLOATS).skew(1));
    let zeros = |role, made: Make| made.input(role, &[7], Fill::Constant(0.0));
    all.push(zeros("squares", zeros("mean", of_rule("unit-of-nothing", "unit", 7, false).attr("count", 4.0))));
    for (by, eps) in [("outside", 1e-5), ("unbiased", 1e-5), ("biased", 1e-6), ("scaled", 1e-4)] {
        let made = |name: &str| {
            of_rule(&format!("standard-{by}{name}"), "standard", 67, true)
                .attr("by", by)
                .attr("eps", eps)
                .attr("count", 27.0)
        };
        all.push(moments(made(""), 67).input("gain", &[67], NORMAL).attr("factor", 1.713_958_859_444_663_6));
        // A constant row: eps decides.
        let squares = Fill::Constant(0.0);
        all.push(made("-constant").input("mean", &[67], NORMAL).input("squares", &[67], squares));
    }
    all.push(of_rule("ratio", "ratio", 1, false).input("under", &[1], positive).input("over", &[1], NORMAL));
    all.push(of_rule("ratio-of-0", "ratio", 3, false).input("under", &[3], Fill::Constant(0.0)));
    let affine = |name: &str| of_rule(name, "affine", 131, true).attr("eps", 1e-5).input("variance", &[131], positive);
    let whole = affine("affine").input("mean", &[131], NORMAL).input("weight", &[131], NORMAL);
    all.push(whole.input("bias", &[131], NORMAL).storages(FLOATS));
    all.push(affine("affine-alone"));
    let skewed = affine("affine-skew").input("mean", &[131], NORMAL).input("weight", &[131], NORMAL);
    all.push(skewed.input("bias", &[131], NORMAL).skew(1));
    for (name, least) in [("equal", 0.0), ("equal-above", 0.5)] {
        let made = of_rule(name, "equal", 70, true).attr("least", least);
        all.push(made.input("before", &[70], positive).input("after", &[70], Fill::Uniform(1e-3, 9.0)));
    }
    // What is no more than the least makes no range alike, be it on one side only.
    let (zero, half) = ([&[0.0, 2.0, 0.0], &[2.0, 0.0, 0.0]], [&[0.5, 2.0, 0.5], &[2.0, 0.5, 0.5]]);
    for (name, least, [before, after]) in [("equal-of-0", 0.0, zero), ("equal-at-least", 0.5, half)] {
        let made = of_rule(name, "equal", 3, true).attr("least", least).input("before", &[3], Fill::These(before));
        all.push(made.input("after", &[3], Fill::These(after)));
    }
    for power in [0.0, 0.5, 1.0] {
        let made = of_rule(&format!("power-{power}"), "power", 70, true).attr("power", power);
        all.push(made.input("magnitude", &[70], Fill::Uniform(0.0, 3.0)));
    }
    all.push(of_rule("power-least", "power", 5, true).input("magnitude", &[5], Fill::Constant(0.0)));
    for (name, count, spread) in
        [("limit", 64.0, Fill::Uniform(60.0, 90.0)), ("limit-of-one", 1.0, Fill::Constant(0.0))]
    {
        let made = of_rule(name, "limit", 37, false).attr("count", count).attr("deviations", 3.0);
        let made = made.input("mean", &[37], Fill::Constant(0.25)).input("squares", &[37], spread);
        all.push(made.input("magnitude", &[37], Fill::Constant(if count > 1.0 { 0.8 } else { 0.25 })));
    }

    // All magnitudes are alike, but that the mean of them is rounded up: less than nothing is left of the squares.
    let made = of_rule("limit-below-0", "limit", 37, false).attr("count", 64.0).attr("deviations", 3.0);
    let made = made.input("mean", &[37], Fill::Constant(0.25)).input("squares", &[37], Fill::Constant(0.0));
    all.push(made.input("magnitude", &[37], Fill::Constant(0.25 + f32::EPSILON / 2.0)));

    let vectors = |made: Make, [n, k]: [usize; 2], row: usize| {
        let made = made.input("row_shift", &[n], NORMAL).input("col_shift", &[k], NORMAL);
        made.input("row", &[row], NORMAL).input("col", &[k], NORMAL).input("add", &[n], NORMAL)
    };
    for [n, k] in SHAPES {
        let made = Make::new("rescale", &format!("{n}x{k}"), "odd shapes").input("w", &[n, k], NORMAL).y(&[n, k]);
        let made = vectors(made, [n, k], n).input("limit", &[n], positive);
        all.push(made.storages(if n == 33 { FLOATS } else { F32 }));
    }
    let plain = |name: &str, phase, [n, k]: [usize; 2], fill| {
        Make::new("rescale", name, phase).input("w", &[n, k], fill).y(&[n, k])
    };
    all.push(vectors(plain("one-factor-for-all", "broadcast", [9, 64], NORMAL), [9, 64], 1).skew(1).storages(FLOATS));
    all.push(plain("copy", "nothing to do", [25, 66], Fill::Special).storages(FLOATS));
    let limited = plain("limit-special", "NaN, infinities, zeros", [25, 66], Fill::Special);
    all.push(limited.input("limit", &[25], positive));
    all.push(plain("empty", "no rows", [0, 8], NORMAL).input("row", &[0], NORMAL));
    for width in [63, 64, 1] {
        let made = Make::new("rescale", &format!("first-{width}-of-68"), "fewer columns").input("w", &[7, 68], NORMAL);
        let made = made.input("row_shift", &[7], NORMAL).input("col", &[68], NORMAL).y(&[7, width]);
        all.push(made.storages(FLOATS));
    }
    let fold = plain("qwen3-0.6b-gate", "load", GATE, NORMAL).input("col", &[GATE[1]], NORMAL);
    all.push(fold.real());

    let prune = |name: &str, [n, k]: [usize; 2], fill, phase| {
        Make::new("prune", name, phase).input("w", &[n, k], fill).y(&[n, k])
    };
    for (drop, of) in [(0.0, 4.0), (1.0, 4.0), (2.0, 4.0), (4.0, 8.0), (5.0, 16.0), (16.0, 16.0)] {
        let made = prune(&format!("{drop}-of-{of}"), [33, 48], NORMAL, "patterns").attr("drop", drop).attr("of", of);
        all.push(made.input("norm", &[48], positive).storages(if of == 4.0 { FLOATS } else { F32 }));
    }
    all.push(prune("magnitudes", [5, 132], NORMAL, "no norms").storages(FLOATS).skew(1));
    all.push(prune("ties", [5, 32], Fill::Constant(-0.5), "all alike"));
    all.push(prune("zeros", [5, 32], Fill::Constant(0.0), "all alike"));
    all.push(prune("special", [25, 32], Fill::Special, "NaN, infinities, zeros"));
    all.push(prune("qwen3-0.6b-gate", GATE, NORMAL, "load").input("norm", &[GATE[1]], positive).real());

    // Some places lie outside.
    for (name, minus) in [("places", false), ("places-less", true)] {
        let made = Make::new("pick", name, "places, some outside").input("w", &[33, 31], NORMAL);
        let made = if minus { made.input("minus", &[33, 31], NORMAL) } else { made };
        let made = made.stored("places", &[70, 2], Fill::Uniform(0.0, 40.0), Stored::Always(Elem::U32));
        all.push(made.made("value", &[70]).storages(FLOATS).skew(usize::from(minus)));
    }
    all.into_iter().map(Making::done).collect()
}
