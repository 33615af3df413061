//! The page in a real browser: every case × storage × plan through WebAssembly and WebGPU, with all that the device has and as
//! the least device; what a person does with the page; and the page where there is no WebGPU.
//!
//! `cargo xtask test` builds and serves the page, finds the browser, and sets what this needs: `GRISTMILL_PAGE`,
//! `GRISTMILL_CHROMIUM` and `GRISTMILL_CHROMEDRIVER`.
//!
//! All runs come first, in two browsers side by side; then each row is a test of its own. A filter on the command line chooses among the tests, not among
//! the runs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test harness of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gristmill::proof::cases::{self, Case};
use gristmill::{Caps, DeviceKind, Subgroups, Target};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

mod webdriver;

use webdriver::{Browser, Result};

/// A row that takes longer than this hangs: the slowest takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the page is, and what opens it.
struct Set {
    page: String,
    chromium: PathBuf,
    chromedriver: PathBuf,
}

impl Set {
    fn from_environment() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| {
                format!(
                    "{name} is not set: run `cargo xtask test`, which builds and serves the page and finds a browser"
                )
            })
        };
        Ok(Self {
            page: variable("GRISTMILL_PAGE")?,
            chromium: variable("GRISTMILL_CHROMIUM")?.into(),
            chromedriver: variable("GRISTMILL_CHROMEDRIVER")?.into(),
        })
    }

    /// A browser whose WebGPU runs on the processor, the same everywhere.
    fn browser(&self) -> Result<Browser> {
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--enable-unsafe-webgpu",
            "--use-webgpu-adapter=swiftshader",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
            "--window-size=1280,900",
        ];
        Browser::start(&self.chromium, &self.chromedriver, &arguments)
    }

    fn url(&self, query: &str) -> String {
        format!("{}{query}", self.page)
    }
}

/// A part of all the runs.
///
/// Every case that the page has at once runs by all its plans with all that the device has: those that hurt in f32 and f16, and in bf16 by the best of
/// their plans, as what reads it is all that differs from f16 through words; those of real models, which are large, in f32. Once more, as the least
/// device, each runs by its best plan in its first storage: the kernels are the same, chosen otherwise, and natively the least device runs them by
/// all. All storages of all cases would take this device of software half as long again, and the native tests run them. Of the cases of the second
/// wasm, those that hurt run in their first storage, and of linear layers, which are most of them, a [selection](later).
#[derive(Clone, Copy)]
struct Part {
    query: &'static str,
    caps: &'static str,
    /// A name, or `first`.
    storage: &'static str,
    which: Which,
    plans: Plans,
}

#[derive(Clone, Copy, PartialEq)]
enum Plans {
    All,
    Best,
}

#[derive(Clone, Copy)]
enum Which {
    /// All that the page has at once.
    All,
    /// Of these, not the cases of real models.
    Hurts,
    /// Those that the page loads when they are asked for.
    Later,
}

impl Part {
    fn cases(&self) -> Vec<Case> {
        match self.which {
            Which::All => cases::page(),
            Which::Hurts => cases::page().into_iter().filter(|c| !c.real).collect(),
            Which::Later => {
                let now: BTreeSet<String> = cases::page().into_iter().map(|c| c.name).collect();
                cases::all().into_iter().filter(|c| !now.contains(&c.name) && later(c, self.caps)).collect()
            }
        }
    }

    /// Unique.
    fn name(&self) -> String {
        let later = if matches!(self.which, Which::Later) { ", the second wasm" } else { "" };
        format!("{}, {}{later}", self.caps, self.storage)
    }
}

/// Cases of the second wasm that run in the browser. Of linear layers, whose cases are most of it: every format is decoded, codes are
/// multiplied by codes, and rows are as many as matter, which the least device does by the same kernels; and every epilogue together.
fn later(case: &Case, caps: &str) -> bool {
    let is = |start: &str, end: &str| case.name.starts_with(start) && case.name.ends_with(end);
    let all = is("linear/all-", "");
    let full = case.op == "dequantize" || is("linear/", "-codes-m1") || is("linear/q4_0-rows-", "");
    // Of the other families every twelfth, by the length of its name, and half of those as the least device: the native tests run them all, and
    // a browser compiles for longer.
    let every = if caps == BASELINE { 24 } else { 12 };
    let other = !["linear", "dequantize"].contains(&case.op) && case.name.len().is_multiple_of(every);
    !case.real && (all || full && caps != BASELINE || other)
}

/// Two browsers side by side, each with about half of the work: most of it is the browser's compiling of kernels, which uses
/// one processor. What people do comes behind the first, which is done with its rows sooner.
const PARTS: [&[Part]; 2] = [
    &[
        Part { query: "", caps: "full caps", storage: "f32", which: Which::All, plans: Plans::All },
        Part { query: "?caps=baseline", caps: BASELINE, storage: "first", which: Which::All, plans: Plans::Best },
    ],
    &[
        Part { query: "", caps: "full caps", storage: "f16", which: Which::Hurts, plans: Plans::All },
        Part { query: "", caps: "full caps", storage: "bf16", which: Which::Hurts, plans: Plans::Best },
        Part { query: "", caps: "full caps", storage: "first", which: Which::Later, plans: Plans::All },
        Part { query: "?caps=baseline", caps: BASELINE, storage: "first", which: Which::Later, plans: Plans::Best },
    ],
];
const BASELINE: &str = "baseline caps";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let set = match Set::from_environment() {
        Ok(set) => set,
        Err(error) => {
            eprintln!("browser: {error}");
            return ExitCode::FAILURE;
        }
    };
    let began = Instant::now();
    let said = |what: &str| println!("browser: {what} after {:.0} s", began.elapsed().as_secs_f64());
    let all_of = |parts: &[Part]| -> Vec<Trial> {
        let trials = parts.iter().flat_map(|part| rows_as_trials(run_all(&set, *part), *part)).collect();
        said("half of the rows");
        trials
    };
    let and_people = || {
        let mut trials = all_of(PARTS[0]);
        trials.extend(people(&set));
        said("the page as people use it");
        trials
    };
    let trials: Vec<Trial> = std::thread::scope(|scope| {
        let running = [scope.spawn(and_people), scope.spawn(|| all_of(PARTS[1]))];
        let gone = || vec![Trial::test("the thread that drove a browser", || Err("it panicked".into()))];
        running.into_iter().flat_map(|r| r.join().unwrap_or_else(|_| gone())).collect()
    });
    libtest_mimic::run(&arguments, trials).exit_code()
}

