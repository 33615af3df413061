//! The norms: shapes of real models, and shapes that hurt.

use super::codes::{Coding, U, codes};
use super::making::Making;
use super::{Arrays, COUNTED, Case, Fill, Input, Output, Stored, User, counted, hand};
use crate::error::Result;
use crate::ops::norm::{
    BatchChannelNorm, BatchNorm, CODE_FLOOR, CrmsNorm, GroupNorm, HypersphericalStep, L2Norm, LayerNorm, PowerNorm,
    RmsNorm, Scaler, UnifiedNorm,
};
use crate::proof::{AnyOp, Attrs, Expected, Reader, Roles};
use crate::reference::{self, Array, Normed};
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &[
    "layer_norm",
    "rms_norm",
    "crms_norm",
    "l2_norm",
    "power_norm",
    "unified_norm",
    "batch_norm",
    "group_norm",
    "batch_channel_norm",
    "scaler",
    "hyperspherical_step",
];

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    let mut hand = |op: &dyn AnyOp| hand(&a, &r, user, op);
    let (weight, bias) = (|| r.maybe("weight"), || r.maybe("bias"));
    let fused = || (r.maybe("residual"), r.maybe("sum"), r.maybe("scale"));
    match op {
        "layer_norm" => hand(&{
            let ((residual, sum, scale), stats) = (fused(), r.maybe("stats"));
            let (axis, eps) = (a.number("axis", -1.0) as i32, a.number("eps", 1e-5) as f32);
            let new = LayerNorm::new(r.need("x")?, r.need("y")?);
            let (rows, grids, weight, bias) = (r.maybe("rows"), r.maybe("grids"), weight(), bias());
            LayerNorm { residual, rows, grids, weight, bias, sum, stats, scale, axis, eps, ..new }
        }),
        "rms_norm" => hand(&{
            let ((residual, sum, scale), stats) = (fused(), r.maybe("stats"));
            RmsNorm {
                residual,
                rows: r.maybe("rows"),
                grids: r.maybe("grids"),
                after: r.maybe("after"),
                weight: weight(),
                bias: bias(),
                sum,
                stats,
                scale,
                axis: a.number("axis", -1.0) as i32,
                eps: a.number("eps", 1e-6) as f32,
                eps_outside: a.flag("eps_outside", false),
                partial: a.number("partial", 1.0),
                weight_offset: a.number("weight_offset", 0.0) as f32,
                cast_before_weight: a.flag("cast_before_weight", false),
                ..RmsNorm::new(r.need("x")?, r.need("y")?)
            }
        }),
        "crms_norm" => hand(&{
            let (residual, sum, scale) = fused();
            CrmsNorm { residual, sum, scale, ..CrmsNorm::new(r.need("z")?, r.need("y")?, a.needed("eps") as f32) }
        }),
        "l2_norm" => hand(&{
            let (residual, sum, scale) = fused();
            let (axis, eps) = (a.number("axis", -1.0) as i32, a.number("eps", 1e-12) as f32);
            L2Norm { residual, sum, scale, axis, eps, ..L2Norm::new(r.need("x")?, r.need("y")?) }
        }),
        "power_norm" => hand(&{
            let (residual, sum, scale) = fused();
            let new = PowerNorm::new(r.need("x")?, r.need("phi")?, r.need("y")?);
            let (groups, eps) = (a.needed("groups") as usize, a.needed("eps") as f32);
            PowerNorm { residual, weight: weight(), bias: bias(), sum, scale, groups, eps, ..new }
        }),
        "unified_norm" => hand(&{
            let (residual, sum, scale) = fused();
            let new = UnifiedNorm::new(r.need("x")?, r.need("var")?, r.need("y")?);
            UnifiedNorm { residual, weight: weight(), bias: bias(), sum, scale, eps: a.needed("eps") as f32, ..new }
        }),
        "batch_norm" => hand(&{
            let new = BatchNorm::new(r.need("x")?, r.need("mean")?, r.need("var")?, r.need("y")?);
            let (residual, sum) = (r.maybe("residual"), r.maybe("sum"));
            BatchNorm { residual, weight: weight(), bias: bias(), sum, eps: a.needed("eps") as f32, ..new }
        }),
        "group_norm" => hand(&{
            let ((residual, sum, scale), stats) = (fused(), r.maybe("stats"));
            let new = GroupNorm::new(r.need("x")?, r.need("y")?, a.needed("groups") as usize);
            let eps = a.needed("eps") as f32;
            GroupNorm { residual, weight: weight(), bias: bias(), sum, stats, scale, eps, ..new }
        }),
        "batch_channel_norm" => hand(&BatchChannelNorm {
            x: r.need("x")?,
            bn_mean: r.need("bn_mean")?,
            bn_var: r.need("bn_var")?,
            bn_weight: r.need("bn_weight")?,
            bn_bias: r.need("bn_bias")?,
            weight: weight(),
            bias: bias(),
            y: r.need("y")?,
            groups: a.needed("groups") as usize,
            bn_eps: a.needed("bn_eps") as f32,
            eps: a.needed("eps") as f32,
        }),
        "scaler" => hand(&Scaler {
            relu: a.flag("relu", false),
            floor: a.number("floor", 0.0) as f32,
            ..Scaler::new(r.need("x")?, r.need("weight")?, r.need("y")?)
        }),
        _ => hand(&{
            let new = HypersphericalStep::new(r.need("x")?, r.need("h")?, r.need("alpha")?, r.need("y")?);
            let (gain, eps) = (a.number("gain", 1.0) as f32, a.number("eps", 1e-8) as f32);
            HypersphericalStep { scaler: r.maybe("scaler"), gain, eps, ..new }
        }),
    }
}

