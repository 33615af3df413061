//! Token skipping: routers, selections and ends of layers, in shapes and with values that hurt, and of real models.

use super::codes::U;
use super::{Arrays, Case, Fill, Input, Output, Stored, User, hand};
use crate::error::{Result, shape_error};
use crate::ops::depth::{Choose, Combine, GRIDS, GRIDS_FOLD, Gate, GateOf, GateOn, ROWS_GRID, Route, Select, Take};
use crate::proof::attrs::Reader;
use crate::proof::{Attrs, Expected, Roles};
use crate::reference;
use crate::tensor::Elem;

pub(super) const OPS: &[&str] = &["mod_route", "mod_select", "mod_combine", "mod_take"];

/// How many are chosen: `k`, `ratio` or `above`.
fn choose(op: &'static str, a: &Reader<'_>) -> Result<Choose> {
    let absent = f64::INFINITY;
    let given = [a.number("k", absent), a.number("ratio", absent), a.number("above", absent)];
    match given.map(|v| v != absent) {
        [true, false, false] => Ok(Choose::Count(given[0] as usize)),
        [false, true, false] => Ok(Choose::Ratio(given[1] as f32)),
        [false, false, true] => Ok(Choose::Above(given[2] as f32)),
        _ => Err(shape_error!(op, "one of the attributes k, ratio and above must be given")),
    }
}

/// How a gate is made.
fn gate(a: &Reader<'_>) -> Result<Gate> {
    let of = GateOf::parse(a.text("gate", "tanh"))?;
    Ok(Gate { of, alpha: a.number("alpha", 0.2) as f32, bias: a.number("bias", 1.0) as f32 })
}

pub(super) fn build(op: &'static str, attrs: &Attrs, r: Roles<'_>, user: User<'_>) -> Result<()> {
    let a = attrs.reader(op);
    match op {
        "mod_route" => {
            let op = Route {
                bias: r.maybe("bias"),
                target: r.maybe("target"),
                valid: r.maybe("valid"),
                gate: r.maybe("gate"),
                by: gate(&a)?,
                ..Route::new(r.need("x")?, r.need("weight")?, r.need("score")?)
            };
            hand(&a, &r, user, &op)
        }
        "mod_select" => {
            let candidates = a.list("candidates").map(|list| list.iter().map(|n| *n as usize).collect::<Vec<_>>());
            let op = Select {
                target: r.maybe("target"),
                valid: r.maybe("valid"),
                candidates: candidates.as_deref(),
                keep: r.maybe("keep"),
                index: r.maybe("index"),
                place: r.maybe("place"),
                grids: r.maybe("grids"),
                starts: r.maybe("starts"),
                ..Select::new(r.need("score")?, choose(op, &a)?, r.need("count")?)
            };
            hand(&a, &r, user, &op)
        }
        "mod_take" => {
            let len = a.number("len", 1.0) as usize;
            let op = Take { x: r.need("x")?, len, rows: r.need("rows")?, y: r.need("y")? };
            hand(&a, &r, user, &op)
        }
        _ => {
            let op = Combine {
                x: r.need("x")?,
                h: r.need("h")?,
                m: r.maybe("m"),
                gate: r.maybe("gate"),
                place: r.need("place")?,
                y: r.need("y")?,
                gate_on: GateOn::parse(a.text("gate_on", "mlp"))?,
                scale_skipped: a.flag("scale_skipped", true),
            };
            hand(&a, &r, user, &op)
        }
    }
}

pub(super) fn expected(case: &Case, arrays: &Arrays, _: Elem) -> Result<Vec<Expected>> {
    match case.op {
        "mod_route" => routed(case, arrays),
        "mod_select" => selected(case, arrays),
        "mod_take" => taken(case, arrays),
        _ => combined(case, arrays),
    }
}

/// Flags of tokens; all where there are none.
fn flags(arrays: &Arrays, role: &str, n: usize) -> Vec<bool> {
    arrays.get(role).map_or_else(|| vec![true; n], |a| a.data.iter().map(|v| *v != 0.0).collect())
}