// ---- every case

/// Opens the page and runs a part of what it has.
fn run_all(set: &Set, part: Part) -> Result<Ran> {
    let name = part.name();
    let (browser, device) = opened(set, part)?;
    if device["missing"].is_string() {
        return Err(format!("the page found no device: {}", device["missing"]));
    }
    println!("browser: {name}: {}", shown_device(&device));
    let start = "window.ran = { rows: [], done: false };
        const { later, only, ...what } = arguments[0];
        Promise.resolve(later && gristmill.loadWhole())
          .then(() => gristmill.runAll({ timed: false, ...what, only: new Set(only), onRow: (row) => ran.rows.push(row) }))
          .catch((e) => { ran.error = String(e?.message ?? e); })
          .finally(() => { ran.done = true; });";
    let storages = if part.storage == "first" { json!("first") } else { json!([part.storage]) };
    let only: Vec<String> = part.cases().into_iter().map(|c| c.name).collect();
    let later = matches!(part.which, Which::Later);
    let plans = if part.plans == Plans::All { "all" } else { "best" };
    browser.eval(start, json!([{ "storages": storages, "plans": plans, "only": only, "later": later }]))?;
    let began = Instant::now();
    let (mut rows, mut last) = (Vec::new(), began);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let mut told =
            browser.eval("return { rows: ran.rows.splice(0), done: ran.done, error: ran.error };", json!([]))?;
        let new: Vec<Value> = serde_json::from_value(told["rows"].take()).map_err(|e| e.to_string())?;
        if !new.is_empty() {
            last = Instant::now();
        }
        let before = rows.len() / 100;
        rows.extend(new);
        if rows.len() / 100 > before {
            println!("browser: {name}: {} rows", rows.len());
        }
        if let Some(error) = told["error"].as_str() {
            return Err(format!("the run ended after {} rows: {error}", rows.len()));
        }
        if told["done"] == true {
            break;
        }
        if last.elapsed() > PATIENCE {
            let on = browser.eval("return document.querySelector('#dock .what')?.textContent;", json!([]))?;
            return Err(format!("no row came for {} s after {}; the page says {on}", PATIENCE.as_secs(), rows.len()));
        }
    }
    println!("browser: {name}: all {} rows after {:.0} s", rows.len(), began.elapsed().as_secs_f64());
    let faults = faults(&browser)?;
    Ok(Ran { device, rows, faults })
}

/// A browser that shows the page, and the page's device. One that does not come up is left and another started, twice: a browser
/// that starts on a busy machine may hang before there is a page, and what it then says is nothing about the page.
fn opened(set: &Set, part: Part) -> Result<(Browser, Value)> {
    let open = || {
        let browser = set.browser()?;
        browser.open(&set.url(part.query))?;
        let device = browser.eval_async("return await gristmill.ready;", json!([]))?;
        Ok((browser, device))
    };
    let again = |error: String| println!("browser: {}: once more, after {error}", part.name());
    open().or_else(|error| {
        again(error);
        open().or_else(|error| {
            again(error);
            open()
        })
    })
}

/// What came of a run over everything.
struct Ran {
    device: Value,
    rows: Vec<Value>,
    faults: Vec<String>,
}

fn shown_device(device: &Value) -> String {
    let there: Vec<&str> = chips(device).into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
    format!("{} ({}) with {}", device["name"], device["kind"], there.join(", "))
}

fn chips(device: &Value) -> Vec<(&str, bool)> {
    let chips = device["chips"].as_array().map(Vec::as_slice).unwrap_or_default();
    chips.iter().map(|c| (c["name"].as_str().unwrap_or_default(), c["there"] == true)).collect()
}

/// What the page shows as a fault, and the errors of its console.
fn faults(browser: &Browser) -> Result<Vec<String>> {
    let shown =
        browser.eval("return [...document.querySelectorAll('#faults p')].map((p) => p.firstChild.data);", json!([]))?;
    let mut all: Vec<String> = serde_json::from_value(shown).map_err(|e| e.to_string())?;
    all.extend(browser.console_errors()?);
    Ok(all)
}

/// A test for each row, one for each case and storage that did not run by exactly its plans, and some on the whole.
fn rows_as_trials(ran: Result<Ran>, part: Part) -> Vec<Trial> {
    let whole = |what: &str| format!("{what} ({})", part.name());
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => return vec![Trial::test(whole("the run"), || Err(error.into()))],
    };
    let mut trials = Vec::new();
    let mut add = |name: String, told: Result<()>| trials.push(Trial::test(name, move || told.map_err(Failed::from)));
    let mut plans: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in &ran.rows {
        let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let (case, storage, plan) = (word("case"), word("storage"), word("plan"));
        add(format!("{case} {storage} {plan} ({})", part.caps), judge(row));
        plans.entry((case, storage)).or_default().push(plan);
    }
    // Which plans there must be is known without a browser.
    let caps = caps_of(&ran.device);
    for case in part.cases() {
        for (i, storage) in case.storages.iter().copied().enumerate() {
            if part.storage != storage.name() && (part.storage != "first" || i > 0) {
                continue;
            }
            let got = plans.remove(&(case.name.clone(), storage.name().to_owned())).unwrap_or_default();
            let wanted = case.plans(storage, &caps).map_err(|e| e.to_string());
            let most = if part.plans == Plans::All { usize::MAX } else { 1 };
            let wanted = wanted.map(|all| all.into_iter().take(most).map(|p| p.name).collect::<Vec<_>>());
            if wanted.as_ref() != Ok(&got) {
                let told = format!("it ran by {got:?}, but there are {wanted:?} for {caps:?}");
                add(format!("{} {} by its plans ({})", case.name, storage.name(), part.caps), Err(told));
            }
        }
    }
    let unknown: Vec<_> = plans.keys().map(|(case, storage)| format!("{case} {storage}")).collect();
    add(whole("all rows are of the case table"), none_of(&unknown));
    add(whole("there are rows"), if ran.rows.is_empty() { Err("there are none".into()) } else { Ok(()) });
    add(whole("no fault is shown, and the console has no error"), none_of(&ran.faults));
    // Chromium has them on SwiftShader: were they not found, half of the plans would go untried.
    let told = match (part.caps == BASELINE, chips(&ran.device).contains(&("subgroups", true))) {
        (false, false) => Err("they are not found".to_owned()),
        (true, true) => Err("the least device has none".to_owned()),
        _ => Ok(()),
    };
    add(whole("subgroups are proved"), told);
    trials
}