/// How many roundings a sum of `n` numbers may pay for at worst: the naive kernel adds blocks of 64 and then the blocks; every
/// other adds fewer in a row. 16 more cover the arithmetic around the sum, with inverseSqrt at 2 ulp and division at 2.5.
fn roundings(n: usize) -> f64 {
    64.0 + n as f64 / 64.0 + 16.0
}

pub(super) fn expected(case: &Case, arrays: &Arrays, storage: Elem) -> Result<Vec<Expected>> {
    let Some(rows) = arrays.get("rows") else { return of_all(case, arrays, storage) };
    // The norm of what is listed; what is no row is zeros, before a norm and after it.
    let mut listed = arrays.clone();
    for role in ["x", "residual"] {
        if let Some(of) = listed.get_mut(role) {
            *of = reference::mod_take(of, rows);
        }
    }
    let mut all = of_all(case, &listed, storage)?;
    let len = arrays["x"].shape.last().copied().unwrap_or(1);
    for y in all.iter_mut().filter(|e| e.role == "y") {
        for (r, _) in rows.data.iter().enumerate().filter(|(_, row)| **row >= (arrays["x"].data.len() / len) as f64) {
            y.want[r * len..][..len].fill(0.0);
            y.bound[r * len..][..len].fill(0.0);
        }
    }
    Ok(all)
}