/// A score is a sum: of a lane's four sums each pays for a product and the terms it adds, then there are those of the lanes and the
/// bias. A gate pays for its score by no more than f's slope, which is at most 1, for f itself, and for a product and a sum.
fn routed(case: &Case, arrays: &Arrays) -> Result<Vec<Expected>> {
    let gate = gate(&case.attrs.reader(case.op))?;
    let (x, weight) = (&arrays["x"], &arrays["weight"]);
    let len = weight.data.len();
    let bias = arrays.get("bias").map_or(0.0, |b| b.data[0]);
    let (score, sizes) = reference::mod_route(x, &weight.data, bias);
    let roundings = (len.div_ceil(1024).max(4) + 14) as f64;
    let errors: Vec<f64> = sizes.iter().map(|size| roundings * U * size).collect();
    let mut all = vec![Expected::new("score", score.clone(), errors.clone())];
    if !case.outputs.iter().any(|o| o.role == "gate") {
        return Ok(all);
    }
    let tokens = x.shape[x.shape.len() - 2];
    let (target, valid) = (flags(arrays, "target", score.len()), flags(arrays, "valid", score.len()));
    let candidates: Vec<bool> = target.iter().zip(valid).map(|(t, v)| *t && v).collect();
    let (alpha, add) = (f64::from(gate.alpha), f64::from(gate.bias));
    let (mut want, mut bound) = (Vec::new(), Vec::new());
    for (i, f) in reference::gates(gate.of.name(), &score, &candidates, tokens).into_iter().enumerate() {
        let of_f = match gate.of {
            GateOf::None => errors[i],
            // exp has 3 + 2|v| ulp, which falls off as quickly as the slope; a quotient has 2.5.
            GateOf::Tanh => errors[i] + 16.0 * U,
            // Beyond 87 it stays what it is there.
            GateOf::Sigmoid => 0.25 * errors[i] + 8.0 * U + 2e-38,
            GateOf::Softmax => {
                // Of the share's own exponent and of the sum's, whose terms fall off as they are off.
                let sample = i / tokens * tokens..(i / tokens + 1) * tokens;
                let of_sample = || sample.clone().filter(|j| candidates[*j]);
                let largest = of_sample().map(|j| score[j]).fold(f64::NEG_INFINITY, f64::max);
                let error = of_sample().map(|j| errors[j]).fold(0.0, f64::max);
                let beside = if candidates[i] { largest - score[i] } else { 0.0 };
                f * (4.0 * error + (40.0 + 10.0 * beside + tokens as f64 / 256.0) * U) + 2e-38
            }
        };
        want.push(alpha * f + add);
        bound.push(alpha.abs() * of_f + 2.0 * U * ((alpha * f).abs() + add.abs()));
    }
    all.push(Expected::new("gate", want, bound));
    Ok(all)
}

/// Exact.
fn selected(case: &Case, arrays: &Arrays) -> Result<Vec<Expected>> {
    let choose = choose(case.op, &case.attrs.reader(case.op))?;
    let score = &arrays["score"];
    let n = score.data.len();
    let output = |role: &str| case.outputs.iter().find(|o| o.role == role);
    let places = output("index").map_or(score.shape[1], |o| o.shape[1]);
    let chosen = |best: &[f64]| match choose {
        Choose::Above(threshold) => best.iter().filter(|s| **s > f64::from(threshold)).count(),
        other => other.of(best.len()),
    };
    let mut of = reference::mod_select(score, &flags(arrays, "target", n), &flags(arrays, "valid", n), places, chosen);
    let last = of.count.last().copied().unwrap_or(0.0) as usize;
    let (rows, starts) = match output("starts") {
        None => (places * score.shape[0].saturating_sub(1) + last, Vec::new()),
        Some(_) => {
            let starts = of.close_up(places);
            (starts.last().copied().unwrap_or(0.0) as usize, starts)
        }
    };
    let grids = (0..ROWS_GRID).flat_map(|i| {
        let (groups, fold) = (rows.div_ceil(1 << i), GRIDS_FOLD as usize);
        [groups.min(fold) as f64, groups.div_ceil(fold).max(1) as f64, 1.0]
    });
    let grids = grids.chain([rows as f64, 1.0, 1.0]).collect();
    let all = [("keep", of.keep), ("count", of.count), ("index", of.index), ("place", of.place)];
    let asked =
        all.into_iter().chain([("grids", grids), ("starts", starts)]).filter(|(role, _)| output(role).is_some());
    Ok(asked.map(|(role, want)| Expected::exact(role, want)).collect())
}

