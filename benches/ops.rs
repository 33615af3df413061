//! The native benchmark: every case of the table that comes from a real model, in every storage, by every plan; checked first,
//! then timed, beside what this device can do at best.
//!
//! `cargo bench --bench ops -- [FILTER]... [OPTIONS]`, or `cargo xtask bench`; `--help` says the rest.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to a person")]

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gristmill::formats::Format;
use gristmill::ops::norm::RmsNorm;
use gristmill::plan::Access;
use gristmill::proof::measure::{
    Busy, Effort, FUSION_TOKENS, Fusion, LayerSizes, Roof, SELECTION_TOKENS, SKIPPING_TOKENS, SWAPPED_RANK, Saving,
    Swap, Swaps, Trial, fusion, layer_sizes, prologue_fusion, roof, skipping, steadiness, swapping,
};
use gristmill::proof::{COLUMNS, Row, cases, json_text};
use gristmill::{DeviceKind, Dispatcher, Elem, wgsl};

type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
cargo bench --bench ops -- [FILTER]... [OPTIONS]

Checks and times every real case of the table. With filters, only what contains one of them in `case storage plan`,
such as `llama`, `decode f16` or `row/tree`; `skipping` are decoder layers with parts of their tokens, `swapping` the
adapters of a model, attached, replaced and taken away, `fused` ops in one dispatch beside their parts in many. A software
device, which takes minutes for each of the first two, times them by these words only.

  --best       each case by the plan that the dispatcher chooses, and no other
  --all-plans  the naive plan of large cases too, which takes a software device minutes
  --quick      fewer and shorter samples
  --save       append the rows to benches/results even though filters or --quick were given; not with --quick on a
               software device, whose runs then turn through too little memory
  --busy       append them even though the device did other work meanwhile
  --no-save    append nothing
  --json       one JSON document on stdout, and nothing else there
  --list       what would run, without running it";

/// Naive plans of cases that move more than this are left out on software devices: one run takes seconds.
const NAIVE_BYTES: u64 = 4 << 20;

/// Norms of at least this many bytes should reach [`NORM_TARGET`] of the copy bandwidth.
const NORM_BYTES: u64 = 16_000_000;
const NORM_TARGET: f64 = 0.85;
/// A fused norm takes at most this part of the time of its three dispatches, and a prologue of its five or seven.
const NORM_FUSION_TARGET: f64 = 0.6;
const PROLOGUE_TARGET: f64 = 0.5;
const HOST_TARGET_US: f64 = 5.0;
/// A layer with half of its tokens takes at most this part of the time of all, routing included.
const HALF_TARGET: f64 = 0.58;
/// With any part of them it takes no more than this times the part, and routing.
const EXCESS_TARGET: f64 = 1.1;
/// A selection takes at most this part of the layer.
const SELECTION_TARGET: f64 = 0.02;
/// The adapters of all linears of a Qwen3-0.6B are replaced within this many milliseconds.
const SWAP_TARGET_MS: f64 = 5.0;

/// Between these a copy at the end may be off from that at the beginning.
const STEADY: std::ops::Range<f64> = 0.8..1.25;

