//! Merges of whole weights: every kind in shapes that hurt, more weights than a step can bind, and layers of real models.

use super::making::Making;
use super::{Arrays, Case, Fill, Input, Output, Stored, User, hand};
use crate::error::{Error, Result};
use crate::ops::weight_merge::{MergeKind, WeightMerge};
use crate::proof::{Attrs, Expected, Reader, Roles};
use crate::reference::{self, Merge};
use crate::tensor::{Elem, Tensor};

pub(super) const OPS: &[&str] = &["weight_merge"];

/// The weights by role; no case has more.
const WEIGHTS: [&str; 24] = [
    "w.0", "w.1", "w.2", "w.3", "w.4", "w.5", "w.6", "w.7", "w.8", "w.9", "w.10", "w.11", "w.12", "w.13", "w.14",
    "w.15", "w.16", "w.17", "w.18", "w.19", "w.20", "w.21", "w.22", "w.23",
];

/// The numbers of a kind, as f32 has them.
struct Numbers {
    kind: String,
    t: f32,
    alpha: f32,
    decay: f32,
    lambda: f32,
    factors: Vec<f32>,
    per_row: bool,
    clamp: bool,
}

impl Numbers {
    fn read(a: &Reader<'_>) -> Self {
        let kind = a.text("kind", "").to_owned();
        let number = |of: &str, name: &str| if kind == of { a.needed(name) as f32 } else { 0.0 };
        let stock = kind == "model_stock";
        Self {
            t: number("lerp", "t"),
            alpha: number("task", "alpha"),
            decay: number("ema", "decay"),
            lambda: if kind == "xft" { a.number("lambda", 0.75) as f32 } else { 0.0 },
            factors: a.list("factors").unwrap_or_default().iter().map(|v| *v as f32).collect(),
            per_row: stock && a.flag("per_row", false),
            clamp: stock && a.flag("clamp", false),
            kind,
        }
    }

    fn merge<'t>(&'t self, op: &'static str, r: &Roles<'t>) -> Result<MergeKind<'t>> {
        Ok(match self.kind.as_str() {
            "lerp" => MergeKind::Lerp { t: self.t },
            "mean" => MergeKind::Mean,
            "ema" => MergeKind::Ema { decay: self.decay },
            "weighted" => MergeKind::Weighted { factors: &self.factors },
            "task" => MergeKind::Task { alpha: self.alpha },
            "model_stock" => MergeKind::ModelStock { per_row: self.per_row, clamp: self.clamp },
            "xft" => MergeKind::Xft { a: r.need("a")?, lambda: self.lambda },
            other => {
                let rule = "it must be lerp, mean, ema, weighted, task, model_stock or xft";
                return Err(Error::Value { op, name: "kind", value: other.to_owned(), rule });
            }
        })
    }
}

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    let weights: Vec<&Tensor> = WEIGHTS.iter().map_while(|role| r.maybe(role)).collect();
    let numbers = Numbers::read(&a);
    let op = WeightMerge { weights: &weights, kind: numbers.merge(op, &r)?, y: r.need("y")? };
    hand(&a, &r, user, &op)
}

/// The relative error of one f32 operation.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// What a t is off by.
///
/// Of a product of two differences each term pays for two differences, the product, and the sums: a lane's over its quads, those of
/// a quad, of lanes and of slices; in all that is no more than so many roundings of `‖d_i‖·‖d_j‖`. A length pays for half as many, and for
/// its root (WGSL's: 9 units in the last place), and a quotient for 5. Cosines are at most 1 and as many as there are pairs are added.
fn stock_error(c: f64, t: f64, others: usize, len: usize) -> f64 {
    let depth = len.div_ceil(128) as f64 + 40.0;
    let pairs = (others * (others - 1) / 2) as f64;
    let off = (2.0 * depth + 24.0 + pairs) * U;
    let n = others as f64;
    let below = 1.0 + (n - 1.0) * c;
    let least = below - (n - 1.0) * off - 4.0 * U;
    if least <= 0.0 { f64::INFINITY } else { n * off / (below * least) + 16.0 * U * t.abs() }
}