/// Exact.
fn taken(case: &Case, arrays: &Arrays) -> Result<Vec<Expected>> {
    let len = case.attrs.reader(case.op).number("len", 1.0) as usize;
    let x = reference::Array { shape: vec![arrays["x"].data.len() / len, len], data: arrays["x"].data.clone() };
    Ok(vec![Expected::exact("y", reference::mod_take(&x, &arrays["rows"]).data)])
}

/// Three operations at most, each of which rounds what is no larger than all that goes into it.
fn combined(case: &Case, arrays: &Arrays) -> Result<Vec<Expected>> {
    let a = case.attrs.reader(case.op);
    let (on_layer, scaled) = (a.text("gate_on", "mlp") == "layer", a.flag("scale_skipped", true));
    let (x, h, place) = (&arrays["x"], &arrays["h"], &arrays["place"]);
    let m = arrays.get("m").map_or_else(|| vec![0.0; h.data.len()], |m| m.data.clone());
    let gate = arrays.get("gate").map_or_else(|| vec![1.0; place.data.len()], |g| g.data.clone());
    let y = reference::mod_combine(x, &h.data, &m, &gate, &place.data, on_layer, scaled);
    let size = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
    // x stands twice in the layer's formula, so that its size is that of what is added there.
    let of_x = x.with(size(&x.data));
    let sizes = reference::mod_combine(&of_x, &size(&h.data), &size(&m), &size(&gate), &place.data, false, scaled);
    let len = x.shape[x.shape.len() - 1];
    let bound = sizes.data.iter().zip(&of_x.data).enumerate().map(|(i, (size, x))| {
        let (g, kind) = (gate[i / len].abs(), place.data[i / len] % 4.0);
        let arithmetic = if kind == 0.0 || (kind == 1.0 && !scaled) { 0.0 } else { 4.0 };
        arithmetic * U * if on_layer { (1.0 + g) * (size + 2.0 * x) } else { *size }
    });
    let bound = bound.collect();
    // A NaN of x is not a number's size.
    Ok(vec![Expected::new("y", y.data, bound)])
}

const FLOATS: &[Elem] = &[Elem::F32, Elem::F16, Elem::Bf16];
const F32: &[Elem] = &[Elem::F32];
const NORMAL: Fill = Fill::Normal { mean: 0.0, deviation: 1.0 };

/// So many of a thousand flags are set.
fn flagged(thousandths: u32) -> Fill {
    let p = thousandths as f32 / 1000.0;
    Fill::Uniform(p - 0.5, p + 0.5)
}

fn input(role: &'static str, shape: &[usize], fill: Fill, stored: Stored) -> Input {
    Input { role, shape: shape.to_vec(), fill, stored }
}

fn output(role: &'static str, shape: &[usize], elem: Elem) -> Output {
    Output { role, shape: shape.to_vec(), stored: Stored::Always(elem) }
}

fn case(op: usize, name: &str, inputs: Vec<Input>, outputs: Vec<Output>) -> Case {
    Case {
        name: format!("{}/{name}", OPS[op]),
        op: OPS[op],
        title: name.replace('-', " "),
        model: "",
        phase: "",
        attrs: Attrs::default(),
        inputs,
        weights: Vec::new(),
        outputs,
        storages: F32.to_vec(),
        real: false,
        skew: 0,
        flops: 0,
    }
}