/// The caps of the page's device, as its card has them.
fn caps_of(device: &Value) -> Caps {
    let there = |name| chips(device).contains(&(name, true));
    let limits = device["limits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let limit = |name| limits.iter().find(|l| l["name"] == name).and_then(|l| l["value"].as_u64()).unwrap_or_default();
    let size = limit("least_subgroup_size") as u32;
    Caps {
        kind: if device["kind"] == DeviceKind::Cpu.name() { DeviceKind::Cpu } else { DeviceKind::Unknown },
        target: Target::Web,
        f16: there("f16"),
        int8_products: there("int8 dot"),
        subgroups: there("subgroups").then_some(Subgroups { min: size, max: size }),
        storage_buffers: limit("storage_buffers_of_a_shader") as u32,
        storage_binding_bytes: limit("storage_binding_bytes"),
        buffer_bytes: limit("buffer_bytes"),
        uniform_binding_bytes: limit("uniform_binding_bytes"),
        workgroup_bytes: limit("workgroup_memory_bytes") as u32,
        invocations: limit("invocations_of_a_workgroup") as u32,
        workgroups: limit("workgroups_of_a_dimension") as u32,
        ..Caps::baseline()
    }
}

fn none_of(wrong: &[String]) -> Result<()> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn judge(row: &Value) -> Result<()> {
    if row["ok"] == true && row["message"].is_null() {
        return Ok(());
    }
    let message = row["message"].as_str().unwrap_or("no message");
    Err(format!("{message}\nerror {}, bound {}, in {}", row["error"], row["bound"], row["operand"]))
}

// ---- what people do

/// A test with a page of its own making.
type Act = fn(&Browser, &Set) -> Result<()>;

/// They follow each other in one browser: the page that one leaves is where the next begins.
const ACTS: [(&str, Act); 21] = [
    ("a case is opened by the keyboard and shows its plans and its WGSL", opens_by_keyboard),
    ("a case is run: it is checked, timed, and beside the roof", runs_a_case),
    ("the roof is drawn", draws_the_roof),
    ("the cases with weights are loaded, and one of them runs", loads_the_others),
    ("a sentence's attention is shown beside the host's, and changes with switches and words", attends),
    ("the layers keep patches as the schedule says and the host does, and one of them is timed", skips),
    ("adapters are pictures whose norms are the magnitudes where the formula says so, and are timed", adapts),
    ("a weight is shown in the formats of the slider, and the numbers are right", slides),
    ("a product by a weight is checked, timed, and drawn", times_a_weight),
    ("cases are run by a button and can be stopped", runs_and_stops),
    ("cases are found by text and by kind", finds_cases),
    ("one dispatch is compared with three", compares),
    ("the results are handed out as JSON", hands_out),
    ("nothing is wider than the screen, in light and dark", photographed),
    ("as the least device nothing is used that others lack", as_the_least),
    ("without WebGPU the page says so and runs the reference", without_api),
    ("the page without WebGPU is not wider than the screen", photographed_without),
    ("without the second wasm the page says so, and goes on with the first", without_the_second),
    ("without an adapter the page says so", without_adapter),
    ("without the shaders the page says so", without_shaders),
    ("no fault is shown, and the console has no error", quiet),
];

fn people(set: &Set) -> Vec<Trial> {
    let trial = |name: &str, told: Result<()>| Trial::test(format!("page: {name}"), move || told.map_err(Failed::from));
    match set.browser() {
        Err(error) => vec![trial("the browser", Err(error))],
        Ok(browser) => ACTS.iter().map(|(name, act)| trial(name, act(&browser, set))).collect(),
    }
}

/// Real, and soon done on a device of software.
const CASE: &str = "rms_norm/llama3-8b-decode-residual";

/// The functions that acts use in the page.
const IN_PAGE: &str = "
    const $ = (selector, from = document) => from.querySelector(selector);
    const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
    const row = (name) => $(`[data-case='${name}']`);
    const press = (text, from = document) => {
      const button = $$('button', from).find((b) => b.textContent.trim().startsWith(text));
      if (!button) throw new Error(`there is no button ${text}`);
      button.click();
    };
    const until = async (what, seconds, condition) => {
      const end = performance.now() + seconds * 1e3;
      for (;;) {
        const got = condition();
        if (got) return got;
        if (performance.now() > end) throw new Error(`${what}: not after ${seconds} s`);
        await new Promise((r) => setTimeout(r, 50));
      }
    };
    const must = (what, yes) => { if (!yes) throw new Error(what); };
";

/// Runs an act in the page; what it throws is what is wrong.
fn act(browser: &Browser, body: &str) -> Result<Value> {
    browser.eval_async(&format!("{IN_PAGE}{}", body.replace("CASE", CASE)), json!([]))
}

fn opens_by_keyboard(browser: &Browser, set: &Set) -> Result<()> {
    browser.open(&set.url(""))?;
    act(browser, "await gristmill.ready; $('.toggle', row('CASE')).focus();")?;
    for kind in ["rawKeyDown", "char", "keyUp"] {
        let key = json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" });
        browser.command("Input.dispatchKeyEvent", key)?;
    }
    act(
        browser,
        "await until('the panel opens', 5, () => !$('.panel', row('CASE')).hidden);
         const code = await until('the WGSL is shown', 10, () => $('pre', row('CASE'))?.textContent);
         must('the WGSL is not that of a kernel', code.includes('@compute') && code.includes('fn main('));
         must('the splices are not marked', $$('.splice', row('CASE')).some((s) => s.textContent.includes('reduce: slot/reduce/')));
         const plans = $$('.plans code', row('CASE')).map((c) => c.textContent);
         must(`the plans are ${plans}`, plans.some((p) => p.includes('subgroup')) && plans.at(-1) === 'naive');",
    )
    .map(drop)
}

fn runs_a_case(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "press('Run this', row('CASE'));
         await until('the case has run', 200, () => row('CASE').dataset.state === 'pass' && !row('CASE').classList.contains('busy'));
         const text = (selector) => $(selector, row('CASE')).textContent;
         must(`the fraction is ${text('.pct')}`, /^[\\d.]+\\s%$/.test(text('.pct')) && parseFloat(text('.pct')) > 0);
         must(`the time is ${text('.time')}`, /^[\\d.,]+\\s(ns|µs|ms|s)$/.test(text('.time')));
         must(`the error is ${text('.errors .num')}`, /×$/.test(text('.errors .num')));
         must('the results have no row', $$('.scroll tbody tr', row('CASE')).length === 1);",
    )
    .map(drop)
}