#[derive(Default)]
struct Options {
    filters: Vec<String>,
    best: bool,
    all_plans: bool,
    quick: bool,
    save: bool,
    busy: bool,
    no_save: bool,
    json: bool,
    list: bool,
    help: bool,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--best" => options.best = true,
                "--all-plans" => options.all_plans = true,
                "--quick" => options.quick = true,
                "--save" => options.save = true,
                "--busy" => options.busy = true,
                "--no-save" => options.no_save = true,
                "--json" => options.json = true,
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                // What cargo adds.
                "--bench" => {}
                flag if flag.starts_with('-') => return Err(format!("there is no option {flag}\n\n{HELP}").into()),
                _ => options.filters.push(argument),
            }
        }
        Ok(options)
    }

    fn wants(&self, case: &str, storage: Elem, plan: &str) -> bool {
        let text = format!("{case} {} {plan}", storage.name());
        self.filters.is_empty() || self.filters.iter().any(|f| text.contains(f.as_str()))
    }

    /// Whether what is timed beside the cases is asked for: all of it where nothing is. On a software device that takes minutes to hours, so
    /// there its kind must be named: a part of the name may be that of a model or format, and mean the cases.
    fn wants_beside(&self, name: &str, software: bool) -> bool {
        let kind = name.split('/').next().unwrap_or(name);
        let asks = |filter: &String| name.contains(filter.as_str()) && (!software || filter.contains(kind));
        if self.filters.is_empty() { !software } else { self.filters.iter().any(asks) }
    }

    /// Rows are kept where the run is whole, or where the person says so.
    fn saves(&self) -> bool {
        !self.no_save && (self.save || (self.filters.is_empty() && !self.quick))
    }

    /// The time that is taken. A software device times well with less, and each of its samples is longer. Elsewhere a quick run turns through as
    /// much memory as a whole one, so that its rows differ from that one's in their spread only, and can be saved.
    fn effort(&self, software: bool) -> Result<Effort, Failure> {
        let whole = Effort::bench();
        let mut effort = whole.clone();
        if self.quick {
            let rotate_bytes = if software { 64 << 20 } else { whole.rotate_bytes };
            effort = Effort { sample_ms: 4.0, samples: 5, rotate_bytes, settle_ms: 80.0, ..whole.clone() };
        }
        if software {
            effort.samples = effort.samples.min(9);
        }
        if self.saves() && effort.rotate_bytes < whole.rotate_bytes {
            let [has, needs] = [effort.rotate_bytes, whole.rotate_bytes].map(|bytes| bytes >> 20);
            return Err(format!(
                "--quick --save: on a software device the runs of --quick turn through {has} MB, and rows are saved of {needs} only; \
                 leave out one of the two"
            )
            .into());
        }
        Ok(effort)
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| pollster::block_on(run(&options))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// True where every check passed, and nothing beside the cases failed.
async fn run(options: &Options) -> Result<bool, Failure> {
    if options.help {
        println!("{HELP}");
        return Ok(true);
    }
    let begun = Instant::now();
    let gpu = Dispatcher::request().await?;
    let software = gpu.caps().kind == DeviceKind::Cpu;
    let effort = options.effort(software)?;
    let mut beside = Beside::default();
    let todo = todo(&gpu, options, software, &mut beside);
    let layers = layers(options, software);
    let swaps = wants_swaps(options, software);
    let fused = fused(options, software);
    if todo.is_empty() && layers.is_empty() && !swaps && fused.is_empty() && beside.failures.is_empty() {
        return Err(
            format!("no `case storage plan` contains {}; --list shows them all", options.filters.join(" or ")).into()
        );
    }
    if options.list {
        for Work { case, storage, plans, skipped } in &todo {
            for plan in plans {
                println!("{} {} {plan}", case.name, storage.name());
            }
            for plan in skipped {
                println!("{} {} {plan} (only with --all-plans)", case.name, storage.name());
            }
        }
        for (sizes, format, tokens) in &layers {
            println!("{}", layer_name(sizes, *format, *tokens));
        }
        if swaps {
            println!("{SWAPPING}");
        }
        for one in &fused {
            println!("{}", one.name());
        }
        beside.failures.iter().for_each(|failure| eprintln!("FAILED  {failure}"));
        return Ok(beside.failures.is_empty());
    }
    let device = Device::of(&gpu);
    if options.saves() {
        // Before the time is taken, not after.
        results_file(&device)?;
    }
    let mut progress = Progress::new(options.json);
    progress.say(&device.text(&gpu, &effort));

    progress.status("measuring the roof");
    let roof = roof(&gpu, &effort).await?;
    progress.say(&roof_text(&roof));

    let count: usize = todo.iter().map(|w| w.plans.len()).sum();
    let mut rows: Vec<Row> = Vec::with_capacity(count);
    for Work { case, storage, plans, .. } in &todo {
        let title = format!("{} {}", case.name, storage.name());
        progress.status(&format!("{:3} of {count}  {title}: the reference", rows.len() + 1));
        let busy = Busy::new(&gpu);
        // Of a lost device, without the reference.
        let trial = gpu.check().and_then(|()| Trial::new(&gpu, case, *storage, Some(&effort)));
        drop(busy);
        for plan in plans {
            progress.status(&format!("{:3} of {count}  {title} {plan}", rows.len() + 1));
            let row = match &trial {
                Ok(trial) => trial.row(plan, Some(&roof), &effort).await,
                Err(error) => Row {
                    case: case.name.clone(),
                    op: case.op.to_owned(),
                    storage: storage.name().to_owned(),
                    plan: plan.clone(),
                    message: Some(error.to_string()),
                    ..Row::default()
                },
            };
            if let Some(message) = &row.message {
                progress.say(&format!("FAILED  {title} {plan}\n{}", indented(message)));
            }
            rows.push(row);
        }
    }

    for one in fused {
        progress.status(&one.name());
        let fusion = match &one {
            Fused::Norm(storage) => fusion(&gpu, *storage, &effort).await,
            Fused::Prologue(sizes, tokens) => prologue_fusion(&gpu, sizes, *tokens, one.storage(), &effort).await,
        };
        let fusion = beside.kept(&one.name(), fusion);
        beside.fusions.extend(fusion.map(|fusion| (one, fusion)));
    }
    for (sizes, format, tokens) in &layers {
        let name = layer_name(sizes, *format, *tokens);
        progress.status(&name);
        let saving = beside.kept(&name, skipping(&gpu, sizes, *format, *tokens, &effort).await);
        beside.savings.extend(saving);
    }
    if swaps {
        progress.status(SWAPPING);
        let swaps = beside.kept(SWAPPING, swapping(&gpu, &layer_sizes()[0], Format::Q4_0).await);
        beside.swaps.extend(swaps);
    }
    progress.status("the host");
    beside.host = beside.kept("the host", host::Cost::measure(&gpu));
    progress.status("the roof once more");
    beside.steadiness = beside.kept("the roof once more", steadiness(&gpu, &roof, &effort).await);
    progress.status("");

    let ok = rows.iter().all(|r| r.ok);
    let steady = beside.steadiness.is_some_and(|part| STEADY.contains(&part));
    let skipped: usize = todo.iter().map(|w| w.skipped.len()).sum();
    let keep = options.saves() && ok && (steady || options.busy) && !rows.is_empty();
    let saved = if keep { beside.kept("saving", save(&device, &rows)) } else { None };
    if options.json {
        println!("{}", json(&device, &roof, &rows, &beside));
    } else {
        if !rows.is_empty() {
            println!("\n{}", table(&rows));
        }
        print!("{}", fusion_text(&beside.fusions));
        print!("{}", savings_text(&beside.savings));
        print!("{}", swaps_text(&beside.swaps));
        print!("{}", targets(&roof, &rows, &beside, software));
        print!("{}", savings_targets(&beside.savings));
        print!("{}", swaps_targets(&beside.swaps));
    }
    if skipped > 0 {
        progress.say(&format!(
            "\n{skipped} naive plans of cases above {} MB were left out; --all-plans runs them.",
            NAIVE_BYTES >> 20
        ));
    }
    if let Some(part) = beside.steadiness.filter(|_| !steady) {
        progress.say(&format!(
            "\nThe device did other work meanwhile: at the end a copy reached {:.0} % of what it reached at the beginning, so that \
             fractions of the roof mean little.",
            part * 100.0
        ));
    }
    if software {
        let heavy = cases::all().iter().filter(|c| c.heavy()).count();
        progress.say(&format!(
            "\n{heavy} linear layers of real models are too much for a device of software; their names, or --all-plans, run them."
        ));
    }
    match saved {
        Some(path) => progress.say(&format!("{} rows appended to {}.", rows.len(), path.display())),
        // There is nothing to save, or why it was not is told below.
        None if rows.is_empty() || keep => {}
        None if options.saves() && !ok => progress.say("Nothing was saved, because not all checks passed."),
        None if options.saves() => {
            progress.say("Nothing was saved, because the device was busy, or may have been; --busy saves all the same.")
        }
        None => progress.say("Nothing was saved: --save keeps the rows of a part."),
    }
    let failed = rows.iter().filter(|r| !r.ok).count();
    if failed > 0 {
        progress.say(&format!("\n{failed} of {} CHECKS FAILED, and were not timed; see above.", rows.len()));
    }
    for failure in &beside.failures {
        progress.say(&format!("\nFAILED  {failure}"));
    }
    progress.say(&format!("{:.0} s", begun.elapsed().as_secs_f64()));
    Ok(ok && beside.failures.is_empty())
}

/// What is timed beside the cases, against what it stands in for.
#[derive(Default)]
struct Beside {
    fusions: Vec<(Fused, Fusion)>,
    savings: Vec<Saving>,
    swaps: Vec<Swaps>,
    host: Option<host::Cost>,
    /// The copy at the end as a part of that at the beginning.
    steadiness: Option<f64>,
    /// What went wrong, but for the rows, which have messages of their own.
    failures: Vec<String>,
}

impl Beside {
    /// What was measured. An error is kept, to be told at the end: the rows of an hour must not be lost to it.
    fn kept<T>(&mut self, what: &str, result: Result<T, impl std::fmt::Display>) -> Option<T> {
        result.map_err(|error| self.failures.push(format!("{what}: {error}"))).ok()
    }
}

/// A case in a storage, with the plans that are run and those that are left out.
struct Work {
    case: cases::Case,
    storage: Elem,
    plans: Vec<String>,
    skipped: Vec<String>,
}

fn todo(gpu: &Dispatcher, options: &Options, software: bool, beside: &mut Beside) -> Vec<Work> {
    let mut todo = Vec::new();
    for case in cases::all().into_iter().filter(|c| c.real) {
        for storage in case.storages.clone() {
            if software && case.heavy() && options.filters.is_empty() && !options.all_plans {
                continue;
            }
            let slow = software && !options.all_plans && case.bytes(storage) > NAIVE_BYTES;
            let plans = match case.plans(storage, gpu.caps()) {
                // Nobody asked.
                Err(_) if !options.wants(&case.name, storage, "") => continue,
                plans => beside.kept(&format!("{} {}", case.name, storage.name()), plans),
            };
            let names = plans.into_iter().flatten().map(|p| p.name);
            let names = names.take(if options.best { 1 } else { usize::MAX });
            let names = names.filter(|p| options.wants(&case.name, storage, p));
            // Where there is nothing but the naive plan, that is the case's best.
            // There are hundreds of linear layers: each by its best plan.
            let names: Vec<String> = names.collect();
            let first = if case.weights.is_empty() || options.all_plans { names.len() } else { 1 };
            let names = names.into_iter().take(first);
            let (mut skipped, mut plans): (Vec<String>, Vec<String>) = names.partition(|p| slow && p == "naive");
            if plans.is_empty() {
                std::mem::swap(&mut skipped, &mut plans);
            }
            if !plans.is_empty() {
                todo.push(Work { case: case.clone(), storage, plans, skipped });
            }
        }
    }
    todo
}

/// The decoder layers that are timed with parts of their tokens: those that are asked for, and all where nothing is. A device of software
/// takes minutes for one.
fn layers(options: &Options, software: bool) -> Vec<(LayerSizes, Format, usize)> {
    let all = layer_sizes().into_iter().flat_map(|sizes| {
        let formats = [Format::Dense, Format::Q4_0].into_iter();
        formats.flat_map(move |format| SKIPPING_TOKENS.map(|tokens| (sizes, format, tokens)))
    });
    all.filter(|(sizes, format, tokens)| options.wants_beside(&layer_name(sizes, *format, *tokens), software)).collect()
}

fn layer_name(sizes: &LayerSizes, format: Format, tokens: usize) -> String {
    format!("skipping/{}-{tokens}-{format}", sizes.model.to_ascii_lowercase())
}

const SWAPPING: &str = "swapping/qwen3-0.6b-q4_0";

/// The adapters of a whole model are swapped where that is asked for, and where nothing is.
fn wants_swaps(options: &Options, software: bool) -> bool {
    options.wants_beside(SWAPPING, software)
}

/// What is timed in one dispatch and in many.
enum Fused {
    Norm(Elem),
    Prologue(LayerSizes, usize),
}

impl Fused {
    fn name(&self) -> String {
        let storage = self.storage().name();
        match self {
            Self::Norm(_) => format!("fused/norm {storage}"),
            Self::Prologue(sizes, tokens) => {
                format!("fused/prologue-{}-{tokens} {storage}", sizes.model.to_ascii_lowercase())
            }
        }
    }

    fn storage(&self) -> Elem {
        match self {
            Self::Norm(storage) => *storage,
            Self::Prologue(..) => Elem::F16,
        }
    }

    fn target(&self) -> f64 {
        match self {
            Self::Norm(_) => NORM_FUSION_TARGET,
            Self::Prologue(..) => PROLOGUE_TARGET,
        }
    }

    /// It takes a software device seconds for each sample.
    fn heavy(&self) -> bool {
        matches!(self, Self::Prologue(_, tokens) if *tokens > 512)
    }
}

fn fused(options: &Options, software: bool) -> Vec<Fused> {
    let norms = [Elem::F32, Elem::F16, Elem::Bf16].into_iter().map(Fused::Norm);
    let prologues = layer_sizes().into_iter().flat_map(|sizes| FUSION_TOKENS.map(|n| Fused::Prologue(sizes, n)));
    let wanted = |one: &Fused| match options.filters.as_slice() {
        [] => !(software && one.heavy()),
        filters => filters.iter().any(|f| one.name().contains(f.as_str())),
    };
    norms.chain(prologues).filter(wanted).collect()
}

/// The device in words.
struct Device {
    name: String,
    driver: String,
    kind: &'static str,
    api: String,
}

impl Device {
    fn of(gpu: &Dispatcher) -> Self {
        let info = gpu.info();
        let narrowed = std::env::var("GRISTMILL_CAPS").is_ok_and(|v| v == "baseline");
        Self {
            name: format!("{}{}", info.name, if narrowed { " as the baseline" } else { "" }),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            kind: gpu.caps().kind.name(),
            api: format!("{:?}", info.backend),
        }
    }

    fn text(&self, gpu: &Dispatcher, effort: &Effort) -> String {
        let caps = gpu.caps();
        let have = |there: bool, name: &str| if there { name.to_owned() } else { format!("no {name}") };
        let subgroups = match caps.subgroups {
            Some(s) if s.min == s.max => format!("subgroups of {}", s.min),
            Some(s) => format!("subgroups of {} to {}", s.min, s.max),
            None => "no subgroups".into(),
        };
        format!(
            "{} ({}), {}, {}\n{}, {subgroups}, {}; {} MB a binding, {} storage buffers, {} KB of workgroup memory, \
             {} invocations\n{} samples of {} ms; runs turn through {} MB",
            self.name,
            self.kind,
            self.api,
            self.driver,
            have(caps.f16, "f16"),
            have(caps.timestamps, "timestamps"),
            caps.storage_binding_bytes >> 20,
            caps.storage_buffers,
            caps.workgroup_bytes >> 10,
            caps.invocations,
            effort.samples,
            effort.sample_ms,
            effort.rotate_bytes >> 20,
        )
    }
}

fn roof_text(roof: &Roof) -> String {
    let copies: Vec<String> = roof.copies.iter().map(|(b, g)| format!("{} MB {}", b >> 20, three(*g))).collect();
    let maybe = |name: &str, unit: &str, rate: Option<f64>| match rate {
        Some(rate) => format!(", {name} {} {unit}", three(rate)),
        None => format!(", no {name}"),
    };
    format!(
        "roof by {}: copies {} GB/s ({}); f32 {} GFLOP/s{}{}{}",
        roof.timer.name(),
        three(roof.copy_gb_s),
        copies.join(", "),
        three(roof.fma_gflop_s),
        maybe("f16", "GFLOP/s", roof.f16_gflop_s),
        maybe("matrix units", "GFLOP/s", roof.matrix_gflop_s),
        maybe("int8 dot", "GOP/s", roof.dot_gop_s),
    )
}

/// What is happening, on stderr: one line that is rewritten where a person looks, plain lines elsewhere.
struct Progress {
    terminal: bool,
    /// Stdout is for one JSON document.
    quiet_stdout: bool,
}

impl Progress {
    fn new(quiet_stdout: bool) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), quiet_stdout }
    }

    fn status(&mut self, text: &str) {
        let mut stderr = std::io::stderr();
        // A terminal that is gone is no reason to stop.
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush())
        } else if text.is_empty() {
            Ok(())
        } else {
            writeln!(stderr, "{text}")
        };
    }

    fn say(&mut self, text: &str) {
        if self.terminal {
            self.status("");
        }
        if self.quiet_stdout {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
}

/// Rows in columns, a case's plans together and the quickest marked.
fn table(rows: &[Row]) -> String {
    let head =
        ["", "case", "as", "plan", "µs", "p20–p80", "GB/s", "GFLOP/s", "of roof", "× f32", "error ≤ bound", "host µs"];
    let mut cells: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    let mut sorted: Vec<&Row> = rows.iter().collect();
    // By op and case in the order of their names; a stable sort keeps storages and plans in theirs.
    // Linear layers end with their numbers of rows, which are numbers.
    let key = |row: &Row| {
        let (name, rows) = row.case.rsplit_once("-m").unwrap_or((&row.case, ""));
        (row.op.clone(), name.to_owned(), rows.parse::<u64>().unwrap_or(0), row.case.clone())
    };
    sorted.sort_by_cached_key(|row| key(row));
    for row in &sorted {
        let best = is_best(row, rows);
        let maybe = |v: Option<f64>| v.map_or_else(String::new, three);
        let spread = row.us.map_or_else(String::new, |[_, low, high]| format!("{}–{}", three(low), three(high)));
        let fraction = row.roof_fraction.map_or_else(String::new, |f| format!("{:.0} %", f * 100.0));
        let tiny = |v: f64| if v == 0.0 { "0".to_owned() } else { format!("{v:.1e}") };
        let error = match (row.ok, row.bound > 0.0) {
            (true, true) => format!("{} ≤ {}", tiny(row.error), tiny(row.bound)),
            (true, false) => "0".into(),
            (false, true) => format!("FAILED {:.1e} > {:.1e}", row.error, row.bound),
            (false, false) => "FAILED".into(),
        };
        cells.push(vec![
            if best { "*".into() } else { String::new() },
            row.case.clone(),
            row.storage.clone(),
            row.plan.clone(),
            maybe(row.us.map(|us| us[0])),
            spread,
            maybe(row.gb_s()),
            maybe(row.us.map(|us| row.flops as f64 / us[0] / 1e3)),
            fraction,
            maybe(times_f32(row, rows)),
            error,
            maybe(row.host_us),
        ]);
    }
    let widths: Vec<usize> =
        (0..head.len()).map(|c| cells.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    let mut above = "";
    for (at, row) in cells.iter().enumerate() {
        let case = if at == 0 { "" } else { sorted[at - 1].case.as_str() };
        if at > 0 && case != above {
            out.push('\n');
        }
        above = case;
        let mut line = String::new();
        for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            // Words to the left, numbers to the right.
            let _ = if c < 4 { write!(line, "{cell}{pad}  ") } else { write!(line, "{pad}{cell}  ") };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// What linear layers are to reach; nothing where none was timed.
fn linear_targets(roof: &Roof, rows: &[Row]) -> String {
    let mut out = String::new();
    let best = |r: &&Row| r.op == "linear" && is_best(r, rows);
    let verdict = |ok: bool| if ok { "reached" } else { "missed" };
    let mut say = |what: &str, least: f64, values: Vec<f64>, unit: &str| {
        let Some(worst) = values.iter().copied().min_by(f64::total_cmp) else { return };
        let there = values.iter().filter(|v| **v >= least).count();
        let all = values.len();
        let _ = writeln!(
            out,
            "  {what}: {}, {there} of {all} are there; the least has {worst:.2} {unit}",
            verdict(there == all)
        );
    };
    // Where a weight is smaller than the caches, it does not stream.
    let streams = |r: &&Row| r.bytes >= NORM_BYTES;
    let of_copy = |r: &Row| r.gb_s().unwrap_or(0.0) / roof.copy_gb_s;
    let one = |r: &&Row| best(r) && streams(r) && r.case.ends_with("-m1");
    let what = "linear layers on one row, of 16 MB or more, at 0.8 of the copy bandwidth in packed bytes";
    say(what, 0.8, rows.iter().filter(one).map(of_copy).collect(), "of it");
    let four_bits =
        |r: &&Row| one(r) && ["-q4_0-", "-q4_k-", "-awq-128-", "-nf4-", "-mxfp4-"].iter().any(|f| r.case.contains(f));
    let what = "linear layers on one row in 4 bits at 3 times as quick as in f32";
    say(what, 3.0, rows.iter().filter(four_bits).filter_map(|r| times_f32(r, rows)).collect(), "times");
    if let Some(fma) = Some(roof.fma_gflop_s).filter(|v| *v > 0.0) {
        let many = |r: &&Row| best(r) && r.case.ends_with("-f32-m512");
        let of_fma = |r: &Row| r.us.map_or(0.0, |us| r.flops as f64 / us[0] / 1e3 / fma);
        let what = "linear layers on 512 rows in f32 at 0.65 of the FMA rate";
        say(what, 0.65, rows.iter().filter(many).map(of_fma).collect(), "of it");
    }
    out
}

/// How many times as quick as the same linear layer on f32 weights in this run, by the best plans of both.
fn times_f32(row: &Row, rows: &[Row]) -> Option<f64> {
    let (layer, rest) = row.case.rsplit_once("-m")?;
    let (layer, format) = layer.rsplit_once('-')?;
    // `awq-128` has a hyphen.
    let layer = if format == "128" { layer.strip_suffix("-awq")? } else { layer };
    let dense = format!("{layer}-f32-m{rest}");
    let best = rows.iter().filter(|r| r.case == dense && is_best(r, rows)).find_map(|r| r.us)?;
    (row.op == "linear" && row.case != dense).then_some(best[0] / row.us?[0])
}

/// No plan of the same case and storage is quicker.
fn is_best(row: &Row, rows: &[Row]) -> bool {
    let us = |r: &Row| r.us.map_or(f64::INFINITY, |us| us[0]);
    let same = |r: &&Row| r.case == row.case && r.storage == row.storage;
    row.us.is_some() && rows.iter().filter(same).all(|r| us(row) <= us(r))
}

fn fusion_text(fusions: &[(Fused, Fusion)]) -> String {
    let mut out = String::new();
    for (one, f) in fusions {
        let steps: Vec<String> = f.steps.iter().map(|(name, us)| format!("{name} {}", three(*us))).collect();
        let _ = writeln!(
            out,
            "{} of {} {}: fused {} µs, separate {} µs (alone: {})",
            f.what,
            f.shape,
            one.storage().name(),
            three(f.fused_us),
            three(f.separate_us),
            steps.join(", ")
        );
    }
    out
}

fn savings_text(savings: &[Saving]) -> String {
    let mut out = String::new();
    for s in savings {
        let [dense, routing, selection] = [s.dense_us, s.routing_us, s.selection_us].map(|us| three(us / 1e3));
        let _ = writeln!(
            out,
            "\nlayer of {} in {}, {} tokens: {dense} ms; routing {routing} ms (of {SELECTION_TOKENS} tokens {selection} ms)",
            s.model, s.format, s.tokens,
        );
        out.push_str("    kept        ms  of dense  of its part\n");
        for (kept, us) in &s.routed {
            let (percent, of_dense, excess) = (kept * 100.0, us / s.dense_us, s.excess((*kept, *us)));
            let _ = writeln!(out, "  {percent:5.1} % {:>9}  {of_dense:8.3}  {excess:11.3}", three(us / 1e3));
        }
    }
    out
}

fn swaps_text(swaps: &[Swaps]) -> String {
    let mut out = String::new();
    for s in swaps {
        let (model, format, weights) = (s.model, s.format, s.weights);
        let _ = writeln!(out, "\nadapters of rank {SWAPPED_RANK} of {weights} linears of {model} in {format}");
        out.push_str("  swap              dispatches  host ms  in all ms\n");
        for swap in &s.swaps {
            let [host, whole] = [swap.host_us, swap.whole_us].map(|us| three(us / 1e3));
            let _ = writeln!(out, "  {:<16}  {:>10}  {host:>7}  {whole:>9}", swap.what, swap.dispatches);
        }
    }
    out
}

/// How soon adapters should be replaced, and how soon they were.
fn swaps_targets(swaps: &[Swaps]) -> String {
    let mut out = String::new();
    for (s, swap) in swaps.iter().flat_map(|s| s.swaps.iter().map(move |swap| (s, swap))) {
        let ms = swap.whole_us / 1e3;
        let verdict = if ms < SWAP_TARGET_MS { "reached" } else { "missed" };
        let _ = writeln!(
            out,
            "  {} of all linears of {} within {SWAP_TARGET_MS} ms: {verdict} with {}",
            swap.what,
            s.model,
            three(ms)
        );
    }
    out
}

/// What skipping tokens should save, and what it did.
fn savings_targets(savings: &[Saving]) -> String {
    let mut out = String::new();
    let verdict = |ok: bool| if ok { "reached" } else { "missed" };
    for s in savings {
        let most = s.routed.iter().map(|r| s.excess(*r)).fold(0.0, f64::max);
        let half = s.routed.iter().find(|(kept, _)| *kept == 0.5).map_or(f64::NAN, |(_, us)| us / s.dense_us);
        let selection = s.selection_part();
        let _ = writeln!(
            out,
            "  {} in {}, {} tokens: at most {EXCESS_TARGET} of the part that is kept: {} with {most:.3}; half of them in \
             {HALF_TARGET} of the time: {} with {half:.3}; selection of {SELECTION_TOKENS} below {:.0} %: {} with {:.2} %",
            s.model,
            s.format,
            s.tokens,
            verdict(most <= EXCESS_TARGET),
            verdict(half <= HALF_TARGET),
            SELECTION_TARGET * 100.0,
            verdict(selection <= SELECTION_TARGET),
            selection * 100.0,
        );
    }
    out
}

/// The targets, and what this run reached.
fn targets(roof: &Roof, rows: &[Row], beside: &Beside, software: bool) -> String {
    let mut out = String::from("\nTargets\n");
    let verdict = |ok: bool| if ok { "reached" } else { "missed" };
    let fraction = |r: &Row| r.gb_s().unwrap_or(0.0) / roof.copy_gb_s;
    let mut large: Vec<&Row> =
        rows.iter().filter(|r| r.op.contains("norm") && r.bytes >= NORM_BYTES && is_best(r, rows)).collect();
    large.sort_by(|a, b| fraction(a).total_cmp(&fraction(b)));
    for storage in ["f32", "f16", "bf16"] {
        let of: Vec<&&Row> = large.iter().filter(|r| r.storage == storage).collect();
        let (Some(least), Some(most)) = (of.first(), of.last()) else { continue };
        let reached = of.iter().filter(|r| fraction(r) >= NORM_TARGET).count();
        let of_size = |r: &Row| r.gb_s().unwrap_or(0.0) / roof.copy_of(r.bytes);
        let beside = of.iter().filter(|r| of_size(r) >= NORM_TARGET).count();
        let _ = writeln!(
            out,
            "  norms of 16 MB or more in {storage}, by their best plans, at {:.0} % of the copy bandwidth: {}, {reached} of {} are there \
             ({beside} beside a copy of their own size); from {:.0} % ({}) to {:.0} % ({})",
            NORM_TARGET * 100.0,
            verdict(reached == of.len()),
            of.len(),
            fraction(least) * 100.0,
            least.case,
            fraction(most) * 100.0,
            most.case,
        );
    }
    out.push_str(&linear_targets(roof, rows));
    for (one, f) in &beside.fusions {
        let (ratio, target) = (f.ratio(), one.target());
        let _ = writeln!(
            out,
            "  {} of {} {} in one dispatch in at most {target} of the time of its {}: {} with {ratio:.2} (bytes alone: {:.2})",
            f.what,
            f.shape,
            one.storage().name(),
            f.steps.len(),
            verdict(ratio <= target),
            f.bytes
        );
    }
    if let Some(host) = &beside.host {
        let _ = writeln!(
            out,
            "  host below {HOST_TARGET_US} µs a recorded dispatch: {} with {:.2} µs (wgpu alone {:.2}); ending and submitting the \
             pass {:.2} µs a dispatch (wgpu alone {:.2})",
            verdict(host.ours.record_us < HOST_TARGET_US),
            host.ours.record_us,
            host.bare.record_us,
            host.ours.submit_us,
            host.bare.submit_us,
        );
    }
    if software {
        out.push_str(
            "  This is a software device: its times are those of a processor, and only their ratios say something of the kernels.\n",
        );
    }
    out
}

fn json(device: &Device, roof: &Roof, rows: &[Row], beside: &Beside) -> String {
    let number = |v: f64| if v.is_finite() { format!("{v:e}") } else { "null".to_owned() };
    let maybe = |v: Option<f64>| v.map_or_else(|| "null".to_owned(), number);
    let list = |items: Vec<String>| format!("[{}]", items.join(","));
    let copies = list(roof.copies.iter().map(|(b, g)| format!("{{\"bytes\":{b},\"gb_s\":{}}}", number(*g))).collect());
    let fusions = list(
        beside
            .fusions
            .iter()
            .map(|(one, f)| {
                let step =
                    |(name, us): &(String, f64)| format!("{{\"name\":{},\"us\":{}}}", json_text(name), number(*us));
                format!(
                    "{{\"what\":{},\"storage\":{},\"shape\":{},\"bytes\":{},\"fused_us\":{},\"separate_us\":{},\"ratio\":{},\
                     \"steps\":{}}}",
                    json_text(f.what),
                    json_text(one.storage().name()),
                    json_text(&f.shape),
                    number(f.bytes),
                    number(f.fused_us),
                    number(f.separate_us),
                    number(f.ratio()),
                    list(f.steps.iter().map(step).collect())
                )
            })
            .collect(),
    );
    let saving = |s: &Saving| {
        let routed = |(kept, us): &(f32, f64)| format!("{{\"kept\":{kept},\"us\":{}}}", number(*us));
        format!(
            "{{\"model\":{},\"format\":{},\"tokens\":{},\"dense_us\":{},\"routing_us\":{},\"selection_us\":{},\"routed\":{}}}",
            json_text(s.model),
            json_text(&s.format.to_string()),
            s.tokens,
            number(s.dense_us),
            number(s.routing_us),
            number(s.selection_us),
            list(s.routed.iter().map(routed).collect())
        )
    };
    let savings = list(beside.savings.iter().map(saving).collect());
    let swaps = |s: &Swaps| {
        let swap = |s: &Swap| {
            format!(
                "{{\"what\":{},\"dispatches\":{},\"host_us\":{},\"whole_us\":{}}}",
                json_text(s.what),
                s.dispatches,
                number(s.host_us),
                number(s.whole_us)
            )
        };
        format!(
            "{{\"model\":{},\"format\":{},\"weights\":{},\"rank\":{SWAPPED_RANK},\"swaps\":{}}}",
            json_text(s.model),
            json_text(&s.format.to_string()),
            s.weights,
            list(s.swaps.iter().map(swap).collect())
        )
    };
    let swaps = list(beside.swaps.iter().map(swaps).collect());
    let cost =
        |c: &host::Loop| format!("{{\"record_us\":{},\"submit_us\":{}}}", number(c.record_us), number(c.submit_us));
    let host = beside.host.as_ref().map_or_else(
        || "null".to_owned(),
        |host| format!("{{\"ours\":{},\"wgpu\":{}}}", cost(&host.ours), cost(&host.bare)),
    );
    let failures = list(beside.failures.iter().map(|failure| json_text(failure)).collect());
    let rows = list(rows.iter().map(|r| format!("\n  {}", r.json())).collect());
    format!(
        "{{\"date\":{},\"commit\":{},\"device\":{{\"name\":{},\"driver\":{},\"kind\":{},\"api\":{}}},\n \
         \"roof\":{{\"copy\":{copies},\"copy_gb_s\":{},\"fma_gflop_s\":{},\"f16_gflop_s\":{},\"matrix_gflop_s\":{},\"dot_gop_s\":{},\"timer\":{},\
         \"steadiness\":{}}},\n \
         \"rows\":{rows},\n \"fusion\":{fusions},\n \"skipping\":{savings},\n \"swapping\":{swaps},\n \"host\":{host},\n \
         \"failures\":{failures}}}",
        json_text(&today()),
        json_text(&commit()),
        json_text(&device.name),
        json_text(&device.driver),
        json_text(device.kind),
        json_text(&device.api),
        number(roof.copy_gb_s),
        number(roof.fma_gflop_s),
        maybe(roof.f16_gflop_s),
        maybe(roof.matrix_gflop_s),
        maybe(roof.dot_gop_s),
        json_text(roof.timer.name()),
        maybe(beside.steadiness),
    )
}

/// Where the adapter's rows are saved. A file of other columns is an error: beneath them our numbers would say something else.
fn results_file(device: &Device) -> Result<PathBuf, Failure> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
    let path = dir.join(slug(&device.name)).with_extension("csv");
    let wrong = match std::fs::read_to_string(&path) {
        Ok(text) if text.lines().next() == Some(COLUMNS) => return Ok(path),
        Ok(_) => format!("its first line is not `{COLUMNS}`, so that no rows can be appended"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(path),
        Err(error) => error.to_string(),
    };
    Err(format!("{}: {wrong}", path.display()).into())
}

/// Appends the rows to the adapter's file.
fn save(device: &Device, rows: &[Row]) -> Result<PathBuf, Failure> {
    let path = results_file(device)?;
    std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
    let mut text = String::new();
    if !path.exists() {
        let _ = writeln!(text, "{COLUMNS}");
    }
    let (date, commit) = (today(), commit());
    for row in rows {
        let _ = writeln!(text, "{}", row.csv([&date, &commit, &device.name, &device.driver]));
    }
    std::fs::OpenOptions::new().create(true).append(true).open(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}

/// A name that is a file name everywhere.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// The day, as `2026-11-23`, in UTC.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    // Days from civil, backwards (Howard Hinnant): a year begins in March, so that the leap day is its last.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + later)
}

/// The commit, with `-dirty` where there are changes, or `unknown` where there is no git.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match git(&["rev-parse", "--short", "HEAD"]) {
        // Results are not what is measured.
        Some(hash) => match git(&["status", "--porcelain", "--", ".", ":!benches/results"]) {
            Some(changes) if changes.is_empty() => hash,
            _ => format!("{hash}-dirty"),
        },
        None => "unknown".into(),
    }
}

/// A number with three digits that count.
fn three(v: f64) -> String {
    match v.abs() {
        size if size >= 100.0 => format!("{v:.0}"),
        size if size >= 10.0 => format!("{v:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{v:.2}"),
        _ => format!("{v:.1e}"),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|l| format!("    {l}\n")).collect::<String>().trim_end().to_owned()
}

/// What recording costs the host, beside the same dispatches recorded on wgpu by hand.
mod host {
    use super::{Access, Dispatcher, Elem, Failure, Instant, RmsNorm, wgsl};
    use gristmill::plan::{Plan, Source};
    use gristmill::{Op, Tensor};

    const DISPATCHES: usize = 2000;
    const LOOPS: usize = 15;

    /// Microseconds a dispatch.
    pub struct Loop {
        /// To record it.
        pub record_us: f64,
        /// To end the pass and submit it, which is when wgpu encodes for the driver.
        pub submit_us: f64,
    }

    pub struct Cost {
        pub ours: Loop,
        pub bare: Loop,
    }

    impl Cost {
        /// A norm of a decode step: 4 operands and its params.
        pub fn measure(gpu: &Dispatcher) -> Result<Self, Failure> {
            let new = || gpu.upload(&vec![0.5; 4096], [1, 4096], Elem::F32);
            let (x, residual, weight) = (new()?, new()?, gpu.upload(&vec![0.5; 4096], [4096], Elem::F32)?);
            let (y, sum) = (new()?, new()?);
            let op =
                RmsNorm { residual: Some(&residual), weight: Some(&weight), sum: Some(&sum), ..RmsNorm::new(&x, &y) };
            let bare = Bare::new(gpu, &op, &gpu.plans(op)?[0])?;
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            // In turn, so that whatever else the host does falls on both.
            for _ in 0..LOOPS {
                ours.push(of_ours(gpu, op)?);
                theirs.push(bare.run(gpu)?);
            }
            Ok(Self { ours: median(&ours), bare: median(&theirs) })
        }
    }

    fn median(loops: &[Loop]) -> Loop {
        let of = |us: fn(&Loop) -> f64| {
            let mut all: Vec<f64> = loops.iter().map(us).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Loop { record_us: of(|l| l.record_us), submit_us: of(|l| l.submit_us) }
    }

    fn of_ours(gpu: &Dispatcher, op: RmsNorm<'_>) -> Result<Loop, Failure> {
        let mut recorder = gpu.record()?;
        recorder.run(op)?;
        let start = Instant::now();
        for _ in 0..DISPATCHES {
            recorder.run(op)?;
        }
        let recorded = Instant::now();
        recorder.submit()?;
        let submitted = Instant::now();
        pollster::block_on(gpu.wait())?;
        Ok(split(start, recorded, submitted))
    }

    fn split(start: Instant, recorded: Instant, submitted: Instant) -> Loop {
        let us = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e6 / DISPATCHES as f64;
        Loop { record_us: us(start, recorded), submit_us: us(recorded, submitted) }
    }

    /// The pipeline and bind group of a plan's only step, made by hand.
    struct Bare {
        pipeline: wgpu::ComputePipeline,
        group: wgpu::BindGroup,
        grid: [u32; 3],
    }

    impl Bare {
        fn new(gpu: &Dispatcher, op: &RmsNorm<'_>, plan: &Plan) -> Result<Self, Failure> {
            let step = plan.steps.first().ok_or("the plan has no step")?;
            let device = gpu.device();
            let entry = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
                count: None,
            };
            let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
            entries.extend(step.binds.iter().map(|b| {
                entry(b.binding, wgpu::BufferBindingType::Storage { read_only: b.access == Access::Read }, false)
            }));
            let layout =
                device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
            let text = wgsl::compose(&step.key, gpu.caps().target, wgsl::Loops::of(gpu.caps().kind))?.text;
            let source = wgpu::ShaderSource::Wgsl(text.into());
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                ..Default::default()
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
            let params = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 256 * DISPATCHES as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut slot = step.params.clone();
            slot.resize(256, 0);
            gpu.queue().write_buffer(&params, 0, &slot.repeat(DISPATCHES));
            let operands = op.operands();
            let buffer = |source| match source {
                Source::Operand(i) => operands.get(i).and_then(|(_, t)| t.and_then(Tensor::buffer)),
                Source::Scratch(_) => None,
            };
            let bind = |binding, buffer, offset, size| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: std::num::NonZeroU64::new(size),
                }),
            };
            let mut entries = vec![bind(0, &params, 0, 256)];
            for b in &step.binds {
                let buffer = buffer(b.source).ok_or("the step binds what the op does not have")?;
                entries.push(bind(b.binding, buffer, b.offset_bytes, b.size_bytes));
            }
            let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
            let group = device.create_bind_group(&descriptor);
            Ok(Self { pipeline, group, grid: step.grid })
        }

        fn run(&self, gpu: &Dispatcher) -> Result<Loop, Failure> {
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let [x, y, z] = self.grid;
            let start = Instant::now();
            for i in 0..DISPATCHES {
                pass.set_pipeline(&self.pipeline);
                pass.set_bind_group(0, &self.group, &[256 * i as u32]);
                pass.dispatch_workgroups(x, y, z);
            }
            let recorded = Instant::now();
            drop(pass);
            gpu.queue().submit([encoder.finish()]);
            let submitted = Instant::now();
            pollster::block_on(gpu.wait())?;
            Ok(split(start, recorded, submitted))
        }
    }
}