/// A router with a bias and a gate.
fn route(name: &str, shape: [usize; 3], gate: &str) -> Case {
    let [samples, tokens, len] = shape;
    let deviation = 1.0 / (len as f32).sqrt();
    let inputs = vec![
        input("x", &shape, NORMAL, Stored::Activation),
        input("weight", &[1, len], Fill::Normal { mean: 0.0, deviation }, Stored::Activation),
        input("bias", &[1], NORMAL, Stored::Activation),
    ];
    let of_tokens = |role| output(role, &[samples, tokens], Elem::F32);
    let mut case = case(0, name, inputs, vec![of_tokens("score"), of_tokens("gate")]);
    case.attrs = case.attrs.with("gate", gate);
    case.flops = 2 * (samples * tokens * len) as u64;
    case
}

/// A selection among targets with everything that it gives.
fn select(name: &str, [samples, tokens]: [usize; 2], targets: u32, attrs: Attrs) -> Case {
    let shape = [samples, tokens];
    let mut inputs = vec![input("score", &shape, NORMAL, Stored::Activation)];
    if targets < 1000 {
        inputs.push(input("target", &shape, flagged(targets), Stored::Always(Elem::U8)));
    }
    let outputs = vec![
        output("keep", &shape, Elem::U8),
        output("count", &[samples], Elem::U32),
        output("index", &shape, Elem::U32),
        output("place", &shape, Elem::U32),
        output("grids", &[GRIDS, 3], Elem::U32),
    ];
    let mut case = case(1, name, inputs, outputs);
    case.attrs = attrs;
    case.flops = (samples * tokens) as u64;
    case
}

/// Chosen, skipped, chosen, skipped: the rows are 0, 1, 1, 2, 2 and so on.
const IN_TURN: Fill = Fill::Steps { first: 3.0, step: 2.0 };

/// The bytes of what is kept of x, for which h and m are read.
pub(super) fn unread_bytes(case: &Case, storage: Elem) -> u64 {
    let Some(x) = case.inputs.first().filter(|_| case.inputs.iter().any(|i| i.fill == IN_TURN)) else { return 0 };
    (x.shape.iter().product::<usize>() / 2 * storage.bytes()) as u64
}

/// The end of a layer, of which a quarter of the tokens is padding, skipped, no target and chosen.
fn combine(name: &str, [tokens, rows, len]: [usize; 3]) -> Case {
    let places = Fill::Uniform(-0.4, 4.0 * rows as f32 - 0.6);
    let inputs = vec![
        input("x", &[tokens, len], NORMAL, Stored::Activation),
        input("h", &[rows, len], NORMAL, Stored::Activation),
        input("m", &[rows, len], NORMAL, Stored::Activation),
        input("gate", &[tokens], Fill::Uniform(0.8, 1.2), Stored::Always(Elem::F32)),
        input("place", &[tokens], places, Stored::Always(Elem::U32)),
    ];
    let y = Output { role: "y", shape: vec![tokens, len], stored: Stored::Activation };
    let mut case = case(2, name, inputs, vec![y]);
    case.flops = (tokens * len) as u64;
    case
}

/// Models with the width of their hidden state.
const MODELS: [(&str, &str, usize); 2] = [("qwen3-0.6b", "Qwen3-0.6B", 1024), ("llama3-8b", "Llama-3-8B", 4096)];