fn draws_the_roof(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "must('the roof was not measured with the first case', $$('#roof svg').length === 2);
         must('the copies are not drawn', $$('#roof rect.fill').length >= 3);
         await until('the case is a dot beside the roofline', 5, () => $$('#roof circle.case').length >= 1);",
    )
    .map(drop)
}

fn loads_the_others(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "const before = gristmill.cases().length, roof = $('#roof .stats').textContent;
         must('linear layers are not among those that come later', $('.absent h3').textContent.includes('linear, dequantize'));
         press('Load the cases', $('.absent'));
         must('nothing says that they are on their way', $('.absent').getAttribute('aria-busy') === 'true' && $('.absent').textContent.includes('Loading'));
         await until('the cases are there', 60, () => gristmill.cases().length > before && row('dequantize/q4_0'));
         must('some ops are absent still', !$('.absent'));
         must('what ran before is forgotten', row('CASE').dataset.state === 'pass');
         must('the roof is another', $('#roof .stats').textContent === roof);
         press('Run', row('dequantize/q4_0'));
         await until('it has run', 60, () => row('dequantize/q4_0').dataset.state === 'pass');",
    )
    .map(drop)
}

fn attends(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "press('Open the map', $('#attention'));
         const stat = (kind) => $(`#attention .stats .${kind} dd`)?.textContent;
         const pictures = () => Object.fromEntries(['plain', 'switched', 'change'].map((of) => [of, $(`#attention .of-${of} canvas`).toDataURL()]));
         const settle = async (what, change) => {
           const before = $('#attention .stats').firstChild;
           change();
           await until(what, 60, () => $('#attention .stats').firstChild !== before && !$('#attention [aria-busy]'));
           must(`${what}: ${$('#attention .trouble')?.textContent}`, !$('#attention .trouble'));
           must(`${what}: ${$('#attention .stats').textContent}`, !$('#attention .bad') && /^[\\d.]+·10⁻[⁵⁶⁷⁸⁹]$/.test(stat('difference')) && parseFloat(stat('worst')) <= 1);
           return pictures();
         };
         await until('the map is there', 60, () => stat('difference'));
         const slide = (key, value) => { const e = $(`#attention-${key}`); e.value = value; e.dispatchEvent(new Event('input')); };
         const normed = await settle('QK-norm by RMS', () => $('input[value=rms]').click());
         must('QK-norm changes nothing', normed.plain !== normed.switched && $('.of-switched .with').textContent === 'QK-norm');
         const all = await settle('window, softcap and sinks', () => { slide('window', 14); slide('cap', 9); slide('sink', 7); });
         must('they change nothing', all.switched !== normed.switched && parseFloat(stat('sunk')) > 1 && parseFloat(stat('logit')) <= 3);
         must('the heads are not there', $$('#attention .head canvas').length === 6);
         $$('#attention .head input')[2].click();
         must('another head is the same', pictures().switched !== all.switched);
         // A row of the map by the pointer, and by the slider.
         const box = $('.of-switched canvas').getBoundingClientRect();
         $('.of-switched canvas').dispatchEvent(new PointerEvent('pointermove', { clientX: box.x + box.width * 0.5, clientY: box.y + box.height * 0.9, bubbles: true }));
         must(`the row says ${$('#attention .hint').textContent}`, /gives .* (%|nothing|not seen)/.test($('#attention .hint').textContent) && $('#attention-row').value > 10);
         slide('row', 3);
         must(`the row says ${$('#attention .hint').textContent}`, $('#attention .hint').textContent.startsWith('the (4) gives most to'));
         const two = await settle('two words', () => { $('#sentence').value = 'mill stone'; $('#sentence').dispatchEvent(new Event('input')); });
         must('the tokens are not counted', $('#attention .sentence + p').textContent.startsWith('2 tokens') && $$('#attention rect.fill').length === 2);",
    )
    .map(drop)
}

