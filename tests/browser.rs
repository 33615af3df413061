//! The page in a real browser: every case × storage × plan through WebAssembly and WebGPU, with all that the device has and as
//! the least device; what a person does with the page; and the page where there is no WebGPU.
//!
//! `cargo xtask test` builds and serves the page, finds the browser, and sets what this needs: `GRISTMILL_PAGE`,
//! `GRISTMILL_CHROMIUM` and `GRISTMILL_CHROMEDRIVER`.
//!
//! All runs come first, in two browsers side by side; then each row is a test of its own. A filter on the command line
//! chooses among the tests, not among the runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gristmill::proof::cases;
use gristmill::{Caps, Target};
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
                format!("{name} is not set: `cargo xtask test` builds and serves the page, finds a browser, and runs this")
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

/// The caps that the page is told to use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Full,
    Baseline,
}

impl Width {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full caps",
            Self::Baseline => "baseline caps",
        }
    }

    fn query(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::Baseline => "?caps=baseline",
        }
    }
}

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
    // Two at a time: while one waits for its device the other makes references.
    let (full, baseline) = std::thread::scope(|scope| {
        let full = scope.spawn(|| run_all(&set, Width::Full));
        let baseline = scope.spawn(|| run_all(&set, Width::Baseline));
        (full.join(), baseline.join())
    });
    let gone = || Err("the thread that drove the browser panicked".to_owned());
    let mut trials = rows_as_trials(full.unwrap_or_else(|_| gone()), Width::Full);
    trials.extend(rows_as_trials(baseline.unwrap_or_else(|_| gone()), Width::Baseline));
    println!("browser: every case ran at full and at baseline caps, in {:.0} s", began.elapsed().as_secs_f64());

    let began = Instant::now();
    for (name, told) in people::all(&set) {
        trials.push(Trial::test(name, move || told.map_err(Failed::from)));
    }
    println!("browser: the page was used as people use it, in {:.0} s", began.elapsed().as_secs_f64());
    libtest_mimic::run(&arguments, trials).exit_code()
}

// ---- every case

/// Opens the page and runs everything that it has: each case in each of its storages by each plan.
fn run_all(set: &Set, width: Width) -> Result<Ran> {
    let browser = set.browser()?;
    browser.open(&set.url(width.query()))?;
    let device = browser.eval_async("return await gristmill.ready;", json!([]))?;
    if device["missing"].is_string() {
        return Err(format!("the page found no device: {}", device["missing"]));
    }
    println!("browser: {}: {}", width.name(), shown_device(&device));
    let start = "window.ran = { rows: [], done: false };
        gristmill.runAll({ timed: false, storages: 'all', plans: 'all', onRow: (row) => ran.rows.push(row) })
          .catch((e) => { ran.error = String(e?.message ?? e); })
          .finally(() => { ran.done = true; });";
    browser.eval(start, json!([]))?;
    let (mut rows, mut last) = (Vec::new(), Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let mut told = browser.eval("return { rows: ran.rows.splice(0), done: ran.done, error: ran.error };", json!([]))?;
        let new: Vec<Value> = serde_json::from_value(told["rows"].take()).map_err(|e| e.to_string())?;
        if !new.is_empty() {
            last = Instant::now();
        }
        let before = rows.len() / 500;
        rows.extend(new);
        if rows.len() / 500 > before {
            println!("browser: {}: {} rows", width.name(), rows.len());
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
    let faults = faults(&browser)?;
    Ok(Ran { device, rows, faults })
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
    let shown = browser.eval("return [...document.querySelectorAll('#faults p')].map((p) => p.firstChild.data);", json!([]))?;
    let mut all: Vec<String> = serde_json::from_value(shown).map_err(|e| e.to_string())?;
    all.extend(browser.console_errors()?);
    Ok(all)
}

/// A test for each row, one for each case and storage that has none, and some on the whole.
fn rows_as_trials(ran: Result<Ran>, width: Width) -> Vec<Trial> {
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => return vec![Trial::test(format!("run ({})", width.name()), || Err(error.into()))],
    };
    let mut trials = Vec::new();
    let mut add = |name: &str, told: Result<()>| {
        trials.push(Trial::test(format!("{name} ({})", width.name()), move || told.map_err(Failed::from)));
    };
    let mut plans: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in &ran.rows {
        let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let (case, storage, plan) = (word("case"), word("storage"), word("plan"));
        add(&format!("{case} {storage} {plan}"), judge(row));
        plans.entry((case, storage)).or_default().push(plan);
    }
    for case in cases::all() {
        for storage in &case.storages {
            let key = (case.name.clone(), storage.name().to_owned());
            let name = format!("{} {}: has rows", case.name, storage.name());
            let got = plans.remove(&key).unwrap_or_default();
            // What the least device is planned for is known without a browser.
            let least = Caps { target: Target::Web, ..Caps::baseline() };
            match case.plans(*storage, &least) {
                Ok(wanted) if width == Width::Baseline => {
                    let wanted: Vec<String> = wanted.into_iter().map(|p| p.name).collect();
                    if got != wanted {
                        add(&name, Err(format!("it ran by {got:?}, but its plans are {wanted:?}")));
                    }
                }
                Ok(_) if got.is_empty() => add(&name, Err("it did not run".into())),
                Ok(_) => {}
                Err(error) => add(&name, Err(error.to_string())),
            }
        }
    }
    let unknown: Vec<_> = plans.keys().map(|(case, storage)| format!("{case} {storage}")).collect();
    let known = if unknown.is_empty() { Ok(()) } else { Err(format!("rows of {}", unknown.join(", "))) };
    add("rows are of cases that there are", known);
    let quiet = if ran.faults.is_empty() { Ok(()) } else { Err(ran.faults.join("\n")) };
    add("the page shows no fault and its console no error", quiet);
    // Chromium has them on SwiftShader: were they not found, half of the plans would go untried.
    let there = chips(&ran.device).contains(&("subgroups", true));
    let subgroups = match (width, there) {
        (Width::Full, false) => Err("they are not found".to_owned()),
        (Width::Baseline, true) => Err("the baseline has none".to_owned()),
        _ => Ok(()),
    };
    add("subgroups", subgroups);
    trials
}

fn judge(row: &Value) -> Result<()> {
    if row["ok"] == true && row["message"].is_null() {
        return Ok(());
    }
    let message = row["message"].as_str().unwrap_or("no message");
    Err(format!("{message}\nerror {}, bound {}, in {}", row["error"], row["bound"], row["operand"]))
}

mod people {
    use super::*;

    pub fn all(_: &Set) -> Vec<(String, Result<()>)> {
        Vec::new()
    }
}