/// Adds a case, and why it hurts. As a function of its own it is there once: the page carries all cases.
#[inline(never)]
fn hurts(all: &mut Vec<Case>, phase: &'static str, case: Case) {
    all.push(Case { phase, ..case });
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let ratio = |r: f64| Attrs::default().with("ratio", r);
    let k = |k: usize| Attrs::default().with("k", k as f64);
    let above = |t: f64| Attrs::default().with("above", t);
    // Of real models.
    for (name, model, len) in MODELS {
        let real = |case: Case| Case { model, phase: "prefill", real: true, storages: vec![Elem::F16], ..case };
        all.push(real(route(&format!("{name}-2048"), [1, 2048, len], "tanh")));
        let mut case = combine(&format!("{name}-2048"), [2048, 1024, len]);
        // As a layer leaves them: every second token is chosen, and each has a row of its own.
        if let Some(place) = case.inputs.iter_mut().find(|i| i.role == "place") {
            place.fill = IN_TURN;
        }
        all.push(real(case));
    }
    for tokens in [2048, 65_536, 131_072] {
        let case = select(&format!("vision-{tokens}"), [1, tokens], 900, ratio(0.5));
        all.push(Case { model: "p-MoD", phase: "prefill", real: true, ..case });
    }
    // Routers.
    for (i, len) in [1, 3, 31, 33, 64, 127, 129, 1023, 4099].into_iter().enumerate() {
        let gate = ["tanh", "sigmoid", "none", "softmax"][i % 4];
        let case = route(&format!("{len}-{gate}"), [2, 33, len], gate);
        hurts(&mut all, "odd shapes", Case { storages: FLOATS.to_vec(), ..case });
    }
    for gate in ["tanh", "sigmoid", "none", "softmax"] {
        let mut wide = route(&format!("wide-{gate}"), [3, 70, 256], gate);
        wide.inputs[0].fill = Fill::Normal { mean: 0.0, deviation: 30.0 };
        hurts(&mut all, "scores far out", wide);
    }
    hurts(&mut all, "long rows", route("long", [1, 3, 20_000], "tanh"));
    let mut special = route("special", [1, 25, 64], "tanh");
    special.inputs[0].fill = Fill::Special;
    hurts(&mut all, "NaN, infinities, zeros, each in its row", special);
    let mut special = route("special-softmax", [8, 3, 64], "softmax");
    special.inputs[0].fill = Fill::Special;
    hurts(&mut all, "NaN, infinities, zeros, each in some samples", special);
    // What is no candidate is not looked at, and a share is of the largest score, wherever that is.
    let mut low = route("low-softmax", [2, 33, 64], "softmax");
    low.inputs[2].fill = Fill::Constant(-300.0);
    hurts(&mut all, "scores past the range of exp", low);
    let mut other = route("other-above-softmax", [2, 5, 1], "softmax");
    other.inputs[0].fill = Fill::These(&[1.0, 300.0, 0.5, -1.0, 2.0]);
    other.inputs[1].fill = Fill::Constant(1.0);
    other.inputs.push(input("target", &[2, 5], Fill::These(&[1., 0., 1., 1., 1.]), Stored::Always(Elem::U8)));
    hurts(&mut all, "a score above those of all candidates", other);
    let mut candidates = route("candidates", [3, 300, 32], "softmax");
    for role in ["target", "valid"] {
        candidates.inputs.push(input(role, &[3, 300], flagged(600), Stored::Always(Elem::U8)));
    }
    hurts(&mut all, "softmax over some", Case { skew: 3, ..candidates });
    let mut alone = route("alone", [2, 9, 68], "tanh");
    (alone.attrs, alone.outputs) = (Attrs::default(), alone.outputs[..1].to_vec());
    alone.inputs.remove(2);
    hurts(&mut all, "scores alone, anywhere", Case { skew: 1, storages: FLOATS.to_vec(), ..alone });
    hurts(&mut all, "nothing to do", route("no-tokens", [1, 0, 8], "tanh"));
    // Selections: lengths about every border.
    for (i, tokens) in [1, 3, 31, 33, 127, 129, 1023, 1024, 1025, 2049, 4099, 16_385].into_iter().enumerate() {
        let attrs = [ratio(0.5), k(tokens / 3), above(0.3)][i % 3].clone();
        let case = select(&format!("{tokens}"), [3, tokens], 700, attrs);
        hurts(
            &mut all,
            "lengths",
            Case { storages: if tokens < 5000 { FLOATS.to_vec() } else { F32.to_vec() }, ..case },
        );
    }
    for (name, tokens) in [("", 300), ("-divided", 5001)] {
        for (what, attrs) in
            [("none", k(0)), ("all", ratio(1.0)), ("ratio-0", ratio(0.0)), ("half", ratio(0.5)), ("one", k(1))]
        {
            let mut case = select(&format!("ties-{what}{name}"), [2, tokens], 800, attrs);
            case.inputs[0].fill = Fill::Coarse;
            hurts(&mut all, "equal scores, NaN, infinities, both zeros", case);
        }
        for (what, threshold) in
            [("zero", 0.0), ("negative-zero", -0.0), ("lowest", f64::NEG_INFINITY), ("highest", 1e39)]
        {
            let mut case = select(&format!("above-{what}{name}"), [2, tokens], 800, above(threshold));
            case.inputs[0].fill = Fill::Coarse;
            hurts(&mut all, "thresholds", case);
        }
        let mut padded = select(&format!("padding{name}"), [4, tokens], 500, ratio(0.4));
        padded.inputs.push(input("valid", &[4, tokens], flagged(600), Stored::Always(Elem::U8)));
        hurts(&mut all, "padding, views anywhere", Case { skew: 1, ..padded });
        hurts(&mut all, "no targets", select(&format!("no-targets{name}"), [2, tokens], 0, ratio(0.7)));
        // Samples that keep unequal numbers.
        for (what, attrs) in [("ratio", ratio(0.4)), ("above", above(0.3))] {
            let mut close = select(&format!("closed-up-{what}{name}"), [5, tokens], 500, attrs);
            close.inputs.push(input("valid", &[5, tokens], flagged(600), Stored::Always(Elem::U8)));
            close.outputs.push(output("starts", &[6], Elem::I32));
            hurts(&mut all, "samples that follow each other", Case { skew: 1, ..close });
        }
        let mut nothing = select(&format!("all-padding{name}"), [2, tokens], 500, ratio(0.7));
        nothing.inputs.push(input("valid", &[2, tokens], flagged(0), Stored::Always(Elem::U8)));
        hurts(&mut all, "samples of padding alone", nothing);
        // As many places as are needed, and nothing else is asked for.
        let mut told = select(&format!("told{name}"), [2, tokens], 1000, k(tokens / 5));
        told.attrs = told.attrs.with("candidates", vec![tokens as f64; 2]);
        told.outputs = vec![output("count", &[2], Elem::I32), output("index", &[2, tokens / 5], Elem::U32)];
        hurts(&mut all, "few places", told);
        let mut same = select(&format!("all-same{name}"), [2, tokens], 1000, k(tokens - 1));
        same.inputs[0].fill = Fill::Constant(0.5);
        same.outputs[0].stored = Stored::Always(Elem::U32);
        hurts(&mut all, "all scores the same", same);
    }
    for tokens in [300, 5001] {
        let mut few = select(&format!("fewer-candidates-{tokens}"), [2, tokens], 300, k(tokens - 1));
        few.inputs[0].fill = Fill::Coarse;
        hurts(&mut all, "more are wanted than there are, NaN among them", few);
    }
    for tokens in [1025, 5001] {
        let mut near = select(&format!("near-{tokens}"), [2, tokens], 1000, ratio(0.5));
        near.inputs[0].fill = Fill::Steps { first: 1.0, step: f32::EPSILON };
        hurts(&mut all, "scores that differ in their last bits", near);
    }
    let mut flags = select("flags", [2, 300], 500, ratio(0.5));
    flags.inputs[1].fill = Fill::These(&[2.0, 0.0, 255.0, 1.0, 128.0, 0.0, 16.0]);
    hurts(&mut all, "every number but 0 is a flag", flags);
    // 5 candidates, none for all is padding, 2, and 1.
    let valid: &[f32] = &[1., 1., 1., 1., 1., 0., 0., 0., 0., 0., 1., 1., 0., 0., 0., 1., 1., 1., 1., 0.];
    let target: &[f32] = &[1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 0., 0., 1., 0., 1.];
    let mut differing = select("differing-targets", [4, 5], 1000, ratio(0.5));
    for (role, flags) in [("target", target), ("valid", valid)] {
        differing.inputs.push(input(role, &[4, 5], Fill::These(flags), Stored::Always(Elem::U8)));
    }
    let mut close = differing.clone();
    close.name += "-closed-up";
    close.outputs.push(output("starts", &[5], Elem::I32));
    hurts(&mut all, "samples that follow each other, one of padding alone", close);
    hurts(&mut all, "samples with different numbers of targets, one of padding alone", differing);
    for tokens in [300, 5001] {
        let mut more = select(&format!("more-places-{tokens}"), [2, tokens], 700, ratio(0.5));
        more.outputs.iter_mut().filter(|o| o.role == "index").for_each(|o| o.shape[1] = tokens + 4100);
        hurts(&mut all, "more places than tokens", more);
    }
    hurts(&mut all, "many samples", select("many", [70, 40], 500, ratio(0.5)));
    let mut none = select("no-samples", [0, 8], 1000, ratio(0.5));
    none.outputs.pop();
    hurts(&mut all, "nothing to do", none);
    let mut nothing_kept = combine("nothing-kept", [30, 0, 12]);
    nothing_kept.inputs[4].fill = Fill::Uniform(0.0, 1.0);
    hurts(&mut all, "no kept rows", nothing_kept);
    hurts(&mut all, "samples of nothing", select("no-tokens", [3, 0], 1000, ratio(0.5)));
    // Rows through a list, of which some are not there.
    for (name, rows, len, x, skew) in [
        ("positions", [2, 129], 1, Stored::Always(Elem::I32), 1),
        ("rows", [1, 33], 12, Stored::Activation, 4),
        ("none", [3, 0], 8, Stored::Activation, 0),
    ] {
        let listed = Fill::Uniform(-0.4, 49.4);
        let fill = if len == 1 { Fill::Shuffled } else { Fill::Special };
        let shape = if len == 1 { vec![4, 10] } else { vec![4, 10, len] };
        let y = Output { role: "y", shape: [&rows[..], &shape[2..]].concat(), stored: x };
        let inputs = vec![input("x", &shape, fill, x), input("rows", &rows, listed, Stored::Always(Elem::U32))];
        let mut case = case(3, name, inputs, vec![y]);
        case.attrs = case.attrs.with("len", len as f64);
        let storages = if len == 1 { F32 } else { FLOATS };
        hurts(&mut all, "rows through a list", Case { skew, storages: storages.to_vec(), ..case });
    }
    // Ends of layers.
    for (i, len) in [1, 3, 31, 33, 64, 129, 1000].into_iter().enumerate() {
        let mut case = combine(&format!("{len}"), [45, 20, len]);
        case.skew = [0, 1, 4][i % 3];
        case.attrs = case.attrs.with("gate_on", ["mlp", "layer"][i % 2]).with("scale_skipped", i % 4 < 2);
        hurts(&mut all, "odd shapes", Case { storages: FLOATS.to_vec(), ..case });
    }
    for (name, gate_on) in [("finished", "mlp"), ("finished-layer", "layer")] {
        let mut case = combine(name, [50, 21, 36]);
        case.inputs.remove(2);
        case.attrs = case.attrs.with("gate_on", gate_on);
        hurts(&mut all, "h with all that is added", case);
    }
    let mut ungated = combine("ungated", [50, 21, 36]);
    ungated.inputs.drain(2..4);
    ungated.attrs = ungated.attrs.with("scale_skipped", false);
    hurts(&mut all, "no gate at all", ungated);
    let mut special = combine("special", [60, 30, 16]);
    special.inputs[0].fill = Fill::Special;
    hurts(&mut all, "NaN and infinities, each in its row", Case { storages: FLOATS.to_vec(), ..special });
    let mut mixed = combine("mixed", [33, 17, 24]);
    mixed.inputs[1].stored = Stored::Always(Elem::F32);
    mixed.inputs[2].stored = Stored::Always(Elem::Bf16);
    hurts(&mut all, "three storages", Case { storages: FLOATS.to_vec(), ..mixed });
    hurts(&mut all, "nothing to do", combine("no-tokens", [0, 1, 8]));
    all
}