fn skips(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "press('Open the film', $('#skipping'));
         const stat = (kind) => $(`#skipping .stats .${kind} dd`)?.textContent;
         const picture = (canvas) => canvas.toDataURL(), frames = () => $$('#skipping .frame canvas').map(picture);
         const seen = () => ({ tokens: parseFloat(stat('tokens')), flops: parseFloat(stat('flops')), cache: parseFloat(stat('cache')), frames: frames(), gates: picture($('#skipping .of-gates canvas')) });
         const settle = async (what, change) => {
           const before = $('#skipping .stats').firstChild;
           change();
           await until(what, 60, () => $('#skipping .stats').firstChild !== before && !$('#skipping [aria-busy]'));
           must(`${what}: ${$('#skipping .trouble')?.textContent}`, !$('#skipping .trouble'));
           must(`${what}: ${$('#skipping .stats').textContent}`, !$('#skipping .bad') && stat('difference') === '0' && parseFloat(stat('worst')) <= 1);
           return seen();
         };
         await until('the film is there', 60, () => stat('difference'));
         const slide = (key, value) => { const e = $(`#skipping-${key}`); e.value = value; e.dispatchEvent(new Event('input')); };
         const first = seen(), edges = () => $$('#skipping .edge').map((e) => e.textContent);
         must(`the frames are ${edges()}`, edges().length === 28 && edges()[0].startsWith('Layer 0all') && edges()[27].startsWith('Layer 2757 of 384'));
         must(`what is saved is ${[first.tokens, first.flops, first.cache]}`, first.tokens === first.cache && first.flops < first.tokens && first.flops > 30);
         const gated = await settle('another gate', () => slide('alpha', 0.5));
         must('the gate changes what is kept, or is not seen', gated.frames.join() === first.frames.join() && gated.gates !== first.gates);
         const more = await settle('half of the patches at least', () => slide('floor', 0.5));
         must(`then it keeps ${more.tokens}`, more.tokens > first.tokens && more.flops > first.flops && edges()[27].startsWith('Layer 27192 of') && more.frames[0] === first.frames[0] && more.frames[27] !== first.frames[27]);
         const linear = await settle('a straight line, higher', () => { $('[name=skipping-curve][value=linear]').click(); slide('beta', 0.7); });
         must(`then it keeps ${linear.tokens}`, linear.tokens > more.tokens && linear.frames[12] !== more.frames[12]);
         $$('#skipping .frame input')[27].click();
         must(`it says ${$('#skipping .of-kept figcaption').textContent}`, $('#skipping .of-kept figcaption').textContent === 'Layer 27keeps 192 of 384 patches');
         slide('patch', 200);
         must(`the patch says ${$('#skipping .hint').textContent}`, /^Patch 8, 8: score .*, gate .*, [0-9]+(st|nd|rd|th) of 384 in layer 27: (kept|skipped)\\. [0-9]+ layers of 28/.test($('#skipping .hint').textContent));
         // A picture of one's own, and the drawn one again.
         const own = document.createElement('canvas');
         Object.assign(own, { width: 300, height: 100 }).getContext('2d').fillRect(0, 0, 300, 60);
         const files = new DataTransfer();
         files.items.add(new File([await new Promise((r) => own.toBlob(r))], 'own.png', { type: 'image/png' }));
         const file = $('#skipping [type=file]');
         const other = await settle('a picture of one’s own', () => { file.files = files.files; file.dispatchEvent(new Event('change')); });
         must('it is not shown', other.frames[0] !== linear.frames[0] && other.tokens === linear.tokens);
         const again = await settle('the drawn one', () => press('The mill again', $('#skipping')));
         must('the drawn one is another', again.frames.join() === linear.frames.join());
         press('Time this layer', $('#skipping'));
         await until('the times are there', 120, () => $('#skipping .ratio b') || $('#skipping .trouble'));
         must($('#skipping .trouble')?.textContent, !$('#skipping .trouble'));
         const lane = (kind) => ({ says: $(`#skipping .share.${kind} p .quiet`).textContent, part: parseFloat($(`#skipping .share.${kind} .num`).textContent) });
         const times = () => /^([\\d.,]+)\\s(ns|µs|ms|s) of ([\\d.,]+)\\s(ns|µs|ms|s)$/.exec(lane('time').says), timed = times();
         must(`the time is ${lane('time').says}`, parseFloat($('#skipping .ratio b').textContent) > 0 && lane('time').part > 0 && parseFloat(timed[1]) > 0 && parseFloat(timed[3]) > 0);
         must(`operations are ${lane('flops').part} %, the cache ${lane('cache').part} %`, lane('flops').part === 53 && lane('cache').part === 54);
         must(`the layer that keeps all is not the dense one: ${$('#skipping .same').textContent}`, /all 13,312 numbers are those of the dense layer, bit for bit/.test($('#skipping .same').textContent));
         must('the time is not drawn', $$('#skipping circle.took').length > 1);
         // The time follows the slider.
         await settle('a fifth of the patches', () => slide('beta', 0.2) ?? slide('floor', 0.2));
         must(`then it says ${lane('time').says}`, lane('flops').part < 30 && lane('cache').part < 30 && parseFloat(times()[1]) > 0 && lane('time').says !== timed[0] && times()[3] === timed[3]);
         press('Close', $('#dock'));",
    )
    .map(drop)
}