fn of_all(case: &Case, arrays: &Arrays, storage: Elem) -> Result<Vec<Expected>> {
    let a = case.attrs.reader(case.op);
    let get = |role: &str| arrays.get(role);
    let input = |role: &str| arrays.get(role).cloned().unwrap_or(Array { shape: vec![0], data: Vec::new() });
    let mut out = Vec::new();
    let first = case.inputs.first().map_or("x", |i| i.role);
    // x + residual is one f32 addition, then rounded to the storage of x.
    let added = |x: Array, out: &mut Vec<Expected>| {
        let sum = match get("residual") {
            None => x.data.clone(),
            Some(residual) => {
                let pairs = x.data.iter().zip(&residual.data);
                pairs.map(|(x, r)| storage.round(f64::from((x + r) as f32))).collect()
            }
        };
        if case.outputs.iter().any(|o| o.role == "sum") {
            out.push(Expected::exact("sum", sum.clone()));
        }
        x.with(sum)
    };
    let x = added(input(first), &mut out);
    // An eps is an f32 to the op.
    let eps = |absent: f64| f64::from(a.number("eps", absent) as f32);
    let groups = || a.number("groups", 1.0) as usize;
    let (weight, bias) = (get("weight"), get("bias"));
    let last = x.shape.last().copied().unwrap_or(1);
    let from_axis = |x: &Array, a: &Reader<'_>| -> Result<usize> {
        let axis = a.number("axis", -1.0) as isize;
        let at = if axis < 0 { axis + x.shape.len() as isize } else { axis } as usize;
        Ok(at)
    };
    match case.op {
        "layer_norm" => {
            let len = x.shape[from_axis(&x, &a)?..].iter().product();
            let eps = eps(1e-5);
            let normed = reference::layer_norm(&x, len, weight, bias, eps);
            out.extend(rows(case, &x, &normed, len, len, Kind::Center, eps, 0.0));
        }
        "rms_norm" => {
            let len: usize = x.shape[from_axis(&x, &a)?..].iter().product();
            let (eps, outside) = (eps(1e-6), a.flag("eps_outside", false));
            let stat_len = (len as f64 * a.number("partial", 1.0)) as usize;
            let (offset, casts) = (a.number("weight_offset", 0.0), a.flag("cast_before_weight", false));
            let cast = |h: f64| if casts { storage.round(f64::from(h as f32)) } else { h };
            let mut normed = reference::rms_norm(&x, len, stat_len, weight, bias, eps, outside, offset, cast);
            if let Some(after) = get("after") {
                // To an element it is a bias of its own: it is added last, and pays for one rounding more.
                for ((y, by), after) in normed.y.data.iter_mut().zip(&mut normed.affine).zip(&after.data) {
                    *y += after;
                    by.1 = by.1.abs() + after.abs();
                }
            }
            // Where h is rounded before the weight, an error may move it over a tie: one step of the storage.
            let step = if casts { 2.0 * storage.unit_roundoff() } else { 0.0 };
            out.extend(rows(case, &x, &normed, len, stat_len, Kind::Plain, eps, step));
        }
        "crms_norm" => {
            let eps = eps(0.0);
            let normed = reference::crms_norm(&x, last, eps);
            out.extend(rows(case, &x, &normed, last, last, Kind::Crms, eps, 0.0));
        }
        "l2_norm" => {
            let axis = from_axis(&x, &a)?;
            let (len, eps) = (x.shape[axis], eps(1e-12));
            let normed = reference::l2_norm(&x, axis, eps);
            let inner: usize = x.shape[axis + 1..].iter().product();
            if inner == 1 {
                out.extend(rows(case, &x, &normed, len, len, Kind::Plain, eps, 0.0));
            } else {
                // One relative error from the norm for every element.
                let bound = normed.y.data.iter().map(|y| roundings(len) * U * y.abs()).collect();
                if case.outputs.iter().any(|o| o.role == "scale") {
                    out.extend(strided_codes(&normed.y, len, inner, roundings(len) * U));
                } else {
                    out.push(Expected::new("y", normed.y.data, bound));
                }
            }
        }
        "power_norm" => {
            let (groups, eps) = (groups(), eps(1e-5));
            let normed = reference::power_norm(&x, groups, weight, bias, &input("phi"), eps);
            let len = last / groups;
            out.extend(rows(case, &x, &normed, len, len, Kind::Plain, eps, 0.0));
        }
        "group_norm" => {
            let (groups, eps) = (groups(), eps(1e-5));
            let normed = reference::group_norm(&x, groups, weight, bias, eps);
            let len = x.shape[1..].iter().product::<usize>() / groups;
            out.extend(rows(case, &x, &normed, len, len, Kind::Center, eps, 0.0));
        }
        "batch_channel_norm" => {
            let (groups, eps, bn_eps) = (groups(), eps(1e-5), f64::from(a.number("bn_eps", 1e-5) as f32));
            let bn = [input("bn_mean"), input("bn_var"), input("bn_weight"), input("bn_bias")];
            let [mean, var, bn_weight, bn_bias] = &bn;
            let normed =
                reference::batch_channel_norm(&x, [mean, var, bn_weight, bn_bias], bn_eps, groups, weight, bias, eps);
            let len = x.shape[1..].iter().product::<usize>() / groups;
            let v = reference::batch_norm(&x, mean, var, Some(bn_weight), Some(bn_bias), bn_eps);
            // Before the group norm each value has paid for the elementwise batch norm: 8 roundings of its terms.
            let terms = v.data.iter().map(|v| v.abs()).fold(0.0, f64::max)
                + bn_bias.data.iter().map(|b| b.abs()).fold(0.0, f64::max);
            let mut more = rows(case, &v, &normed, len, len, Kind::Center, eps, 0.0);
            for e in &mut more {
                for (i, b) in e.bound.iter_mut().enumerate() {
                    *b += 16.0 * U * terms * (normed.factor[i / len] * normed.affine[i].0).abs();
                }
            }
            out.extend(more);
        }
        "unified_norm" => {
            let var = input("var");
            let y = reference::unified_norm(&x, weight, bias, &var, eps(1e-5));
            out.extend(elementwise(case, y, bias, last));
        }
        "batch_norm" => {
            let y = reference::batch_norm(&x, &input("mean"), &input("var"), weight, bias, eps(1e-5));
            out.extend(elementwise(case, y, bias, last));
        }
        "scaler" => {
            let floor = f64::from(a.number("floor", 0.0) as f32);
            let y = reference::scaler(&x, &input("weight"), a.flag("relu", false), floor);
            out.extend(elementwise(case, y, None, last));
        }
        _ => {
            let (h, alpha) = (input("h"), input("alpha"));
            let (gain, eps) = (f64::from(a.number("gain", 1.0) as f32), eps(1e-8));
            let y = reference::hyperspherical_step(&x, &h, &alpha, get("scaler"), gain, eps);
            // Errors of the moved vector, relative to its length, which the last norm divides by.
            let ones = alpha.with(vec![1.0; last]);
            let scaled = reference::scaler(&h, get("scaler").unwrap_or(&ones), false, 0.0);
            let unit = reference::l2_norm(&scaled, h.shape.len() - 1, eps).y;
            let c = roundings(last) * U;
            let mut bound = Vec::with_capacity(y.data.len());
            for (r, x) in x.data.chunks(last.max(1)).enumerate() {
                let of = |i: usize| (unit.data[r * last + i], alpha.data[i] * gain);
                let moved: Vec<f64> = x.iter().enumerate().map(|(i, x)| x + of(i).1 * (of(i).0 - x)).collect();
                let length = moved.iter().map(|v| v * v).sum::<f64>().sqrt().max(eps);
                let error = |i: usize| c * (x[i].abs() + of(i).1.abs() * (of(i).0.abs() + x[i].abs()));
                let total = (0..x.len()).map(|i| error(i).powi(2)).sum::<f64>().sqrt();
                bound.extend((0..x.len()).map(|i| {
                    let y = y.data[r * last + i];
                    error(i) / length + y.abs() * (total / length + c)
                }));
            }
            out.push(Expected::new("y", y.data, bound));
        }
    }
    Ok(out)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Center,
    Crms,
    Plain,
}

