//! The page's side of the mill: what JavaScript may call. Everything that it does, it asks [`gristmill::proof`] for.
//!
//! It is built twice. The first wasm has the cases without weights and is there at once. The second, of the feature `whole`, has
//! everything; the page loads it when somebody asks for more, and it takes over, with a device of its own.
//!
//! | export | gives |
//! |---|---|
//! | `provide(shaders)` | nothing: it takes the shaders, an object of texts by name, once and before anything else |
//! | `open({ baseline })` | the device card; the device stays open for what follows |
//! | `close()` | nothing: it lets the device go |
//! | `cases()` | the case table of this wasm |
//! | `later()` | the ops of the whole table that are not in this wasm |
//! | `plans(case, storage)` | the plans, best first; of the baseline where no device is open |
//! | `shader(case, storage, plan)` | the composed WGSL of each step, as it runs |
//! | `roof()` | what a copy and a chain of multiply-adds reach |
//! | `run(case, storage, plan, timed)` | a row: error beside its bound, and the times where they were asked for |
//! | `fusion(storage)` | residual, norm and sum in one dispatch and in three |
//! | `reference(case)` | the case by the f64 reference, which needs no device |
//!
//! And of the second alone:
//!
//! | export | gives |
//! |---|---|
//! | `keep_roof(roof)` | nothing: it takes the roof that the first has measured |
//! | `formats()` | the formats that a weight can be written in, by bits |
//! | `matrix()` | the weight that is shown |
//! | `quantized(format, device)` | the same in a format: what is lost, and how much the device decodes bit for bit |
//! | `multiply(format)` | a row, checked and timed: one row of activations times a large weight in the format |
//! | `heads()` | the names of the heads whose attention is shown |
//! | `attention(asked)` | what the tokens of a sentence see of each other, plain and with switches: weights, and the device beside the host |
//! | `film()` | picture, tokens and layers of the section on token skipping, and the layer that can be timed |
//! | `routed(pixels, alpha)` | scores and gates of a picture's patches in every layer |
//! | `kept(schedule)` | which patches each layer keeps of that picture, and what it costs |
//! | `dense_layer()` | how long a decoder layer of the model takes over all tokens, with a router and without, and that both give the same |
//! | `time_layer(ratio)` | how long it takes where it keeps this part of its patches |
//! | `adapters()` | sizes and formats of the section on adapters |
//! | `merged(asked)` | a small weight, its base, and what LoRA, DoRA and BoRA make of it |
//! | `time_merge(kind, asked)` | a row, checked and timed: a merge of the size of a layer |
//!
//! All give plain data. What fails rejects or throws an `Error` with the text of ours.

mod card;
mod json;
// What links every codec and kernel is in the second wasm alone; it is compiled, linted and tested without one.
#[cfg(any(feature = "whole", not(target_arch = "wasm32")))]
mod adapters;
#[cfg(any(feature = "whole", not(target_arch = "wasm32")))]
mod attention;
#[cfg(any(feature = "whole", not(target_arch = "wasm32")))]
mod film;
#[cfg(any(feature = "whole", not(target_arch = "wasm32")))]
mod ran;
#[cfg(any(feature = "whole", not(target_arch = "wasm32")))]
mod weights;
#[cfg(any(feature = "whole", not(target_arch = "wasm32")))]
mod whole;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use gristmill::plan::PipelineKey;
use gristmill::proof::cases::{self, Case};
use gristmill::proof::measure::{self, Effort, Roof, Trial};
use gristmill::wgsl::{Loops, compose};
use gristmill::{Caps, Dispatcher, Elem, Plan, Request, Target};
use js_sys::{JSON, Reflect};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::{JsError, JsValue, wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::json::{list, maybe, number, object, text};

type Answer = Result<JsValue, JsError>;

/// What stays between calls.
#[derive(Default)]
struct Mill {
    gpu: Option<Dispatcher>,
    cases: Rc<Vec<Case>>,
    roof: Option<Rc<Roof>>,
    /// What ran last: the other plans of the same case come next, and its inputs and its answer need not be made again.
    kept: Option<Kept>,
}

/// A case on the device.
struct Kept {
    case: String,
    storage: Elem,
    timed: bool,
    trial: Rc<Trial>,
}

thread_local! {
    static MILL: RefCell<Mill> = RefCell::default();
}

/// Uses what stays between calls; never across an `await`, or the next call would find it borrowed.
fn with<T>(work: impl FnOnce(&mut Mill) -> T) -> T {
    MILL.with_borrow_mut(work)
}

/// A panic is a fault of ours. Without this the page would only learn that the wasm met an `unreachable`; what waits for an answer gets none.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| report_error(&told(format!("reload the page: {panic}")).into())));
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = reportError)]
    fn report_error(error: &JsValue);

    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn now_ms() -> f64;
}