fn adapts(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "press('Open the adapters', $('#adapters'));
         const fact = (kind, of) => $(`#adapters .of-${kind} .facts .${of} dd`)?.textContent;
         const picture = (kind) => $(`#adapters .of-${kind} canvas`).toDataURL();
         const settle = async (what, change) => {
           const before = $('#adapters .of-bora .facts').firstChild;
           change();
           await until(what, 120, () => $('#adapters .of-bora .facts').firstChild !== before && !$('#adapters [aria-busy]'));
           must(`${what}: ${$('#adapters .trouble')?.textContent}`, !$('#adapters .trouble'));
           for (const kind of ['lora', 'dora', 'bora']) {
             must(`${what}, ${kind}: ${$(`#adapters .of-${kind} .facts`).textContent}`, !$('#adapters .bad') && /^(0|[\\d.]+·10⁻[⁵⁶⁷⁸⁹])$/.test(fact(kind, 'difference')) && parseFloat(fact(kind, 'worst')) <= 1);
           }
         };
         const slide = (key, value) => { const e = $(`#adapters-${key}`); e.value = value; e.dispatchEvent(new Event('input')); };
         await until('the pictures are there', 120, () => fact('bora', 'difference'));
         const held = (kind) => ['rows', 'columns'].map((of) => fact(kind, of).split(',')[0]).join();
         const all = () => ['lora', 'dora', 'bora'].map(held).join(' ');
         must(`norms are ${all()}`, all() === 'no m,no m |m|,no m not |m|,|m|');
         must('the pictures are the same', new Set(['base', 'lora', 'dora', 'bora'].map(picture)).size === 4);
         await settle('columns first', () => $('[name=adapters-order][value=columns]').click());
         must(`norms are ${all()}`, all() === 'no m,no m |m|,no m |m|,not |m|');
         const dora = picture('dora');
         await settle('other magnitudes', () => slide('magnitude', -0.5));
         must('the magnitudes change nothing, or the direction', picture('dora') !== dora && $('#adapters .hint').textContent.match(/turns it by ([^°]*)°.*turns it by \\1°/));
         await settle('an adapter of nothing', () => { slide('scale', 0); slide('magnitude', 0); });
         must('it changes the base', picture('lora') === picture('base') && /LoRA makes it (\\S+) and .*DoRA makes it \\1 and/.test($('#adapters .hint').textContent));
         slide('row', 44);
         must(`the row says ${$('#adapters .hint').textContent}`, $('#adapters .hint').textContent.startsWith('Row 44 is'));
         must('rows are not drawn', $$('#adapters .scatter circle').length === 4 * 64);
         press('Time the merges', $('#adapters'));
         await until('the times are there', 120, () => ['lora', 'dora', 'bora'].every((kind) => /of the roof/.test(fact(kind, 'time'))) || $('#adapters .trouble'));
         must($('#adapters .trouble')?.textContent, !$('#adapters .trouble'));
         press('Close', $('#dock'));",
    )
    .map(drop)
}

fn slides(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "press('Open the formats', $('#weights'));
         const dots = () => $$('#weights circle.case').length;
         await until('the slider is there', 30, () => $('#format'));
         const slider = $('#format'), count = Number(slider.max) + 1, names = $$('.pickers option').map((o) => o.textContent.split(',')[0]);
         must(`there are ${count} formats`, count > 50 && names.length === count);
         await until('all are computed', 60, () => dots() === count);
         const stat = (kind) => $(`#weights .stats .${kind} dd`).textContent;
         const settle = async (i) => {
           slider.value = i;
           slider.dispatchEvent(new Event('input'));
           await until(`the device decodes ${names[i]}`, 30, () => $('#weights .stats .same, #weights .stats .bad') && /bit for bit|differs|failed/.test($('#weights .stats').textContent));
           must(`${names[i]}: ${$('#weights .stats').textContent}`, stat('same') === 'bit for bit' && $('#weights .stats').textContent.includes('65,536 of 65,536'));
           must('the format is not told', $('.format').textContent.includes(names[i]) && slider.getAttribute('aria-valuetext').startsWith(names[i]));
           const pixels = (of) => $(`.of-${of} canvas`).getContext('2d').getImageData(0, 0, 256, 256).data.join();
           return { bits: parseFloat(stat('bits')), error: parseFloat(stat('lost')), was: pixels('was'), became: pixels('became'), off: pixels('off') };
         };
         const at = {};
         for (const name of ['gguf.tq2_0', 'gguf.q4_0', 'gguf.q6_k', 'gguf.q8_0', 'dense f16', 'dense f32']) at[name] = await settle(names.indexOf(name));
         const all = Object.entries(at);
         must(`bits: ${all.map(([n, a]) => [n, a.bits])}`, all.every(([, a], i) => !i || a.bits > all[i - 1][1].bits));
         must(`errors: ${all.map(([n, a]) => [n, a.error])}`, all.every(([, a], i) => !i || a.error < all[i - 1][1].error));
         must('f32 loses something', at['dense f32'].error === 0 && at['dense f32'].became === at['dense f32'].was);
         must('q4_0 has no 4.5 bits', at['gguf.q4_0'].bits === 4.5);
         must('the pictures do not follow', at['gguf.q4_0'].off !== at['gguf.q8_0'].off && at['gguf.q4_0'].became !== at['gguf.q4_0'].was);
         await settle(names.indexOf('gguf.q4_0'));
         slider.focus();",
    )?;
    for kind in ["rawKeyDown", "keyUp"] {
        let key = json!({ "type": kind, "key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39 });
        browser.command("Input.dispatchKeyEvent", key)?;
    }
    act(
        browser,
        "await until('an arrow moves the slider', 5, () => !$('.format b').textContent.includes('gguf.q4_0'));
         const dot = $('#weights circle.case.chosen'), box = $('#weights .tall svg').getBoundingClientRect();
         must('the chosen one is not drawn', dot && $('#weights .tall .value').textContent === $('.format b').textContent);
         const other = $('#weights .tall circle.case:not(.chosen)');
         const where = { clientX: box.x + Number(other.getAttribute('cx')), clientY: box.y + Number(other.getAttribute('cy')), bubbles: true };
         const before = $('.tell').textContent;
         $('#weights .tall svg').dispatchEvent(new PointerEvent('pointermove', where));
         must(`hovering tells ${$('.tell').textContent}`, $('.tell').textContent !== before && /bits.*error.*click to choose/.test($('.tell').textContent));",
    )
    .map(drop)
}

fn times_a_weight(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "const pick = $('.pickers select');
         pick.value = [...pick.options].find((o) => o.textContent.startsWith('gguf.q4_0')).value;
         pick.dispatchEvent(new Event('change'));
         press('Time this format', $('#weights'));
         const stat = (kind) => $(`#weights .stats .${kind} dd`).textContent;
         await until('the time is there', 120, () => /^[\\d.,]+\\s(µs|ms)$/.test(stat('time')) || $('#weights .trouble'));
         must($('#weights .trouble')?.textContent, !$('#weights .trouble'));
         must(`the rate is ${stat('rate')}`, /B\\/s$/.test(stat('rate')));
         must('the time is not drawn', $$('#weights .tall svg').length === 2);
         await until('the run ends', 20, () => $('#dock').textContent.includes('1 of 1 step'));
         press('Close', $('#dock'));",
    )
    .map(drop)
}