pub(super) fn expected(case: &Case, arrays: &Arrays, _: Elem) -> Result<Vec<Expected>> {
    let a = case.attrs.reader(case.op);
    let numbers = Numbers::read(&a);
    let w: Vec<_> = WEIGHTS.iter().map_while(|role| arrays.get(role)).collect();
    let (count, elements) = (w.len(), w[0].data.len());
    let doubles = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let whole: Vec<&[f64]> = w.iter().map(|w| w.data.as_slice()).collect();
    // Of each weight the factor, and what the factor is off by.
    let weighted = |factors: &[f64], off: f64| {
        let magnitude = |at: usize| whole.iter().zip(factors).map(|(w, c)| (c * w[at]).abs()).sum::<f64>();
        // A factor, a product, and the sums.
        (0..elements).map(|at| ((count + 2) as f64 * U + off) * magnitude(at)).collect::<Vec<_>>()
    };
    // Differences of a part of the weights, with one factor that is off by so much.
    let moved = |w: &[&[f64]], factor: f64, off: f64| {
        let n = (w.len() - 1) as f64;
        let of = |at: usize| {
            let size = w[1..].iter().map(|w_i| (w_i[at] - w[0][at]).abs()).sum::<f64>();
            // The factor's two roundings, a difference and a product; the sums, which have w.0 in them.
            (off + 4.0 * U * factor.abs()) * size + n * U * (w[0][at].abs() + factor.abs() * size)
        };
        (0..w[0].len()).map(of).collect::<Vec<_>>()
    };
    let others = (count - 1) as f64;
    let stocked = |w: &[&[f64]]| {
        let [c, t] = reference::stock(&reference::differences(w), numbers.clamp);
        moved(w, t / others, stock_error(c, t, count - 1, w[0].len()) / others)
    };
    let (factors, logits);
    let (merge, bound) = match numbers.kind.as_str() {
        "task" => {
            let alpha = f64::from(numbers.alpha);
            (Merge::Task { alpha }, moved(&whole, alpha, 0.0))
        }
        "model_stock" => {
            let rows = if numbers.per_row { w[0].shape[0] } else { 1 };
            let width = elements / rows.max(1);
            let row = |n: usize| whole.iter().map(|w| &w[n * width..(n + 1) * width]).collect::<Vec<_>>();
            let bound = (0..rows).flat_map(|n| stocked(&row(n))).collect();
            (Merge::ModelStock { per_row: numbers.per_row, clamp: numbers.clamp }, bound)
        }
        "xft" => {
            logits = &arrays["a"];
            let lambda = f64::from(numbers.lambda);
            let shares = reference::softmax(&logits.data);
            let (low, high) = logits.data.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (v.min(l), v.max(h)));
            // WGSL's exp is right within 3 + 2·|x| units in the last place; so is a sum of such, and a quotient within 5 halves.
            let off = (4.0 * (3.0 + 2.0 * (high - low)) + others + 8.0) * U;
            let factors: Vec<f64> = [lambda].into_iter().chain(shares.iter().map(|p| (1.0 - lambda) * p)).collect();
            (Merge::Xft { a: logits, lambda }, weighted(&factors, off))
        }
        kind => {
            factors = match kind {
                "lerp" => vec![1.0 - f64::from(numbers.t), numbers.t.into()],
                "ema" => vec![numbers.decay.into(), 1.0 - f64::from(numbers.decay)],
                "mean" => vec![1.0 / count as f64; count],
                _ => doubles(&numbers.factors),
            };
            (Merge::Weighted { factors: &factors }, weighted(&factors, 0.0))
        }
    };
    Ok(vec![Expected::new("y", reference::weight_merge(&w, merge).data, bound)])
}

const F32: &[Elem] = &[Elem::F32];
const FLOATS: &[Elem] = &[Elem::F32, Elem::F16, Elem::Bf16];