/// Takes the shaders, which are not in this wasm: they are a file beside it, so that the page loads both at once.
#[wasm_bindgen]
pub fn provide(shaders: &js_sys::Object) -> Result<(), JsError> {
    let entries = js_sys::Object::entries(shaders);
    let mut files = Vec::with_capacity(entries.length() as usize);
    for entry in entries {
        let (name, text) = (Reflect::get_u32(&entry, 0), Reflect::get_u32(&entry, 1));
        let word = |value: Result<JsValue, JsValue>| value.ok().and_then(|value| value.as_string());
        let (Some(name), Some(text)) = (word(name), word(text)) else { return Err(told("a shader is not a text")) };
        files.push((name, text));
    }
    gristmill::wgsl::provide(files).map_err(told)
}

/// Opens the device; another that was open is let go.
#[wasm_bindgen]
pub async fn open(choice: JsValue) -> Answer {
    let baseline = get(&choice, "baseline").is_some_and(|b| b.is_truthy());
    with(|mill| (mill.gpu, mill.roof, mill.kept) = (None, None, None));
    let gpu = Dispatcher::request_with(Request { baseline, ..Request::default() }).await.map_err(told)?;
    let card = card::card(&gpu, &browser().await);
    with(|mill| mill.gpu = Some(gpu));
    data(&card)
}

/// Lets the device go: another wasm takes over.
#[wasm_bindgen]
pub fn close() {
    let gpu = with(|mill| {
        (mill.roof, mill.kept) = (None, None);
        mill.gpu.take()
    });
    // Else its memory would be held until the browser collects it.
    if let Some(gpu) = gpu {
        gpu.device().destroy();
    }
}

/// The case table.
#[wasm_bindgen]
pub fn cases() -> Answer {
    data(&list(all().iter().map(case_json)))
}

/// The ops whose cases are not in this wasm.
#[wasm_bindgen]
pub fn later() -> Answer {
    data(&list(cases::ALL_OPS.iter().filter(|op| !cases::OPS.contains(op)).map(|op| text(op))))
}

/// The plans of a case in a storage.
#[wasm_bindgen]
pub fn plans(case: &str, storage: &str) -> Answer {
    data(&list(plans_of(case, storage).map_err(told)?.iter().map(plan_json)))
}

/// The WGSL of a plan.
#[wasm_bindgen]
pub fn shader(case: &str, storage: &str, plan: &str) -> Answer {
    data(&shader_json(case, storage, plan).map_err(told)?)
}

/// The roof of this device, measured now.
#[wasm_bindgen]
pub async fn roof() -> Answer {
    let gpu = device()?;
    let roof = measured_roof(&gpu).await.map_err(told)?;
    data(&roof_json(&roof))
}

/// Runs a case by a plan, checks it, and times it where that is asked for: then the roof is measured first, unless it has
/// been.
#[wasm_bindgen]
pub async fn run(case: &str, storage: &str, plan: &str, timed: bool) -> Answer {
    let gpu = device()?;
    let (case, storage) = find(case, storage).map_err(told)?;
    let roof = match with(|mill| mill.roof.clone()) {
        Some(roof) if timed => Some(roof),
        None if timed => Some(measured_roof(&gpu).await.map_err(told)?),
        _ => None,
    };
    let trial = trial(&gpu, &case, storage, timed).map_err(told)?;
    data(&trial.row(plan, roof.as_deref(), &Effort::page()).await.json())
}

/// Residual, norm and sum: one dispatch beside three.
#[wasm_bindgen]
pub async fn fusion(storage: &str) -> Answer {
    let gpu = device()?;
    with(|mill| mill.kept = None);
    let elem = [Elem::F32, Elem::F16, Elem::Bf16].into_iter().find(|e| e.name() == storage);
    let elem = elem.ok_or_else(|| told(format!("fusion: there is no storage {storage}")))?;
    let fusion = measure::fusion(&gpu, elem, &Effort::page()).await.map_err(told)?;
    let steps = fusion.steps.iter().map(|(name, us)| object(&[("name", text(name)), ("us", number(*us))]));
    data(&object(&[
        ("shape", text(&fusion.shape)),
        ("fused_us", number(fusion.fused_us)),
        ("separate_us", number(fusion.separate_us)),
        ("ratio", number(fusion.ratio())),
        ("steps", list(steps)),
    ]))
}

