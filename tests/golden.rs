//! Golden cases: outputs that independent packages computed, one named test a file.
//!
//! Runs the files of `tests/golden` and of every directory in `GRISTMILL_GOLDEN=dir[:dir]`. A case whose op does not exist yet is
//! listed as ignored; one whose op exists but whose attribute is unknown fails. Each is computed by every plan, with `GRISTMILL_PLANS=some` by
//! the first and the last.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "it says on what it runs")]

mod golden_attention;
mod golden_file;
mod golden_layer;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use golden_file::{Compare, attrs_of, packed_of, part_of};
use golden_layer::LAYER;
use gristmill::formats::Format;
use gristmill::ops::depth::{Curve, Layer, Schedule};
use gristmill::ops::quantize::QuantizeRows;
use gristmill::proof::cases::attach;
use gristmill::proof::{Attrs, Operands, Use, Value, build, is_known};
use gristmill::{Dispatcher, Elem, Error, Op, Tensor, Weight};
use libtest_mimic::{Arguments, Failed, Trial};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let gpu = match pollster::block_on(Dispatcher::request()) {
        Ok(gpu) => gpu,
        Err(error) => {
            eprintln!("golden: {error}");
            return ExitCode::FAILURE;
        }
    };
    let files = match golden_file::all() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("golden: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("device: {} ({}), {} files", gpu.info().name, gpu.info().driver, files.len());
    let trials = files
        .into_iter()
        .map(|(name, path)| {
            let op = name.split('/').next().unwrap_or_default();
            let ignored = !is_known(op) && op != SCHEDULE && op != LAYER;
            Trial::test(name, move || on_a_free_device(&path)).with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Not an op: plain arithmetic on the host.
const SCHEDULE: &str = "mod_schedule";

/// Devices that no test has: a device compiles one kernel at a time, so that there is one for each test that runs at the same time.
static FREE: Mutex<Vec<Dispatcher>> = Mutex::new(Vec::new());

fn on_a_free_device(path: &Path) -> Result<(), Failed> {
    let free = || FREE.lock().map_err(|e| e.to_string());
    let taken = free()?.pop();
    let gpu = match taken {
        Some(gpu) => gpu,
        None => pollster::block_on(Dispatcher::request())?,
    };
    let told = run(&gpu, path);
    free()?.push(gpu);
    told
}

fn elem_of(dtype: Dtype) -> Result<Elem, Failed> {
    match dtype {
        Dtype::F32 => Ok(Elem::F32),
        Dtype::F16 => Ok(Elem::F16),
        Dtype::BF16 => Ok(Elem::Bf16),
        Dtype::I32 => Ok(Elem::I32),
        Dtype::U32 => Ok(Elem::U32),
        Dtype::I8 => Ok(Elem::I8),
        Dtype::U8 | Dtype::BOOL => Ok(Elem::U8),
        other => Err(format!("no operand is stored as {other:?} yet").into()),
    }
}

/// Where an expected output is found among ours: the same role, or a column of the statistics.
fn home_of(op: &str, role: &str) -> Result<(&'static str, Option<usize>), Failed> {
    Ok(match (op, role) {
        ("layer_norm" | "rms_norm" | "group_norm", "mean") => ("stats", Some(0)),
        ("layer_norm" | "rms_norm" | "group_norm", "rstd") => ("stats", Some(1)),
        ("quantize_rows", "q") => ("q", None),
        ("quantize_rows", "scale") => ("scale", None),
        ("quantize_rows", "zero") => ("zero", None),
        ("mod_select", "keep") => ("keep", None),
        ("mod_select", "count") => ("count", None),
        (_, "y") | ("dequantize" | "adapter_merge" | "weight_merge", "w") => ("y", None),
        (_, "sum") => ("sum", None),
        ("attention", "lse") => ("lse", None),
        ("attention", "present_k") => ("present_k", None),
        ("attention", "present_v") => ("present_v", None),
        (_, other) => return Err(format!("no output is called {other}").into()),
    })
}

/// A case that is an error, with what its file says of it.
struct Refused<'a> {
    path: &'a Path,
    reason: &'a str,
}

impl Refused<'_> {
    /// What we say of each: the case, and the whole text. Any error at all would also be one of something else.
    const TOLD: &'static str = include_str!("golden/errors.txt");

    fn is_told<T>(&self, told: Result<T, Error>) -> Result<(), Failed> {
        let reason = self.reason;
        let Err(told) = told else { return Err(format!("no error, though {reason}").into()) };
        let case = self.path.with_extension("");
        let mut lines = Self::TOLD.lines().filter_map(|line| line.split_once("  "));
        match lines.find(|(name, _)| case.ends_with(name)) {
            Some((_, want)) if told.to_string() == want => Ok(()),
            Some((_, want)) => Err(format!("{told}\nis said, not: {want}").into()),
            None => Err(format!("tests/golden/errors.txt has no line for: {told}\nit should say that {reason}").into()),
        }
    }
}

struct Expect {
    role: String,
    values: Vec<f32>,
    home: (&'static str, Option<usize>),
}

fn run(gpu: &Dispatcher, path: &Path) -> Result<(), Failed> {
    let bytes = std::fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let meta = header.metadata().as_ref().ok_or("no __metadata__")?;
    let field = |name: &str| meta.get(name).map(String::as_str).ok_or_else(|| Failed::from(format!("no {name}")));
    let (op, attrs, compare) = (field("op")?, attrs_of(field("attrs")?)?, Compare::of(field("compare")?)?);

    let refused = meta.get("expect_error").map(|reason| Refused { path, reason });
    if op == SCHEDULE {
        return schedule(&attrs, &file, &compare, refused);
    }
    if op == LAYER {
        return layer(gpu, &attrs, &file, &compare, refused);
    }
    let weighed = matches!(op, "linear" | "dequantize" | "adapter_merge" | "adapter_linear");
    let adapted = op.starts_with("adapter_");
    // Tensors that are not the weight's.
    let beside = |role: &str| {
        role == "x" || adapted && ["lora_", "m_", "miss_", "hada_", "core."].iter().any(|start| role.starts_with(start))
    };
    let (mut tensors, mut expects, mut parts) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let upload = |view: &TensorView<'_>| -> Result<Tensor, Failed> {
        if view.dtype() == Dtype::I64 {
            // Positions: what is wide in a file is narrow on a device.
            let low = |c: &[u8]| c[..4].to_vec();
            let bytes: Vec<u8> = view.data().chunks_exact(8).flat_map(low).collect();
            return Ok(gpu.upload_bytes(&bytes, view.shape(), Elem::I32)?);
        }
        Ok(gpu.upload_bytes(view.data(), view.shape(), elem_of(view.dtype())?)?)
    };
    for (role, view) in file.tensors() {
        match role.strip_prefix("expect.") {
            None if weighed && role == "b" => {
                tensors.insert("bias".to_owned(), upload(&view)?);
            }
            None if weighed && !beside(&role) => {
                let part = part_of(&role, &view)?;
                // A base of numbers, which has no format, is dense.
                parts.insert(if role == "w0" { "w".to_owned() } else { role }, part);
            }
            None => {
                tensors.insert(role, upload(&view)?);
            }
            Some(role) => {
                let elem = elem_of(view.dtype())?;
                let home = home_of(op, role)?;
                let shape = match home.1 {
                    None => view.shape().to_vec(),
                    Some(_) => view.shape().iter().copied().chain([2]).collect(),
                };
                // A NaN in every output shows what is not written.
                let poison = vec![0xff; shape.iter().product::<usize>() * elem.bytes()];
                // What is past and what is new, attention is given.
                if !tensors.contains_key(home.0) && !home.0.starts_with("present_") {
                    tensors.insert(home.0.to_owned(), gpu.upload_bytes(&poison, &shape, elem)?);
                }
                expects.push(Expect { role: role.to_owned(), values: elem.decode(view.data()), home });
            }
        }
    }
    let (mut own, mut of_weight) = split(&attrs, weighed);
    if let Some(kv_len) = tensors.get("kv_len") {
        let longest = pollster::block_on(kv_len.read())?.into_iter().fold(0.0, f32::max);
        own.0.insert("longest".to_owned(), Value::Number(f64::from(longest)));
    }
    if op == "mod_select" {
        own.0.insert("candidates".to_owned(), candidates(&file)?);
    }
    if let Some([n, k]) = parts.get("w").filter(|_| adapted).map(|w| w.shape.clone()).as_deref() {
        of_weight = of_weight.with("format", "dense").with("n", *n as f64).with("k", *k as f64);
    }
    let weights = || -> Result<BTreeMap<String, Weight>, Error> {
        if !weighed {
            return Ok(BTreeMap::new());
        }
        let role = if adapted { "w0" } else { "w" };
        Ok(BTreeMap::from([(role.to_owned(), gpu.weight(&packed_of(&of_weight, parts.clone())?)?)]))
    };
    if let Some(refused) = refused {
        // The output has the shape that the inputs give it, where the fault does not say otherwise.
        let size = |name: &str| match of_weight.0.get(name) {
            Some(Value::Number(v)) => *v as usize,
            _ => 0,
        };
        let first =
            tensors.get("x").or_else(|| tensors.get("z")).or_else(|| tensors.get("q")).or_else(|| tensors.get("w.0"));
        let (shape, elem) = match first {
            Some(x) if weighed => (vec![x.shape().dims().first().copied().unwrap_or(1), size("n")], x.elem()),
            Some(x) if op == "attention" => {
                let width = tensors.get("v").and_then(|v| v.shape().dims().last().copied());
                let mut shape = x.shape().dims().to_vec();
                shape.splice(3.., width);
                (shape, x.elem())
            }
            Some(x) => (x.shape().dims().to_vec(), x.elem()),
            None => (vec![size("n"), size("k")], Elem::F32),
        };
        if op == "mod_select" {
            let samples = file.tensor("score")?.shape().first().copied().unwrap_or_default();
            tensors.insert("count".to_owned(), gpu.zeros([samples], Elem::I32)?);
        } else if op == "quantize_rows" {
            tensors.insert("q".to_owned(), gpu.zeros(&shape, Elem::I8)?);
            tensors.insert("scale".to_owned(), gpu.zeros(&shape[..1], Elem::F32)?);
        } else {
            tensors.insert("y".to_owned(), gpu.zeros(&shape, elem)?);
        }
        let first = match golden_attention::is_asked(&tensors, &own) {
            true if op == "attention" => golden_attention::before(gpu, &mut tensors, &mut own, 0).map(|_| ()),
            _ => Ok(()),
        };
        let told = first.and_then(|()| weights()).and_then(|weights| {
            let mut operands = Operands { tensors, weights, ..Operands::default() };
            attach(Some(gpu), op, &own, &mut operands)?;
            build(op, &own, &operands, Run(gpu, None))
        });
        return refused.is_told(told);
    }
    if expects.is_empty() {
        return Err("neither an output nor an error is expected".into());
    }
    let mut operands = Operands { tensors, weights: weights()?, ..Operands::default() };
    if op == "adapter_linear" && !is_live(&operands.tensors) {
        merge(gpu, &mut own, &mut operands)?;
    }
    attach(Some(gpu), op, &own, &mut operands)?;
    if let Some(Value::Number(bits)) = own.0.remove("act_bits").filter(|bits| *bits != Value::Number(0.0)) {
        quantize(gpu, &mut operands.tensors, bits)?;
    }
    let given = (operands.tensors.clone(), own.clone());
    let mut present = BTreeMap::new();
    if op == "attention" && (golden_attention::is_asked(&operands.tensors, &own) || asks_present(&expects)) {
        // By each plan of the prologue; by all but the first only what it leaves, and attention by its best.
        let mut names = vec![String::new()];
        let mut at = 0;
        while at < names.len() {
            (operands.tensors, own) = given.clone();
            let ([k, v], plans) = golden_attention::before(gpu, &mut operands.tensors, &mut own, at)?;
            names = plans;
            present = BTreeMap::from([("present_k", k), ("present_v", v)]);
            build(op, &own, &operands, Run(gpu, None))?;
            judge(&format!("after {}", names[at]), &operands.tensors, &present, &expects, &compare)?;
            at += 1;
        }
    }
    let mut plans = build(op, &own, &operands, Plans(gpu))?;
    if std::env::var("GRISTMILL_PLANS").is_ok_and(|plans| plans == "some") && plans.len() > 2 {
        plans.drain(1..plans.len() - 1);
    }
    for (plan, operands_as) in plans {
        let compare = if operands_as.is_some() { compare.of_rounded_operands() } else { compare };
        build(op, &own, &operands, Run(gpu, Some(&plan)))?;
        judge(&plan, &operands.tensors, &present, &expects, &compare)?;
    }
    Ok(())
}

fn asks_present(expects: &[Expect]) -> bool {
    expects.iter().any(|e| e.home.0.starts_with("present_"))
}

/// Outputs are what is expected.
fn judge(
    plan: &str,
    tensors: &BTreeMap<String, Tensor>,
    present: &BTreeMap<&'static str, Tensor>,
    expects: &[Expect],
    compare: &Compare,
) -> Result<(), Failed> {
    for expect in expects {
        let tensor = present.get(expect.home.0).or_else(|| tensors.get(expect.home.0));
        let got = pollster::block_on(tensor.ok_or_else(|| format!("no {}", expect.role))?.read())?;
        let got: Vec<f32> = match expect.home.1 {
            None => got,
            Some(column) => got.into_iter().skip(column).step_by(2).collect(),
        };
        compare.check(&format!("{plan}: {}", expect.role), &got, &expect.values)?;
    }
    Ok(())
}

/// The candidates of each sample, as one who has made the flags can tell them: targets that are valid.
fn candidates(file: &SafeTensors<'_>) -> Result<Value, Failed> {
    let target = file.tensor("target")?;
    let valid = file.tensor("valid").ok();
    let tokens = target.shape().last().copied().unwrap_or_default().max(1);
    let is = |i: usize| target.data()[i] != 0 && valid.as_ref().is_none_or(|v| v.data()[i] != 0);
    let count = |sample: usize| (sample * tokens..(sample + 1) * tokens).filter(|i| is(*i)).count() as f64;
    Ok(Value::List((0..target.data().len() / tokens).map(count).collect()))
}

/// The ratios of a model's layers, which need no device.
fn schedule(
    attrs: &Attrs,
    file: &SafeTensors<'_>,
    compare: &Compare,
    refused: Option<Refused<'_>>,
) -> Result<(), Failed> {
    let layers = || -> Result<Vec<Layer>, Error> {
        let a = attrs.reader(SCHEDULE);
        let base = Schedule::new(a.needed("layers") as usize);
        let schedule = Schedule {
            curve: Curve::parse(a.text("kind", "shifted_cosine"))?,
            beta: a.number("beta", base.beta),
            skip_above: a.number("skip_above", base.skip_above),
            floor: a.number("floor", base.floor),
            ..base
        };
        a.finish()?;
        schedule.layers()
    };
    if let Some(refused) = refused {
        return refused.is_told(layers());
    }
    let layers = layers()?;
    let ratio: Vec<f32> = layers.iter().map(|l| l.ratio).collect();
    compare.check("ratio", &ratio, &Elem::F32.decode(file.tensor("expect.ratio")?.data()))?;
    let routed: Vec<f32> = layers.iter().map(|l| f32::from(u8::from(l.routed))).collect();
    Compare::Exact.check("routed", &routed, &Elem::U8.decode(file.tensor("expect.routed")?.data()))
}

/// A decoder layer with routing, whose host knows how many may skip it, and whose host does not.
fn layer(
    gpu: &Dispatcher,
    attrs: &Attrs,
    file: &SafeTensors<'_>,
    compare: &Compare,
    refused: Option<Refused<'_>>,
) -> Result<(), Failed> {
    let given = file.tensors().into_iter().filter(|(role, _)| !role.starts_with("expect."));
    let upload = |(role, view): (String, TensorView<'_>)| {
        Ok((role, gpu.upload_bytes(view.data(), view.shape(), elem_of(view.dtype())?)?))
    };
    let tensors = given.map(upload).collect::<Result<BTreeMap<_, _>, Failed>>()?;
    let Value::List(counts) = candidates(file)? else { return Err("no list of candidates".into()) };
    let counts: Vec<usize> = counts.into_iter().map(|n| n as usize).collect();
    if let Some(refused) = refused {
        return refused.is_told(golden_layer::run(gpu, &tensors, attrs, None));
    }
    for (what, told) in [("told", Some(&counts[..])), ("not told", None)] {
        let [y, keep] = golden_layer::run(gpu, &tensors, attrs, told)?;
        let want = |role: &str| -> Result<Vec<f32>, Failed> {
            let view = file.tensor(role)?;
            Ok(elem_of(view.dtype())?.decode(view.data()))
        };
        Compare::Exact.check(&format!("{what}: keep"), &pollster::block_on(keep.read())?, &want("expect.keep")?)?;
        compare.check(&format!("{what}: y"), &pollster::block_on(y.read())?, &want("expect.y")?)?;
    }
    Ok(())
}

/// The adapter is of a low rank.
fn is_live(tensors: &BTreeMap<String, Tensor>) -> bool {
    let blocks = tensors.get("miss_block").is_some_and(|block| block.shape().dims().len() == 3);
    let rank = tensors.get("hada_w1_b").map_or(0, |b| b.shape().dims()[0]);
    !blocks && rank * rank <= 256 && !tensors.contains_key("core.0")
}

/// An adapter that cannot be live is merged into the base, and the layer has no adapter.
fn merge(gpu: &Dispatcher, own: &mut Attrs, operands: &mut Operands) -> Result<(), Failed> {
    let layer = ["x", "y", "bias"];
    let base = &operands.weights["w0"];
    let y = gpu.zeros([base.n(), base.k()], Elem::F32)?;
    let mut tensors = operands.tensors.clone();
    tensors.retain(|role, _| !layer.contains(&role.as_str()));
    tensors.insert("y".to_owned(), y.clone());
    let merged = Operands { tensors, weights: operands.weights.clone(), ..Operands::default() };
    build("adapter_merge", own, &merged, Run(gpu, None))?;
    operands.weights.insert("w0".to_owned(), gpu.encode(&y, Format::Dense)?);
    operands.tensors.retain(|role, _| layer.contains(&role.as_str()));
    own.0.insert("kind".to_owned(), Value::Text("none".to_owned()));
    Ok(())
}

/// In the place of x its codes, and their scales beside them.
fn quantize(gpu: &Dispatcher, tensors: &mut BTreeMap<String, Tensor>, bits: f64) -> Result<(), Failed> {
    let x = tensors.remove("x").ok_or("no x")?;
    let scale = gpu.zeros(&x.shape().dims()[..1], Elem::F32)?;
    let codes = gpu.zeros(x.shape(), Elem::I8)?;
    gpu.run(QuantizeRows { bits: bits as u32, ..QuantizeRows::new(&x, &codes, &scale) })?;
    tensors.extend([("x".to_owned(), codes), ("x_scale".to_owned(), scale)]);
    Ok(())
}

/// The attributes of the op, and those of its weight.
fn split(attrs: &Attrs, weighed: bool) -> (Attrs, Attrs) {
    let (mut own, mut of_weight) = (Attrs::default(), Attrs::default());
    for (name, value) in &attrs.0 {
        let is_own = !weighed || ["activation", "act_bits", "kind", "scale", "order"].contains(&name.as_str());
        let side = if is_own { &mut own } else { &mut of_weight };
        side.0.insert(name.clone(), value.clone());
    }
    (own, of_weight)
}

/// The names of the plans of an op, and what each rounds operands to.
struct Plans<'a>(&'a Dispatcher);

impl Use for Plans<'_> {
    type Out = Vec<(String, Option<Elem>)>;

    fn with(self, op: &impl Op) -> Result<Self::Out, Error> {
        Ok(self.0.plans(op)?.into_iter().map(|p| (p.name, p.operands)).collect())
    }
}

/// Runs an op, by a plan or by its best.
struct Run<'a>(&'a Dispatcher, Option<&'a str>);

impl Use for Run<'_> {
    type Out = ();

    fn with(self, op: &impl Op) -> Result<(), Error> {
        let mut recorder = self.0.record()?;
        match self.1 {
            Some(plan) => recorder.run_plan(op, plan)?,
            None => recorder.run(op)?,
        }
        recorder.submit()
    }
}