fn runs_and_stops(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "await until('the run before has ended', 5, () => $$('button').some((b) => b.textContent.startsWith('Run all')));
         press('Run all');
         await until('some rows', 60, () => $$('[data-state=pass]').length >= 3);
         press('Stop');
         await until('it stops', 60, () => $('#dock').textContent.includes('Stopped'));
         press('Close', $('#dock'));
         const only = new Set(gristmill.cases().filter((c) => c.phase === 'decode' && ['rms_norm', 'layer_norm', 'quantize_rows'].includes(c.op)).map((c) => c.name));
         const rows = await gristmill.runAll({ storages: 'first', only });
         const bad = rows.filter((r) => !(r.ok && r.median_us > 0 && r.roof_fraction > 0));
         must(`${rows.length} rows of decode; wrong are ${bad.map((r) => `${r.case} ${r.plan} (${r.median_us} µs, ${r.message})`).join(', ')}`, rows.length >= only.size && !bad.length);
         press('Close', $('#dock'));",
    )
    .map(drop)
}

fn finds_cases(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "const seen = () => $$('#cases .case').filter((c) => !c.hidden && !c.closest('[hidden]')).length;
         const all = seen(), input = $('input[type=search]');
         must(`${all} cases are seen`, all === gristmill.cases().length && all > 100);
         const type = (text) => { input.value = text; input.dispatchEvent(new Event('input')); };
         type('rms_norm llama decode');
         must(`${seen()} are found`, seen() > 0 && seen() < 5);
         type('');
         $('[name=kind][value=real]').click();
         must('not the real ones are seen', seen() === gristmill.cases().filter((c) => c.real).length);
         $('[name=kind][value=all]').click();
         must('not all are seen again', seen() === all);",
    )
    .map(drop)
}

fn compares(browser: &Browser, _: &Set) -> Result<()> {
    // Three minutes: the rows are 2048 × 4096, and this device is software.
    act(
        browser,
        "press('Compare f32', $('#fusion'));
         await until('the ratio is there', 180, () => $('#fusion .ratio b') || $('#fusion .trouble'));
         must($('#fusion .trouble')?.textContent, !$('#fusion .trouble'));
         must('three parts are not there', $$('#fusion .legend li').length === 3);",
    )
    .map(drop)
}

fn hands_out(browser: &Browser, _: &Set) -> Result<()> {
    act(
        browser,
        "press('Copy JSON');
         const report = JSON.parse($('#results pre').textContent);
         await until('the button answers', 5, () => /Copied|Selected/.test($('#results').textContent));
         must('the report has no rows', report.rows.length > 3 && report.device.name && report.roof.copy_gb_s > 0 && report.fusion.f32.ratio > 0);
         $('#results pre').hidden = true;",
    )
    .map(drop)
}

fn photographed(browser: &Browser, _: &Set) -> Result<()> {
    photographs(
        browser,
        "page",
        &[
            "#main",
            "#device",
            "#roof",
            "#cases",
            "[data-case='CASE']",
            "#fusion",
            "#recorded",
            "#weights",
            "#weights .tall",
            "#attention",
            "#attention .maps",
            "#skipping",
            "#skipping .film",
            "#skipping .maps",
            "#skipping .costs",
            "#adapters",
            "#adapters .kinds",
        ],
    )
}

fn as_the_least(browser: &Browser, set: &Set) -> Result<()> {
    browser.open(&set.url("?caps=baseline"))?;
    act(
        browser,
        "const device = await gristmill.ready;
         const there = device.chips.filter((c) => c.there).map((c) => c.name);
         must(`it has ${there}`, !there.includes('f16') && !there.includes('subgroups'));
         must('the limits are not the least', device.limits.every((l) => !/^(storage|buffer|workgroup|invocations)/.test(l.name) || l.value <= l.baseline));
         const rows = await gristmill.runAll({ timed: false, only: new Set(['CASE']) });
         must('it used subgroups', rows.length >= 6 && rows.every((r) => r.ok && !/subgroup|f16/.test(r.plan)));",
    )
    .map(drop)
}

fn without_api(browser: &Browser, set: &Set) -> Result<()> {
    override_in_page(browser, "delete Navigator.prototype.gpu;", || {
        browser.open(&set.url(""))?;
        act(
            browser,
            "const ready = await gristmill.ready;
             must('a device is there', ready.missing && document.body.dataset.ready === 'missing');
             must('the card is not there', $('.missing').dataset.kind === 'api' && $('.missing').textContent.includes('no WebGPU'));
             must('nothing says how to turn it on', $('#device details[open]').textContent.includes('enable-unsafe-webgpu'));
             press('Reference', row('rms_norm/length-33'));
             await until('the reference has run', 20, () => row('rms_norm/length-33').textContent.includes('ms, CPU'));
             $('.toggle', row('rms_norm/length-33')).click();
             const output = await until('its output is shown', 5, () => $('.output', row('rms_norm/length-33'))?.textContent);
             must(`the output is ${output}`, output.includes('y [4, 33] = ['));
             await until('the WGSL of the least device is shown', 5, () => $('pre code', row('rms_norm/length-33'))?.textContent.includes('@compute'));
             const files = await (await fetch('results/index.json')).json();
             await until('recorded rows are shown, or that there are none', 10, () => files.length
               ? $('#recorded .stamp')?.textContent.startsWith('Recorded') && $$('#recorded .case').length > 0
               : $('#recorded .empty'));
             press('Open the map', $('#attention'));
             await until('the map is there', 60, () => $('#attention .difference'));
             must(`it says ${$('#attention .stats').textContent}`, $('#attention .stats').textContent.includes('no WebGPU') && $$('#attention rect.fill').length > 9);
             press('Open the film', $('#skipping'));
             await until('the film is there', 60, () => $('#skipping .difference'));
             must(`it says ${$('#skipping .stats').textContent}`, $('#skipping .stats').textContent.includes('no WebGPU') && $$('#skipping rect.fill').length === 28);
             must('nothing says what is missing', $('#skipping .lanes').textContent.includes('need WebGPU'));
             press('Open the adapters', $('#adapters'));
             await until('the adapters are there', 60, () => $('#adapters .of-bora .rows'));
             must(`it says ${$('#adapters').textContent}`, $('#adapters .of-dora .difference').textContent.includes('no WebGPU') && $('#adapters .of-dora .rows').textContent.includes('|m|, off') && !$$('#adapters button').length);
             press('Open the formats', $('#weights'));
             await until('the formats are there', 60, () => $$('#weights circle.case').length > 50);
             must('the error is not there', parseFloat($('#weights .stats .lost dd').textContent) > 0);
             must('nothing says what is missing', $('#weights').textContent.includes('needs WebGPU') && $('#weights').textContent.includes('decoded on the CPU only'));
             must('there is a button for times', !$$('#weights button').some((b) => b.textContent.startsWith('Time')));
             press('Reference', row('dequantize/q4_0'));
             await until('the reference has run', 20, () => row('dequantize/q4_0').textContent.includes('ms, CPU'));",
        )
        .map(drop)
    })
}