/// The case by the reference.
#[wasm_bindgen]
pub fn reference(case: &str) -> Answer {
    let all = all();
    let case = named(&all, case).map_err(told)?;
    let began = now_ms();
    let output = reference_text(case).map_err(told)?;
    data(&object(&[("ms", number(now_ms() - began)), ("output", text(&output))]))
}

/// The table is made once: it is asked for in every call.
fn all() -> Rc<Vec<Case>> {
    with(|mill| {
        if mill.cases.is_empty() {
            mill.cases = Rc::new(cases::all());
        }
        mill.cases.clone()
    })
}

fn named<'a>(all: &'a [Case], name: &str) -> Result<&'a Case, String> {
    all.iter().find(|c| c.name == name).ok_or_else(|| format!("there is no case {name}"))
}

fn find(case: &str, storage: &str) -> Result<(Case, Elem), String> {
    let all = all();
    let case = named(&all, case)?;
    let elem = case.storages.iter().find(|e| e.name() == storage);
    let known = || case.storages.iter().map(|e| e.name()).collect::<Vec<_>>().join(", ");
    let elem = elem.ok_or_else(|| format!("{}: there is no storage {storage}; there are {}", case.name, known()))?;
    Ok((case.clone(), *elem))
}

fn device() -> Result<Dispatcher, JsError> {
    with(|mill| mill.gpu.clone()).ok_or_else(|| told("no device is open"))
}

/// The caps that plans are made for: of the open device, else the least that there can be.
fn caps() -> Caps {
    with(|mill| mill.gpu.as_ref().map(|g| g.caps().clone()))
        .unwrap_or_else(|| Caps { target: Target::Web, ..Caps::baseline() })
}

fn plans_of(case: &str, storage: &str) -> Result<Vec<Plan>, String> {
    let (case, elem) = find(case, storage)?;
    case.plans(elem, &caps()).map_err(|e| e.to_string())
}