/// Bounds of a norm with statistics, row by row.
///
/// With `c` the roundings of a sum: a mean is off by `c·U·mean|v|`, but the deviations' own mean is subtracted again, which
/// leaves `c·U` of the mean deviation; a variance is off by `c·U` of itself and of the square of the mean's first error; a factor
/// by half of that. `step` is a relative error that the formula itself may add. Then the affine's three roundings.
#[allow(clippy::too_many_arguments, reason = "the numbers of one formula")]
fn rows(
    case: &Case,
    x: &Array,
    n: &Normed,
    len: usize,
    stat_len: usize,
    kind: Kind,
    eps: f64,
    step: f64,
) -> Vec<Expected> {
    let c = roundings(stat_len) * U;
    let (mut bound, mut stats, mut stats_bound) = (Vec::with_capacity(x.data.len()), Vec::new(), Vec::new());
    for (r, row) in x.data.chunks(len.max(1)).enumerate() {
        let (mean, factor) = (n.mean[r], n.factor[r]);
        let counted = &row[..stat_len.min(row.len())];
        let count = counted.len() as f64;
        let largest = counted.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let deviation = counted.iter().map(|v| (v - mean).abs()).sum::<f64>() / count;
        let square = counted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        let first = c * largest;
        let (value_error, relative) = match kind {
            Kind::Center => {
                let variance = c * (square + first * first) / (square + eps).max(f64::MIN_POSITIVE);
                (c * (deviation + c * largest), 0.5 * variance + 6.0 * U)
            }
            Kind::Crms => {
                let (sum, absolute) = (counted.iter().sum::<f64>(), counted.iter().map(|v| v.abs()).sum::<f64>());
                let all = square * count + sum * sum + eps * (count + 1.0);
                (0.0, 0.5 * c * (square * count + 2.0 * sum.abs() * absolute) / all.max(f64::MIN_POSITIVE) + 6.0 * U)
            }
            Kind::Plain => (0.0, 0.5 * c + 6.0 * U),
        };
        for (i, v) in row.iter().enumerate() {
            let (w, b) = n.affine[r * len + i];
            let d = v - mean;
            let h = d * factor;
            let h_error = factor.abs() * (value_error + 2.0 * U * d.abs()) + h.abs() * (relative + 2.0 * U + step);
            bound.push(w.abs() * h_error + 4.0 * U * (h * w).abs() + 2.0 * U * b.abs());
        }
        let mean_error = if kind == Kind::Center { value_error + 2.0 * U * mean.abs() } else { 0.0 };
        // What an infinite mean is off by is NaN, and so is the mean then.
        stats.extend([if mean.is_finite() { mean } else { f64::NAN }, factor]);
        stats_bound.extend([mean_error, factor.abs() * relative]);
    }
    let mut out = Vec::new();
    if case.outputs.iter().any(|o| o.role == "stats") {
        out.push(Expected::new("stats", stats, stats_bound));
    }
    out.extend(codes_or(case, n.y.clone(), bound, len));
    out
}

/// An elementwise norm: eight roundings of its terms.
fn elementwise(case: &Case, y: Array, bias: Option<&Array>, len: usize) -> Vec<Expected> {
    let b = bias.map_or(0.0, |b| b.data.iter().fold(0.0, |m: f64, b| m.max(b.abs())));
    let bound = y.data.iter().map(|y| 8.0 * U * (y.abs() + 2.0 * b)).collect();
    codes_or(case, y, bound, len)
}

/// How norms write codes.
const CODING: Coding = Coding { bits: 8, symmetric: true, floor: CODE_FLOOR as f64 };

/// The output as it is, or where the case asks for codes, the scale of each row and its codes.
fn codes_or(case: &Case, y: Array, bound: Vec<f64>, len: usize) -> Vec<Expected> {
    if case.outputs.iter().any(|o| o.role == "scale") {
        codes("y", &y, &bound, len, CODING)
    } else {
        vec![Expected::new("y", y.data, bound)]
    }
}

/// Codes of vectors along an inner axis: the same, with a vector's elements `inner` apart.
fn strided_codes(y: &Array, len: usize, inner: usize, relative: f64) -> Vec<Expected> {
    let at = |i: usize| (i / len / inner * len + i % len) * inner + i / len % inner;
    let vectors = y.with((0..y.data.len()).map(|i| y.data[at(i)]).collect());
    let bound: Vec<f64> = vectors.data.iter().map(|v| relative * v.abs()).collect();
    let mut out = codes("y", &vectors, &bound, len, CODING);
    for codes in out.iter_mut().filter(|e| e.role == "y") {
        let Expected { want, bound, .. } = codes.clone();
        for (i, (want, bound)) in want.into_iter().zip(bound).enumerate() {
            (codes.want[at(i)], codes.bound[at(i)]) = (want, bound);
        }
    }
    out
}

/// As a layer keeps half of its tokens.
const EVERY_SECOND: Fill = Fill::Steps { first: 0.0, step: 2.0 };

/// The bytes of rows that are in no list, where the list has each once.
pub(super) fn unread_bytes(case: &Case, storage: Elem) -> u64 {
    let Some(list) = case.inputs.iter().find(|i| i.role == "rows" && i.fill == EVERY_SECOND) else { return 0 };
    let Some([rows, len]) = case.inputs.first().map(|x| x.shape.as_slice()) else { return 0 };
    (rows.saturating_sub(list.shape.iter().product()) * len * storage.bytes()) as u64
}

const NORMAL: Fill = Fill::Normal { mean: 0.0, deviation: 1.0 };
const WEIGHTS: Fill = Fill::Uniform(0.5, 1.5);
const ALL: &[Elem] = &[Elem::F32, Elem::F16, Elem::Bf16];