/// So many weights of a shape, merged in this way.
fn make(name: &str, kind: &str, shape: &[usize], count: usize) -> Case {
    let weight = |role: &&'static str| Input {
        role,
        shape: shape.to_vec(),
        fill: Fill::Normal { mean: 0.0, deviation: 0.02 },
        stored: Stored::Activation,
    };
    let mut inputs: Vec<Input> = WEIGHTS.iter().take(count).map(weight).collect();
    let mut attrs = Attrs::default().with("kind", kind);
    match kind {
        "lerp" => attrs = attrs.with("t", 0.3),
        "task" => attrs = attrs.with("alpha", 0.4),
        "ema" => attrs = attrs.with("decay", 0.99),
        "weighted" => attrs = attrs.with("factors", (0..count).map(|i| 0.7 - 0.3 * i as f64).collect::<Vec<_>>()),
        "xft" => {
            let fill = Fill::Normal { mean: 0.0, deviation: 2.0 };
            inputs.push(Input { role: "a", shape: vec![count - 1], fill, stored: Stored::Activation });
        }
        _ => {}
    }
    let elements: usize = shape.iter().product();
    let others = count - 1;
    // A factor and a sum for each; of Model Stock differences and their products too.
    let each = if kind == "model_stock" { 4 * others + others * (others + 1) } else { 2 * count };
    Case {
        name: format!("weight_merge/{name}"),
        op: OPS[0],
        title: format!("{kind} of {count} weights"),
        model: "",
        phase: "",
        attrs,
        inputs,
        weights: Vec::new(),
        outputs: vec![Output { role: "y", shape: shape.to_vec(), stored: Stored::Activation }],
        storages: F32.to_vec(),
        real: false,
        skew: 0,
        flops: (each * elements) as u64,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (model, layer, shape) in
        [("Llama-3-8B", "llama3-8b-q", [4096, 4096]), ("Qwen3-0.6B", "qwen3-0.6b-kv", [1024, 1024])]
    {
        for (kind, count) in [("lerp", 2), ("mean", 5), ("task", 3), ("xft", 8), ("model_stock", 3)] {
            let case = make(&format!("{layer}-{kind}-{count}"), kind, &shape, count);
            all.push(Case { model, phase: "merge", real: true, storages: vec![Elem::Bf16], ..case });
        }
    }
    for (shape, count) in [([1, 1], 2), ([3, 31], 2), ([33, 129], 2), ([64, 132], 2)] {
        let case = make(&format!("lerp-{}x{}", shape[0], shape[1]), "lerp", &shape, count);
        all.push(Case { storages: FLOATS.to_vec(), ..case }.hurts("odd shapes"));
    }
    for (kind, count) in
        [("mean", 1), ("mean", 6), ("mean", 7), ("weighted", 13), ("task", 7), ("task", 20), ("xft", 2), ("xft", 9)]
    {
        all.push(make(&format!("{kind}-of-{count}"), kind, &[31, 36], count).hurts("more weights than bindings"));
    }
    let wide = Fill::These(&[-130.0, 90.0, 10.0, -40.0]);
    all.push(make("xft-wide", "xft", &[31, 36], 5).fill("a", wide).hurts("logits past the range of exp"));
    let nan = Fill::These(&[0.5, f32::NAN]);
    all.push(make("xft-nan", "xft", &[5, 36], 3).fill("a", nan).hurts("a logit that is NaN"));
    let infinite = Fill::These(&[0.5, f32::INFINITY]);
    all.push(make("xft-infinite", "xft", &[5, 36], 3).fill("a", infinite).hurts("an infinite logit"));
    all.push(make("ema", "ema", &[7, 33], 2).hurts("odd shapes"));
    for (rows, shape, count) in
        [(false, [33, 31], 2), (false, [130, 100], 3), (true, [9, 8196], 3), (true, [131, 33], 3), (true, [5, 64], 7)]
    {
        let [n, k] = shape;
        let name = format!("model_stock-{n}x{k}-of-{count}{}", if rows { "-rows" } else { "" });
        let case = make(&name, "model_stock", &shape, count + 1);
        let attrs = case.attrs.clone().with("per_row", rows);
        all.push(Case { attrs, storages: FLOATS.to_vec(), ..case }.hurts("angles"));
    }
    let clamped = make("model_stock-of-11-clamped", "model_stock", &[12, 40], 12);
    all.push(Case { attrs: clamped.attrs.clone().with("clamp", true), ..clamped }.hurts("pairs of groups"));
    let zeros = Fill::Constant(0.5);
    let same = make("model_stock-same", "model_stock", &[9, 33], 3);
    all.push(WEIGHTS[..3].iter().fold(same, |case, role| case.fill(role, zeros)).hurts("no differences"));
    for kind in ["mean", "model_stock"] {
        let case = make(&format!("{kind}-nan-rows"), kind, &[7, 44], 3).fill("w.1", Fill::NanRows);
        let attrs = if kind == "mean" { case.attrs.clone() } else { case.attrs.clone().with("per_row", true) };
        all.push(Case { attrs, ..case }.hurts("NaN in some rows"));
    }
    let clamped = make("model_stock-nan-rows-clamped", "model_stock", &[7, 44], 3).fill("w.1", Fill::NanRows);
    let attrs = clamped.attrs.clone().with("per_row", true).with("clamp", true);
    all.push(Case { attrs, ..clamped }.hurts("NaN in some rows"));
    let huge = Fill::Normal { mean: 0.0, deviation: 1e10 };
    let far = make("model_stock-huge", "model_stock", &[7, 44], 4);
    let far = WEIGHTS[..4].iter().fold(far, |case, role| case.fill(role, huge));
    all.push(far.hurts("lengths whose squares have no product"));
    let large = Fill::Normal { mean: 1e4, deviation: 1.0 };
    let far = WEIGHTS[..3].iter().fold(make("task-far", "task", &[20, 100], 3), |case, role| case.fill(role, large));
    all.push(far.hurts("numbers of 1e4, close to each other"));
    for (kind, count, skew) in [("mean", 3, 1), ("model_stock", 4, 4), ("xft", 7, 3)] {
        let case = make(&format!("{kind}-skew-{skew}"), kind, &[10, 28], count);
        all.push(Case { skew, storages: FLOATS.to_vec(), ..case }.hurts("views"));
    }
    let mut mixed = make("mean-mixed", "mean", &[10, 28], 3);
    mixed.inputs[0].stored = Stored::Always(Elem::F16);
    mixed.inputs[1].stored = Stored::Always(Elem::Bf16);
    all.push(Case { storages: FLOATS.to_vec(), ..mixed }.hurts("each stored in another way"));
    for shape in [vec![], vec![3], vec![2, 3, 5], vec![0, 4]] {
        all.push(make(&format!("mean-{shape:?}"), "mean", &shape, 2).hurts("any shape"));
    }
    all
}