fn shader_json(case: &str, storage: &str, plan: &str) -> Result<String, String> {
    let plans = plans_of(case, storage)?;
    let plan = plans.iter().find(|p| p.name == plan).ok_or_else(|| format!("{case}: there is no plan {plan}"))?;
    let mut keys = Vec::new();
    for key in plan.keys() {
        // A step may run the same kernel on another part.
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let (target, loops) = (caps().target, Loops::of(caps().kind));
    let one = |key: &PipelineKey| {
        let composed = compose(key, target, loops).map_err(|e| e.to_string())?;
        Ok(object(&[("kernel", text(key.kernel)), ("wgsl", text(&composed.text))]))
    };
    Ok(list(keys.into_iter().map(one).collect::<Result<Vec<_>, String>>()?))
}

async fn measured_roof(gpu: &Dispatcher) -> Result<Rc<Roof>, gristmill::Error> {
    with(|mill| mill.kept = None);
    let roof = Rc::new(measure::roof(gpu, &Effort::page()).await?);
    with(|mill| mill.roof = Some(roof.clone()));
    Ok(roof)
}

/// The case on the device, with copies to turn through where it will be timed.
fn trial(gpu: &Dispatcher, case: &Case, storage: Elem, timed: bool) -> Result<Rc<Trial>, gristmill::Error> {
    let kept = with(|mill| {
        // The memory of another case is let go before this one's is taken.
        mill.kept.take_if(|k| k.case != case.name || k.storage != storage || k.timed != timed);
        mill.kept.as_ref().map(|k| k.trial.clone())
    });
    if let Some(trial) = kept {
        return Ok(trial);
    }
    let trial = Rc::new(Trial::new(gpu, case, storage, timed.then(Effort::page).as_ref())?);
    with(|mill| mill.kept = Some(Kept { case: case.name.clone(), storage, timed, trial: trial.clone() }));
    Ok(trial)
}

fn case_json(case: &Case) -> String {
    object(&[
        ("name", text(&case.name)),
        ("op", text(case.op)),
        ("title", text(&case.title)),
        ("model", text(case.model)),
        ("phase", text(case.phase)),
        ("shape", text(&case.shape())),
        ("storages", list(case.storages.iter().map(|e| text(e.name())))),
        ("real", case.real.to_string()),
        ("heavy", case.heavy().to_string()),
    ])
}

fn plan_json(plan: &Plan) -> String {
    object(&[("name", text(&plan.name)), ("steps", plan.steps.len().to_string()), ("why", text(plan.why))])
}

fn roof_json(roof: &Roof) -> String {
    let copies =
        roof.copies.iter().map(|(bytes, gb_s)| object(&[("bytes", bytes.to_string()), ("gb_s", number(*gb_s))]));
    object(&[
        ("copy", list(copies)),
        ("copy_gb_s", number(roof.copy_gb_s)),
        ("fma_gflop_s", number(roof.fma_gflop_s)),
        ("f16_gflop_s", maybe(roof.f16_gflop_s)),
        ("dot_gop_s", maybe(roof.dot_gop_s)),
        ("timer", text(roof.timer.name())),
    ])
}

/// The first numbers of each output, and its extent.
fn reference_text(case: &Case) -> Result<String, String> {
    const SHOWN: usize = 6;
    let storage = case.storages.first().copied().unwrap_or(Elem::F32);
    let (_, outputs) = case.reference(storage).map_err(|e| e.to_string())?;
    let one = |output: &gristmill::proof::Expected| {
        let shape = case.outputs.iter().find(|o| o.role == output.role).map(|o| o.shape.as_slice()).unwrap_or_default();
        let mut first: Vec<String> = output.want.iter().take(SHOWN).map(|v| format!("{v:.6}")).collect();
        if output.want.len() > SHOWN {
            first.push("…".into());
        }
        format!("{} {shape:?} = [{}]", output.role, first.join(", "))
    };
    Ok(outputs.iter().map(one).collect::<Vec<_>>().join("\n"))
}

/// What the browser says that wgpu does not pass on. Nothing depends on it, so nothing of it may fail.
async fn browser() -> card::Browser {
    let gpu = get(&js_sys::global(), "navigator").and_then(|n| get(&n, "gpu"));
    let Some(gpu) = gpu else { return card::Browser::default() };
    let adapter = match call(&gpu, "requestAdapter", "").and_then(|p| p.dyn_into::<js_sys::Promise>().ok()) {
        Some(promise) => JsFuture::from(promise).await.ok(),
        None => None,
    };
    let info = adapter.and_then(|a| get(&a, "info"));
    let word = |name| info.as_ref().and_then(|i| get(i, name)?.as_string()).unwrap_or_default();
    card::Browser { vendor: word("vendor"), architecture: word("architecture") }
}

fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(object, &name.into()).ok().filter(|v| !v.is_null() && !v.is_undefined())
}

fn call(object: &JsValue, method: &str, argument: &str) -> Option<JsValue> {
    let method: js_sys::Function = get(object, method)?.dyn_into().ok()?;
    let argument = if argument.is_empty() { JsValue::UNDEFINED } else { argument.into() };
    method.call1(object, &argument).ok()
}

fn data(json: &str) -> Answer {
    JSON::parse(json).map_err(|e| JsError::new(&format!("the mill wrote what is no JSON: {e:?}")))
}

fn told(error: impl Display) -> JsError {
    JsError::new(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_plans_and_shaders_without_a_device() {
        let mut shown = 0;
        for case in all().iter() {
            for storage in &case.storages {
                let plans = plans_of(&case.name, storage.name()).expect("plans of the baseline");
                assert!(!plans.is_empty(), "{}", case.name);
                for plan in &plans {
                    let json = shader_json(&case.name, storage.name(), &plan.name).expect("a shader");
                    assert_eq!(json.contains("\"kernel\":"), !plan.steps.is_empty(), "{}: {json}", case.name);
                    shown += 1;
                }
            }
        }
        assert!(shown > 1000, "only {shown}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let name = all().first().map(|c| c.name.clone()).expect("a case");
        assert_eq!(plans_of("no/case", "f32").expect_err("no case"), "there is no case no/case");
        let told = plans_of(&name, "f8").expect_err("no storage");
        assert!(told.contains("there is no storage f8; there are f32"), "{told}");
        assert!(shader_json(&name, "f32", "quickest").expect_err("no plan").contains("there is no plan quickest"));
    }

    #[test]
    fn the_reference_shows_its_outputs() {
        let all = all();
        let case = all.iter().find(|c| c.name == "rms_norm/length-33").expect("a case");
        let shown = reference_text(case).expect("an answer");
        assert!(
            shown.contains("y [4, 33] = [") && shown.contains("…") && shown.contains("stats [4, 2] = ["),
            "{shown}"
        );
    }
}