/// A case in the making: x and y of one shape, and whatever else it has.
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
    fn new(op: &'static str, name: &str, shape: &[usize], fill: Fill) -> Self {
        let x = if op == "crms_norm" { "z" } else { "x" };
        let elements: usize = shape.iter().product();
        Self(Box::new(Case {
            name: format!("{op}/{name}"),
            op,
            title: name.replace('-', " "),
            model: "",
            phase: "",
            attrs: Attrs::default(),
            inputs: vec![Input { role: x, shape: shape.to_vec(), fill, stored: Stored::Activation }],
            weights: Vec::new(),
            outputs: vec![Output { role: "y", shape: shape.to_vec(), stored: Stored::Activation }],
            storages: ALL.to_vec(),
            real: false,
            skew: 0,
            // Square and add, multiply by factor and weight: the customary count.
            flops: elements as u64 * 4,
        }))
    }

    /// The title keeps what the model and the phase do not say.
    fn model(mut self, model: &'static str, phase: &'static str) -> Self {
        let plain = |text: &str| text.replace(['-', '.', '/', ' '], "").to_ascii_lowercase();
        let said = |word: &&str| *word == phase || plain(model).contains(&plain(word));
        self.0.title = self.0.title.split(' ').filter(|w| !said(w)).collect::<Vec<_>>().join(" ");
        (self.0.model, self.0.phase, self.0.real) = (model, phase, true);
        self
    }

    fn hurts(mut self, why: &'static str) -> Self {
        self.0.phase = why;
        self
    }

    fn input(mut self, role: &'static str, shape: &[usize], fill: Fill) -> Self {
        self.0.inputs.push(Input { role, shape: shape.to_vec(), fill, stored: Stored::Activation });
        self
    }

    fn f32_input(mut self, role: &'static str, shape: &[usize], fill: Fill) -> Self {
        self.0.inputs.push(Input { role, shape: shape.to_vec(), fill, stored: Stored::Always(Elem::F32) });
        self
    }

    fn output(mut self, role: &'static str, shape: &[usize], stored: Stored) -> Self {
        self.0.outputs.push(Output { role, shape: shape.to_vec(), stored });
        self
    }

    fn weight(self, shape: &[usize]) -> Self {
        self.input("weight", shape, WEIGHTS)
    }

    fn affine(self, shape: &[usize]) -> Self {
        self.weight(shape).input("bias", shape, NORMAL)
    }

    /// A residual is added, and the sum written.
    fn residual(self) -> Self {
        let shape = self.0.inputs[0].shape.clone();
        self.input("residual", &shape, NORMAL).output("sum", &shape, Stored::Activation)
    }

    /// y becomes int8 codes with a scale for each of `rows`.
    fn codes(mut self, rows: usize) -> Self {
        self.0.outputs[0].stored = Stored::Always(Elem::I8);
        self.output("scale", &[rows], Stored::Always(Elem::F32))
    }

    fn stats(self, rows: usize) -> Self {
        self.output("stats", &[rows, 2], Stored::Always(Elem::F32))
    }

    fn y(mut self, elem: Elem) -> Self {
        self.0.outputs[0].stored = Stored::Always(elem);
        self
    }

    /// Rows are listed, some of them twice and the last of each five not there.
    fn listed(self, shape: &[usize]) -> Self {
        let rows = self.0.inputs[0].shape.iter().rev().skip(1).product::<usize>() as f32;
        self.listed_as(shape, Fill::Uniform(-0.4, rows * 1.25 - 0.6))
    }

    fn listed_as(mut self, shape: &[usize], fill: Fill) -> Self {
        self.0.inputs.push(Input { role: "rows", shape: shape.to_vec(), fill, stored: Stored::Always(Elem::U32) });
        let dims = [shape, &self.0.inputs[0].shape[self.0.inputs[0].shape.len() - 1..]].concat();
        for output in self.0.outputs.iter_mut().filter(|o| ["y", "sum"].contains(&o.role)) {
            output.shape = dims.clone();
        }
        self
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = real();
    all.extend(hurting());
    all.into_iter().map(Making::done).collect()
}