fn photographed_without(browser: &Browser, _: &Set) -> Result<()> {
    photographs(browser, "without", &["#main", "#recorded", "[data-case='rms_norm/length-33']", "#weights"])
}

fn without_adapter(browser: &Browser, set: &Set) -> Result<()> {
    override_in_page(browser, "GPU.prototype.requestAdapter = async () => null;", || {
        browser.open(&set.url(""))?;
        act(
            browser,
            "await gristmill.ready;
             must('the card is not there', $('.missing').dataset.kind === 'adapter');
             must(`it says ${$('.missing').textContent}`, $('.missing .trouble').textContent.includes('this browser gives no WebGPU adapter'));",
        )
        .map(drop)
    })
}

fn without_shaders(browser: &Browser, set: &Set) -> Result<()> {
    let script = "const fetched = window.fetch;
        window.fetch = (what, ...how) => String(what).includes('shaders.json')
          ? Promise.resolve(new Response('gone', { status: 404, statusText: 'Not Found' })) : fetched(what, ...how);";
    override_in_page(browser, script, || {
        browser.open(&set.url(""))?;
        act(
            browser,
            "await gristmill.ready;
             must('the card is not there', $('.missing')?.dataset.kind === 'shaders');
             const text = $('.missing').textContent;
             must(`it says ${text}`, text.includes('The shaders could not be loaded') && text.includes('shaders.json could not be fetched: the server says 404'));",
        )
        .map(drop)
    })
}

fn without_the_second(browser: &Browser, set: &Set) -> Result<()> {
    let script = "const fetched = window.fetch;
        window.fetch = (what, ...how) => String(what?.url ?? what).includes('whole_bg.wasm')
          ? Promise.resolve(new Response('gone', { status: 404, statusText: 'Not Found' })) : fetched(what, ...how);";
    override_in_page(browser, script, || {
        browser.open(&set.url(""))?;
        act(
            browser,
            "await gristmill.ready;
             press('Open the formats', $('#weights'));
             const text = await until('the section says so', 20, () => $('#weights .trouble')?.textContent);
             must('it cannot be tried again', $('#weights button').textContent === 'Try again' && !$('#weights button').disabled);
             must('the cases do not say so', $('.absent .trouble').textContent === text);
             press('Run', row('CASE'));
             await until('the first goes on', 200, () => row('CASE').dataset.state === 'pass');",
        )
        .map(drop)
    })
}

/// The pages that `work` opens begin with this script.
fn override_in_page(browser: &Browser, script: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let added = browser.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))?;
    let told = work();
    browser.command("Page.removeScriptToEvaluateOnNewDocument", json!({ "identifier": added["identifier"] }))?;
    told
}

fn quiet(browser: &Browser, _: &Set) -> Result<()> {
    none_of(&faults(browser)?)
}

/// Photographs parts of the page on a laptop and on a phone, in light and dark, into `target/screenshots`; an error where anything
/// is wider than the screen.
fn photographs(browser: &Browser, name: &str, parts: &[&str]) -> Result<()> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("."));
    let dir = target.join("screenshots");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut wide = Vec::new();
    for (width, height) in [(1280, 900), (390, 844)] {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        browser.command("Emulation.setDeviceMetricsOverride", screen)?;
        for scheme in ["light", "dark"] {
            let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            browser.command("Emulation.setEmulatedMedia", features)?;
            for (number, part) in parts.iter().enumerate() {
                let looked = act(
                    browser,
                    &"await document.fonts.ready;
                      (PART === '#main' ? document.body : $(PART)).scrollIntoView({ behavior: 'instant' });
                      await new Promise((r) => setTimeout(r, 150));
                      return [document.documentElement.scrollWidth, innerWidth];"
                        .replace("PART", &format!("{part:?}")),
                )?;
                if looked[0].as_u64() > looked[1].as_u64() {
                    wide.push(format!("at {width}, {part}: {} of {}", looked[0], looked[1]));
                }
                let taken = browser.command("Page.captureScreenshot", json!({ "format": "png" }))?;
                let file = dir.join(format!("{name}-{number}-{width}-{scheme}.png"));
                let bytes = webdriver::from_base64(taken["data"].as_str().unwrap_or_default())?;
                std::fs::write(&file, bytes).map_err(|e| format!("{}: {e}", file.display()))?;
            }
        }
    }
    browser.command("Emulation.clearDeviceMetricsOverride", json!({}))?;
    browser.command("Emulation.setEmulatedMedia", json!({ "features": [] }))?;
    println!("browser: photographs in {}", dir.join(format!("{name}-*.png")).display());
    none_of(&wide)
}