/// Shapes of real models.
fn real() -> Vec<Make> {
    let rms = |name: &str, rows: usize, d: usize| Make::new("rms_norm", name, &[rows, d], NORMAL).weight(&[d]);
    let llama = |name: &str, rows: usize| rms(name, rows, 4096).attr("eps", 1e-5).attr("cast_before_weight", true);
    let qwen = |name: &str, rows: usize, d: usize| rms(name, rows, d).attr("cast_before_weight", true);
    let gemma = |name: &str, rows: usize, d: usize| {
        Make::new("rms_norm", name, &[rows, d], NORMAL)
            .input("weight", &[d], Fill::Uniform(-0.5, 0.5))
            .attr("weight_offset", 1.0)
    };
    let layer = |name: &str, rows: usize, eps: f64| {
        Make::new("layer_norm", name, &[rows, 768], NORMAL).affine(&[768]).attr("eps", eps)
    };
    let (llama3, qwen06, qwen8, gemma3) = ("Llama-3-8B", "Qwen3-0.6B", "Qwen3-8B", "Gemma-3-4B");
    vec![
        llama("llama3-8b-prefill-2048", 2048).model(llama3, "prefill"),
        llama("llama3-8b-prefill-2048-residual", 2048).residual().model(llama3, "prefill"),
        llama("llama3-8b-prefill-2048-kept-1024", 2048)
            .output("sum", &[], Stored::Activation)
            .listed_as(&[1024], EVERY_SECOND)
            .model(llama3, "prefill"),
        llama("llama3-8b-prefill-512", 512).model(llama3, "prefill"),
        llama("llama3-8b-prefill-512-residual", 512).residual().model(llama3, "prefill"),
        llama("llama3-8b-prefill-512-residual-codes", 512).residual().codes(512).model(llama3, "prefill"),
        llama("llama3-8b-decode-residual", 1).residual().model(llama3, "decode"),
        qwen("qwen3-0.6b-prefill-512-residual", 512, 1024).residual().model(qwen06, "prefill"),
        qwen("qwen3-0.6b-decode-residual", 1, 1024).residual().model(qwen06, "decode"),
        qwen("qwen3-0.6b-heads-prefill-512", 512 * 16, 128).model(qwen06, "prefill"),
        qwen("qwen3-8b-prefill-512-residual", 512, 4096).residual().model(qwen8, "prefill"),
        qwen("qwen3-8b-heads-prefill-512", 512 * 32, 128).model(qwen8, "prefill"),
        qwen("qwen3-8b-decode-residual", 1, 4096).residual().model(qwen8, "decode"),
        gemma("gemma3-4b-prefill-512", 512, 2560).model(gemma3, "prefill"),
        gemma("gemma3-4b-heads-prefill-512", 512 * 8, 256).model(gemma3, "prefill"),
        gemma("gemma3-4b-decode", 1, 2560).model(gemma3, "decode"),
        layer("vit-b16-batch-8", 8 * 197, 1e-6).model("ViT-B/16", "prefill"),
        layer("vit-b16-batch-8-residual", 8 * 197, 1e-6).residual().model("ViT-B/16", "prefill"),
        layer("bert-base-512-residual", 512, 1e-12).residual().model("BERT-base", "prefill"),
        layer("bert-base-decode", 1, 1e-12).model("BERT-base", "decode"),
        Make::new("group_norm", "unet-320x64x64", &[2, 320, 64, 64], NORMAL)
            .affine(&[320])
            .attr("groups", 32.0)
            .attr("eps", 1e-5)
            .model("Stable Diffusion U-Net", "prefill"),
    ]
}

/// Shapes and values chosen to hurt.
fn hurting() -> Vec<Make> {
    let mut all = Vec::new();
    // Lengths around every border: a lane, a vec4, a subgroup, a workgroup, registers, a slice.
    for (d, rows) in
        [(1, 5), (3, 7), (31, 9), (33, 4), (127, 6), (129, 3), (1023, 3), (4099, 2), (8192, 2), (8193, 2), (16_385, 3)]
    {
        let name = format!("length-{d}");
        all.push(Make::new("rms_norm", &name, &[rows, d], NORMAL).affine(&[d]).stats(rows).hurts("odd lengths"));
        all.push(Make::new("layer_norm", &name, &[rows, d], NORMAL).affine(&[d]).stats(rows).hurts("odd lengths"));
    }
    for (rows, d) in [(1, 262_147), (2, 65_536)] {
        all.push(
            Make::new("layer_norm", &format!("huge-{rows}x{d}"), &[rows, d], NORMAL).affine(&[d]).hurts("one huge row"),
        );
        all.push(
            Make::new("rms_norm", &format!("huge-{rows}x{d}"), &[rows, d], NORMAL)
                .weight(&[d])
                .residual()
                .hurts("one huge row"),
        );
    }
    all.push(Make::new("rms_norm", "tiny-100000x3", &[100_000, 3], NORMAL).weight(&[3]).hurts("many tiny rows"));
    all.push(Make::new("layer_norm", "tiny-70001x8", &[70_001, 8], NORMAL).affine(&[8]).hurts("many tiny rows"));
    all.push(Make::new("layer_norm", "no-rows", &[0, 64], NORMAL).affine(&[64]).hurts("nothing to do"));
    all.push(Make::new("rms_norm", "inner-axis-0", &[3, 0, 8], NORMAL).hurts("nothing to do"));
    // Values.
    let f32_only: &[Elem] = &[Elem::F32];
    for d in [1000, 8200] {
        let far = Fill::Normal { mean: 1e4, deviation: 1e-2 };
        all.push(
            Make::new("layer_norm", &format!("far-from-zero-{d}"), &[3, d], far)
                .storages(f32_only)
                .stats(3)
                .hurts("mean 1e4, deviation 1e-2"),
        );
    }
    for d in [129, 4099, 16_384] {
        let constant = Fill::Constant(1234.5);
        all.push(
            Make::new("layer_norm", &format!("constant-{d}"), &[2, d], constant).affine(&[d]).hurts("constant rows"),
        );
    }
    for d in [127, 4096] {
        all.push(
            Make::new("rms_norm", &format!("three-hundred-{d}"), &[3, d], Fill::Constant(300.0))
                .weight(&[d])
                .hurts("squares overflow f16"),
        );
        let large = Fill::Normal { mean: 0.0, deviation: 1e4 };
        all.push(Make::new("layer_norm", &format!("large-{d}"), &[3, d], large).affine(&[d]).hurts("values of 1e4"));
        all.push(Make::new("l2_norm", &format!("large-{d}"), &[3, d], large).hurts("values of 1e4"));
    }
    for d in [37, 1024, 8195] {
        for op in ["layer_norm", "rms_norm", "l2_norm"] {
            let make = Make::new(op, &format!("special-{d}"), &[13, d], Fill::Special).hurts("NaN, infinities, zeros");
            all.push(if op == "l2_norm" { make } else { make.affine(&[d]).stats(13) });
        }
    }
    // Everything at once, aligned and not, in one workgroup and in slices.
    for (d, skew) in [(64, 0), (63, 1), (4096, 3), (2050, 5), (12_288, 0), (8197, 7)] {
        let name = |what: &str| format!("{what}-{d}-skew-{skew}");
        let make = |op, what: &str| {
            Make::new(op, &name(what), &[5, d], NORMAL).affine(&[d]).residual().skew(skew).hurts("everything at once")
        };
        all.push(make("layer_norm", "all").stats(5));
        all.push(make("layer_norm", "codes").stats(5).codes(5));
        all.push(make("rms_norm", "all").stats(5).attr("cast_before_weight", true));
        all.push(make("rms_norm", "codes").stats(5).codes(5).attr("weight_offset", 1.0));
        all.push(make("rms_norm", "to-f32").y(Elem::F32));
        if [63, 4096, 12_288].contains(&d) {
            let make = Make::new("rms_norm", &name("after"), &[5, d], NORMAL)
                .affine(&[d])
                .input("after", &[5, d], NORMAL)
                .attr("weight_offset", 1.0)
                .stats(5)
                .skew(skew)
                .hurts("added last, and no part of the statistics");
            all.push(if d == 63 { make.codes(5) } else { make });
        }
        all.push(make("layer_norm", "to-f16").y(Elem::F16));
        all.push(make("layer_norm", "to-bf16").y(Elem::Bf16));
        for op in ["crms_norm", "l2_norm"] {
            let make = Make::new(op, &name("codes"), &[5, d], NORMAL).residual().codes(5);
            all.push(make.attr("eps", 1e-6).skew(skew).hurts("everything at once"));
        }
    }
    all.push(
        Make::new("rms_norm", "f32-operands", &[6, 96], NORMAL)
            .f32_input("weight", &[96], WEIGHTS)
            .f32_input("bias", &[96], NORMAL)
            .f32_input("residual", &[6, 96], NORMAL)
            .output("sum", &[6, 96], Stored::Activation)
            .hurts("weights and a residual wider than x"),
    );
    all.push(
        Make::new("layer_norm", "axis-1", &[2, 3, 7, 5], NORMAL)
            .affine(&[3, 7, 5])
            .attr("axis", 1.0)
            .hurts("several dimensions"),
    );
    all.push(
        Make::new("rms_norm", "axis-2", &[2, 3, 4, 8], NORMAL)
            .weight(&[4, 8])
            .attr("axis", -2.0)
            .hurts("several dimensions"),
    );
    all.push(
        Make::new("rms_norm", "eps-outside", &[4, 63], NORMAL)
            .attr("eps_outside", true)
            .attr("eps", 0.5)
            .hurts("the paper's eps, no weight"),
    );
    all.push(Make::new("l2_norm", "minus-zero", &[3, 64], NORMAL).attr("eps", -0.0).hurts("an eps of −0"));
    for (d, partial) in [(20, 0.35), (160, 0.0625), (4096, 0.5), (10_000, 0.25)] {
        all.push(
            Make::new("rms_norm", &format!("partial-{d}"), &[3, d], NORMAL)
                .affine(&[d])
                .attr("partial", partial)
                .stats(3)
                .hurts("statistics of a part"),
        );
    }
    // Rows through a list: in one workgroup and in slices, aligned and not.
    let both: &[Elem] = &[Elem::F32, Elem::F16];
    for (d, rows, skew, storages) in
        [(64, 130, 0, ALL), (33, 9, 1, &ALL[1..]), (1023, 5, 0, f32_only), (12_288, 4, 0, both)]
    {
        let make = |op, what: &str| {
            // Codes of NaN are not told.
            let fill = if what == "codes" { NORMAL } else { Fill::NanRows };
            let make = Make::new(op, &format!("listed-{what}-{d}"), &[2, 11, d], fill).weight(&[d]);
            make.storages(storages).skew(skew).hurts("rows through a list")
        };
        all.push(make("rms_norm", "sum").residual().input("bias", &[d], NORMAL).listed(&[2, rows]));
        all.push(make("layer_norm", "alone").input("bias", &[d], NORMAL).listed(&[rows]));
        let codes = make("rms_norm", "codes").output("sum", &[], Stored::Activation).codes(rows);
        all.push(codes.attr("cast_before_weight", true).listed(&[rows, 1]));
    }
    for (op, d) in [("rms_norm", 64), ("layer_norm", 8200)] {
        let mut make = Make::new(op, "listed-counted", &[40, d], NORMAL).weight(&[d]).listed(&[33]);
        make.0.inputs.push(counted(COUNTED[0]));
        all.push(make.storages(f32_only).hurts("rows that the device counts"));
    }
    all.push(Make::new("rms_norm", "listed-none", &[5, 16], NORMAL).listed(&[0]).hurts("nothing to do"));
    for d in [1, 64, 1023, 9000] {
        all.push(
            Make::new("crms_norm", &format!("length-{d}"), &[4, d], NORMAL).attr("eps", 1e-6).hurts("odd lengths"),
        );
    }
    // Axes.
    for (shape, axis) in [(vec![2, 5, 3, 7], 1.0), (vec![65, 3], 0.0), (vec![3, 300, 33], -2.0), (vec![4, 6, 1], 1.0)] {
        let dims = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        all.push(
            Make::new("l2_norm", &format!("axis-of-{dims}"), &shape, NORMAL).attr("axis", axis).hurts("inner axes"),
        );
    }
    all.push(
        Make::new("l2_norm", "axis-residual-codes", &[3, 40, 35], NORMAL)
            .attr("axis", 1.0)
            .residual()
            .codes(105)
            .hurts("inner axes"),
    );
    all.push(
        Make::new("l2_norm", "axis-special", &[37, 13], Fill::Special)
            .attr("axis", 0.0)
            .hurts("NaN, infinities, zeros"),
    );
    // A walk that took a number a turn would be more turns than lavapipe has.
    all.push(
        Make::new("l2_norm", "axis-long-codes", &[262_145, 2], NORMAL).attr("axis", 0.0).codes(2).hurts("inner axes"),
    );
    // Groups and channels.
    for (c, groups, spatial, skew) in
        [(12, 3, 5, 0), (8, 8, 49, 0), (6, 1, 1, 0), (64, 32, 256, 0), (32, 2, 1024, 0), (12, 3, 7, 1)]
    {
        let name = format!("{c}-in-{groups}-of-{spatial}");
        let make = |op| Make::new(op, &name, &[2, c, spatial], NORMAL).skew(skew);
        all.push(
            make("group_norm")
                .affine(&[c])
                .attr("groups", groups as f64)
                .attr("eps", 1e-5)
                .stats(2 * groups)
                .hurts("groups"),
        );
        all.push(
            make("batch_channel_norm")
                .f32_input("bn_mean", &[c], NORMAL)
                .f32_input("bn_var", &[c], WEIGHTS)
                .f32_input("bn_weight", &[c], WEIGHTS)
                .f32_input("bn_bias", &[c], NORMAL)
                .affine(&[groups])
                .attr("groups", groups as f64)
                .attr("bn_eps", 1e-5)
                .attr("eps", 1e-5)
                .hurts("groups"),
        );
        all.push(
            make("batch_norm")
                .input("mean", &[c], NORMAL)
                .input("var", &[c], WEIGHTS)
                .affine(&[c])
                .attr("eps", 1e-5)
                .hurts("channels"),
        );
    }
    all.push(
        Make::new("group_norm", "residual-codes", &[2, 12, 20], NORMAL)
            .affine(&[12])
            .attr("groups", 4.0)
            .attr("eps", 1e-5)
            .residual()
            .codes(8)
            .hurts("groups"),
    );
    for (c, groups, skew) in [(63, 3, 1), (64, 1, 0), (96, 8, 0), (10_240, 1, 0)] {
        let make = |what: &str| {
            Make::new("power_norm", &format!("{what}{c}-in-{groups}"), &[5, c], NORMAL)
                .skew(skew)
                .affine(&[c])
                .input("phi", &[c], WEIGHTS)
                .attr("groups", groups as f64)
                .attr("eps", 1e-5)
                .hurts("groups")
        };
        all.push(make(""));
        all.push(make("codes-").residual().codes(5 * groups));
    }
    for c in [7, 129, 256] {
        let make = |what: &str| {
            Make::new("unified_norm", &format!("{what}{c}"), &[9, c], NORMAL)
                .affine(&[c])
                .input("var", &[c], WEIGHTS)
                .attr("eps", 1e-5)
                .hurts("channels")
        };
        all.push(make("channels-"));
        all.push(make("residual-").residual());
        all.push(make("codes-").residual().codes(9));
        all.push(
            Make::new("scaler", &format!("relu-{c}"), &[9, c], Fill::Special)
                .weight(&[c])
                .attr("relu", true)
                .attr("floor", 1e-8)
                .hurts("channels"),
        );
        all.push(
            Make::new("scaler", &format!("plain-{c}"), &[9, c], Fill::Special)
                .weight(&[c])
                .hurts("NaN, infinities, zeros"),
        );
    }
    all.push(
        Make::new("batch_norm", "two-dimensions", &[9, 65], NORMAL)
            .input("mean", &[65], NORMAL)
            .input("var", &[65], WEIGHTS)
            .affine(&[65])
            .attr("eps", 1e-5)
            .residual()
            .hurts("channels"),
    );
    // SimbaV2.
    let step = |name: &str, rows: usize, c: usize, h: Fill| {
        Make::new("hyperspherical_step", name, &[rows, c], NORMAL)
            .input("h", &[rows, c], h)
            .input("alpha", &[c], Fill::Uniform(0.1, 0.6))
            .hurts("the unit sphere")
    };
    for (c, skew) in [(128, 0), (512, 0), (33, 1), (8192, 0), (8193, 0)] {
        let make = |what: &str| step(&format!("{what}{c}"), 6, c, NORMAL).skew(skew);
        all.push(make("step-"));
        all.push(make("scaled-").input("scaler", &[c], WEIGHTS).attr("gain", 0.5));
    }
    // Zeros in both, whose length is eps alone; and an eps above the length of every row.
    for (name, x, h, eps) in [
        ("special", NORMAL, Fill::Special, 1e-8),
        ("zeros", Fill::Constant(0.0), Fill::Special, 1e-8),
        ("large-eps", NORMAL, NORMAL, 8.0),
    ] {
        let mut make = step(name, 13, 40, h).attr("eps", eps);
        make.0.inputs[0].fill = x;
        all.push(make);
    }
    all.push(step("none", 0, 40, NORMAL));
    all
}
