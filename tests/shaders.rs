//! Every kernel with every filling that fits it composes, validates and can be written for every API, and agrees with the
//! Rust that drives it. No GPU is needed.
//!
//! The cross product of slots, fillings and constants is far too large. What is covered: every filling of every slot beside
//! the others' defaults; every two fillings, or filling and constant, together; and every pipeline of every plan that
//! [`sweep::problems`] lead to on [`sweep::devices`].

#![allow(clippy::panic, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill::dispatch::{ProbeParams, SubgroupProbe};
use gristmill::ops::norm::{HypersphereParams, NormParams};
use gristmill::ops::params::Params;
use gristmill::ops::quantize::QuantizeParams;
use gristmill::plan::{Access, Const, PipelineKey};
use gristmill::proof::measure::{Add, Copy, Number, Rate, RoofParams};
use gristmill::wgsl::{SHADERS, compose, interface};
use gristmill::{Caps, Elem, Error, Target, Tensor};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess};

mod sweep;

/// A params struct as Rust lays it out: its name in WGSL, its fields and their offsets, its size.
type Layout = (&'static str, &'static [(&'static str, &'static str, usize)], usize);

const PARAMS: [Layout; 5] = [
    ("norm_Params", NormParams::FIELDS, size_of::<NormParams>()),
    ("hypersphere_Params", HypersphereParams::FIELDS, size_of::<HypersphereParams>()),
    ("quantize_Params", QuantizeParams::FIELDS, size_of::<QuantizeParams>()),
    ("roof_Params", RoofParams::FIELDS, size_of::<RoofParams>()),
    ("probe_Params", ProbeParams::FIELDS, size_of::<ProbeParams>()),
];

/// Said past the capture of the test harness: what was covered is part of the result.
fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "shaders: {text}");
}

// ---- the text of shaders

fn kernels() -> impl Iterator<Item = &'static str> {
    SHADERS.iter().map(|(name, _)| *name).filter(|n| !n.starts_with("lib/") && !n.starts_with("slot/"))
}

fn fillings() -> impl Iterator<Item = &'static str> {
    SHADERS.iter().map(|(name, _)| *name).filter(|n| n.starts_with("slot/"))
}

/// The text of a file.
fn text(name: &str) -> &'static str {
    SHADERS.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("there is no shaders/{name}.wgsl")).1
}

/// A text without comments and directives.
fn bare(text: &str) -> String {
    let lines = text.lines().filter(|l| !l.trim_start().starts_with('#'));
    lines.map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn code(name: &str) -> String {
    bare(text(name))
}

/// A file and the files of `lib/` that it imports, and so on.
fn with_imports(name: &str) -> Vec<String> {
    let mut files = vec![name.to_owned()];
    let mut at = 0;
    while at < files.len() {
        let imports = text(&files[at])
            .lines()
            .filter_map(|l| l.trim().strip_prefix("#import "))
            .map(|i| format!("lib/{}", i.trim()));
        let new: Vec<_> = imports.filter(|i| !files.contains(i)).collect();
        files.extend(new);
        at += 1;
    }
    files
}

/// The words of a text, each with what comes after it. Names of fields, which follow a dot, are left out.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let from = rest.find(inside)?;
            let (before, word) = rest.split_at(from);
            let end = word.find(|c| !inside(c)).unwrap_or(word.len());
            rest = &word[end..];
            if !before.ends_with('.') {
                return Some((&word[..end], rest));
            }
        }
    })
}

/// How many arguments stand in the parentheses that open here; none where none open.
fn arguments(text: &str) -> Option<usize> {
    let text = text.strip_prefix('(')?;
    let (mut depth, mut angles, mut commas, mut blank, mut before) = (0, 0, 0, true, ' ');
    for (i, c) in text.char_indices() {
        // A list of types opens right after its name; otherwise `<` compares or shifts.
        let opens = c == '<' && before.is_ascii_alphanumeric() && !text[i + 1..].starts_with(['<', '=', ' ']);
        match c {
            '(' | '[' => depth += 1,
            ')' if depth == 0 => return Some(if blank { 0 } else { commas + 1 }),
            ')' | ']' => depth -= 1,
            '<' if opens => angles += 1,
            '>' if angles > 0 => angles -= 1,
            ',' if depth == 0 && angles == 0 => commas += 1,
            _ => {}
        }
        blank &= c.is_whitespace();
        before = c;
    }
    None
}

/// What a kernel asks of a slot, or a filling offers: names without the prefix, and for functions the number of arguments.
type Verbs = BTreeSet<(String, Option<usize>)>;

/// What a kernel, or what it imports, uses of a slot. Where the slot is declared in `lib/`, what any kernel that imports the
/// declaration uses: a kernel that leaves an operand alone still takes what the others take.
fn used_of(kernel: &str, slot: &str) -> Verbs {
    let prefix = format!("{slot}_");
    let declares = |file: &String| declared_slots(file).iter().any(|s| s == slot);
    let declared_in =
        with_imports(kernel).into_iter().find(declares).unwrap_or_else(|| panic!("{kernel} has no slot {slot}"));
    let mut verbs = Verbs::new();
    for kernel in kernels().filter(|k| with_imports(k).contains(&declared_in)) {
        for file in with_imports(kernel) {
            for (word, rest) in words(&code(&file)) {
                // What has a type after it is declared here: a field, a variable.
                if let Some(verb) = word.strip_prefix(&prefix).filter(|_| !rest.starts_with(':')) {
                    verbs.insert((verb.to_owned(), arguments(rest)));
                }
            }
        }
    }
    verbs
}

/// The slots that a file itself declares.
fn declared_slots(file: &str) -> Vec<String> {
    let name = |line: &str| Some(line.trim().strip_prefix("#slot ")?.split([' ', '@', '/']).next()?.to_owned());
    text(file).lines().filter_map(name).collect()
}

/// What a filling defines.
fn offered_by(filling: &str) -> Verbs {
    let code = code(filling);
    let mut verbs = Verbs::new();
    let mut before = "";
    for (word, rest) in words(&code) {
        if let (Some(verb), "fn" | "const" | "alias") = (word.strip_prefix("slot_"), before) {
            verbs.insert((verb.to_owned(), if before == "fn" { arguments(rest) } else { None }));
        }
        before = word;
    }
    verbs
}

/// What a filling takes for granted: constants in capitals, and the names of libraries that it does not import itself.
fn assumed_by(filling: &str) -> BTreeSet<String> {
    let own = with_imports(filling);
    let libs: Vec<String> = SHADERS
        .iter()
        .filter_map(|(n, _)| n.strip_prefix("lib/"))
        .filter(|lib| !own.contains(&format!("lib/{lib}")))
        .map(|lib| format!("{lib}_"))
        .collect();
    let code = code(filling);
    let constant =
        |w: &str| w.len() > 1 && w.starts_with(|c: char| c.is_ascii_uppercase()) && w == w.to_ascii_uppercase();
    let of_lib = |w: &str| libs.iter().any(|l| w.starts_with(l.as_str()));
    words(&code).map(|(w, _)| w).filter(|w| constant(w) || of_lib(w)).map(str::to_owned).collect()
}

/// The names that a kernel and its imports define, constants of the plan included.
fn defined_by(kernel: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in with_imports(kernel) {
        let code = code(&file);
        let mut before = "";
        for (word, _) in words(&code) {
            if matches!(before, "fn" | "const" | "struct" | "alias" | "uniform" | "workgroup") {
                names.insert(word.to_owned());
            }
            before = word;
        }
    }
    names.extend(interface(kernel).expect("a kernel that can be read").1);
    names
}

/// A slot, and the fillings that fit it.
type Fitting = (&'static str, Vec<&'static str>);

/// The slots of a kernel.
fn fitting(kernel: &str) -> Vec<Fitting> {
    let (slots, _) = interface(kernel).unwrap_or_else(|e| panic!("{kernel}: {e}"));
    let defined = defined_by(kernel);
    let fits = |slot: &str, filling: &str| {
        used_of(kernel, slot).is_subset(&offered_by(filling)) && assumed_by(filling).is_subset(&defined)
    };
    // Slots are named once for the program, so that keys can be made of them.
    let name = |slot: &str| -> &'static str { Box::leak(slot.to_owned().into_boxed_str()) };
    slots.iter().map(|slot| (name(slot), fillings().filter(|f| fits(slot, f)).collect())).collect()
}

static FITTING: LazyLock<BTreeMap<&str, Vec<Fitting>>> = LazyLock::new(|| kernels().map(|k| (k, fitting(k))).collect());

// ---- what naga says of a composed shader

/// What a shader declares.
#[derive(Clone, Debug)]
struct Reflection {
    /// Name, fields with types (as Rust writes them) and offsets, and size of the uniform at binding 0.
    params: (String, Vec<(String, String, usize)>, usize),
    /// Storage bindings, and whether they are written.
    storage: BTreeMap<u32, Access>,
    /// Those that the entry point never touches.
    idle: Vec<u32>,
    workgroup_bytes: u32,
    invocations: u32,
    f16: bool,
    subgroups: bool,
}

/// A type of WGSL as the field of a params struct has it in Rust.
fn rust_type(inner: &naga::TypeInner) -> String {
    let scalar = |s: &naga::Scalar| match s.kind {
        naga::ScalarKind::Float => format!("f{}", s.width * 8),
        naga::ScalarKind::Uint => format!("u{}", s.width * 8),
        naga::ScalarKind::Sint => format!("i{}", s.width * 8),
        other => format!("{other:?}"),
    };
    match inner {
        naga::TypeInner::Scalar(s) => scalar(s),
        naga::TypeInner::Vector { size, scalar: s } => format!("[{}; {}]", scalar(s), *size as u32),
        other => format!("{other:?}"),
    }
}

/// Composes, validates, writes SPIR-V, MSL and HLSL, and reflects.
fn examine(key: &PipelineKey) -> Result<Reflection, String> {
    let tell = |what: &str, e: String| format!("{key}\n  {what}: {e}");
    let native = compose(key, Target::Native).map_err(|e| tell("compose", e.to_string()))?;
    let web = compose(key, Target::Web).map_err(|e| tell("compose for the web", e.to_string()))?;
    let enables: Vec<&str> = web.text.lines().take_while(|l| l.starts_with("enable ")).collect();
    let later = web.text.lines().skip(enables.len()).find(|l| l.trim_start().starts_with("enable "));
    if let Some(line) = later {
        return Err(tell("web text", format!("`{line}` does not stand first")));
    }
    let (f16, subgroups) = (enables.contains(&"enable f16;"), enables.contains(&"enable subgroups;"));
    let builtins = words(&bare(&web.text)).any(|(w, _)| w.starts_with("subgroup") && w != "subgroups");
    if builtins != subgroups {
        return Err(tell("web text", "`enable subgroups;` stands where it is not needed, or not where it is".into()));
    }
    // Then what naga says of the native text holds for the web's.
    let stripped: String = web.text.lines().filter(|l| *l != "enable subgroups;").map(|l| format!("{l}\n")).collect();
    if stripped != native.text {
        return Err(tell("web text", "it differs from the native text by more than `enable subgroups;`".into()));
    }

    let module = naga::front::wgsl::parse_str(&native.text).map_err(|e| {
        let line = e.location(&native.text).map_or(0, |l| l.line_number);
        tell("naga", native.error(key.kernel, line, e.message()).to_string())
    })?;
    // Nothing that the shader does not ask for.
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, f16);
    capabilities.set(Capabilities::SUBGROUP, subgroups);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| tell("naga", e.emit_to_string(&native.text)))?;
    write_all(&module, &info, f16 || subgroups).map_err(|e| tell("naga", e))?;
    reflect(&module, &info, f16, subgroups).map_err(|e| tell("reflection", e))
}

/// For SPIR-V 1.3, Metal and DX12; a shader without extensions also for the old compiler of DX12.
fn write_all(module: &naga::Module, info: &naga::valid::ModuleInfo, extensions: bool) -> Result<(), String> {
    use naga::back::{hlsl, msl, spv};
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let spirv = spv::write_vec(module, info, &options, None).map_err(|e| format!("SPIR-V: {e}"))?;
    let options = msl::Options { lang_version: if extensions { (2, 4) } else { (2, 0) }, ..Default::default() };
    let (metal, _) =
        msl::write_string(module, info, &options, &msl::PipelineOptions::default()).map_err(|e| format!("MSL: {e}"))?;
    let shader_model = if extensions { hlsl::ShaderModel::V6_2 } else { hlsl::ShaderModel::V5_1 };
    let options = hlsl::Options { shader_model, ..Default::default() };
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).map_err(|e| format!("HLSL: {e}"))?;
    if spirv.is_empty() || metal.is_empty() || text.is_empty() {
        return Err("an empty shader was written".into());
    }
    Ok(())
}

fn reflect(
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
    f16: bool,
    subgroups: bool,
) -> Result<Reflection, String> {
    let [entry] = module.entry_points.as_slice() else { return Err("there must be one entry point".into()) };
    if entry.name != "main" {
        return Err(format!("the entry point is named {}", entry.name));
    }
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;
    let mut params = None;
    let (mut storage, mut idle, mut workgroup_bytes) = (BTreeMap::new(), Vec::new(), 0);
    for (handle, variable) in module.global_variables.iter() {
        let name = variable.name.clone().unwrap_or_default();
        let binding = match &variable.binding {
            Some(at) if at.group != 0 => return Err(format!("{name} is in group {}", at.group)),
            Some(at) => at.binding,
            None => u32::MAX,
        };
        match variable.space {
            AddressSpace::Uniform if binding == 0 && params.is_none() => {
                let ty = &module.types[variable.ty];
                let naga::TypeInner::Struct { members, span } = &ty.inner else {
                    return Err(format!("{name} is not a struct"));
                };
                let field = |m: &naga::StructMember| {
                    (m.name.clone().unwrap_or_default(), rust_type(&module.types[m.ty].inner), m.offset as usize)
                };
                let fields = members.iter().map(field).collect();
                params = Some((ty.name.clone().unwrap_or_default(), fields, *span as usize));
            }
            AddressSpace::Storage { access } => {
                let write = access.contains(StorageAccess::STORE);
                if storage.insert(binding, if write { Access::Write } else { Access::Read }).is_some() {
                    return Err(format!("two variables at binding {binding}"));
                }
                if info.get_entry_point(0)[handle].is_empty() {
                    idle.push(binding);
                }
            }
            // As WebGPU counts it.
            AddressSpace::WorkGroup => workgroup_bytes += layouter[variable.ty].size.next_multiple_of(16),
            AddressSpace::Private => {}
            other => return Err(format!("{name} is a {other:?} that no step binds")),
        }
    }
    Ok(Reflection {
        params: params.ok_or("no params at binding 0")?,
        storage,
        idle,
        workgroup_bytes,
        invocations: entry.workgroup_size.iter().product(),
        f16,
        subgroups,
    })
}

/// Examines all keys on all processors.
fn examine_all(keys: &[PipelineKey]) -> Vec<Result<Reflection, String>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(key) = keys.get(at) else { return done };
            done.push((at, examine(key)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|r| r.join().expect("examining does not panic")).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    assert_eq!(done.len(), keys.len(), "some shaders were not examined");
    done.into_iter().map(|(_, result)| result).collect()
}

/// No shader is wrong; else some of those that are.
fn all_are_right<'a>(results: impl Iterator<Item = &'a Result<Reflection, String>>) {
    let wrong: Vec<&str> = results.filter_map(|r| r.as_ref().err()).map(String::as_str).collect();
    let some = wrong.iter().take(5).copied().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} shaders are wrong, such as\n{some}", wrong.len());
}

// ---- the pipelines of plans

/// What plans want of one pipeline.
#[derive(Clone, Default)]
struct Wanted {
    /// What its steps bind, which must be the same for all: the dispatcher keeps one layout for a key.
    binds: BTreeMap<u32, Access>,
    params_bytes: usize,
    /// The plans that use it: device, caps, and the plan's name. One for each device.
    by: BTreeMap<&'static str, (Caps, String)>,
    /// It is in a plan that is the last of its problem, which must run on any device.
    last: bool,
}

/// A problem of a kernel that is not for inference.
struct Tool {
    name: String,
    asked: sweep::Asked,
    /// The devices on which it is a question.
    on: fn(&Caps) -> bool,
}

fn tools() -> Vec<Tool> {
    let tool = |name: String, asked: gristmill::Result<sweep::Asked>, on| match asked {
        Ok(asked) => Tool { name, asked, on },
        Err(error) => panic!("{name}: {error}"),
    };
    let tensor = |elem| Tensor::outline([64, 256, 4], elem).expect("a shape");
    let everywhere: fn(&Caps) -> bool = |_| true;
    let on_f16: fn(&Caps) -> bool = |caps| caps.f16;
    let mut tools = Vec::new();
    let sums = tensor(Elem::U32);
    for (lanes, size) in [(8, 8), (256, 8), (4, 8), (64, 64), (256, 64), (32, 64), (2, 4), (128, 128)] {
        let probe = SubgroupProbe { sums: &sums, lanes, size, seed: 1 };
        tools.push(tool(format!("{probe:?}"), sweep::Asked::of(&probe), |caps| caps.subgroups.is_some()));
    }
    for (number, on) in [(Number::F32, everywhere), (Number::F16, on_f16), (Number::Dot, everywhere)] {
        let rate = Rate { number, rounds: 16, y: &tensor(Elem::F32) };
        tools.push(tool(format!("{rate:?}"), sweep::Asked::of(&rate), on));
    }
    for elem in sweep::FLOATS {
        let t = tensor(elem);
        let (add, copy) = (Add { x: &t, residual: &t, sum: &t }, Copy { x: &t, y: &t });
        tools.push(tool(format!("{add:?}"), sweep::Asked::of(&add), everywhere));
        tools.push(tool(format!("{copy:?}"), sweep::Asked::of(&copy), everywhere));
    }
    tools
}

static PLANNED: LazyLock<(Vec<PipelineKey>, HashMap<PipelineKey, Wanted>)> = LazyLock::new(|| {
    let mut wanted: HashMap<PipelineKey, Wanted> = HashMap::new();
    let mut order = Vec::new();
    let (mut problems, mut plans_seen) = (0, 0);
    let ops = sweep::problems().into_iter().map(|(name, asked)| (Tool { name, asked, on: |_| true }, true));
    let tools = tools().into_iter().map(|tool| (tool, false));
    for (Tool { name: problem, asked, on }, is_op) in ops.chain(tools) {
        problems += 1;
        for (device, caps) in sweep::devices().into_iter().filter(|(_, caps)| on(caps)) {
            let plans = asked.plans(&caps).unwrap_or_else(|e| panic!("{problem} on {device}: {e}"));
            let last = plans.len() - 1;
            for (i, plan) in plans.iter().enumerate() {
                plans_seen += 1;
                for step in &plan.steps {
                    let binds = step.binds.iter().map(|b| (b.binding, b.access)).collect::<BTreeMap<_, _>>();
                    assert_eq!(binds.len(), step.binds.len(), "{problem}, {}: a binding twice", plan.name);
                    let entry = wanted.entry(step.key.clone()).or_insert_with(|| {
                        order.push(step.key.clone());
                        Wanted { binds: binds.clone(), params_bytes: step.params.len(), ..Default::default() }
                    });
                    assert_eq!(
                        entry.binds, binds,
                        "{problem}, {}: the same key with other bindings: {}",
                        plan.name, step.key
                    );
                    assert_eq!(entry.params_bytes, step.params.len(), "{problem}, {}: other params", plan.name);
                    entry.by.entry(device).or_insert_with(|| (caps.clone(), format!("{problem} by {}", plan.name)));
                    entry.last |= i == last && is_op;
                }
            }
        }
    }
    report(&format!("{problems} problems on {} devices: {plans_seen} plans", sweep::devices().len()));
    (order, wanted)
});

static EXAMINED: LazyLock<Vec<Result<Reflection, String>>> = LazyLock::new(|| examine_all(&PLANNED.0));

/// The pipelines of plans that are right, each with what plans want of it and what it is.
fn reflected() -> impl Iterator<Item = (&'static PipelineKey, &'static Wanted, &'static Reflection)> {
    let (keys, wanted) = &*PLANNED;
    keys.iter().zip(&*EXAMINED).filter_map(|(key, result)| Some((key, &wanted[key], result.as_ref().ok()?)))
}

#[test]
fn every_pipeline_of_a_plan_is_a_valid_shader() {
    all_are_right(EXAMINED.iter());
    report(&format!(
        "{} pipelines of plans compose, validate, and are written as SPIR-V, MSL and HLSL",
        EXAMINED.len()
    ));
    assert!(EXAMINED.len() > 500, "the sweep has shrunk to {} pipelines", EXAMINED.len());
    for kernel in kernels() {
        let planned = PLANNED.0.iter().any(|key| key.kernel == kernel);
        assert!(planned, "no plan in the sweep uses shaders/{kernel}.wgsl");
    }
}

#[test]
fn every_filling_that_fits_is_a_valid_shader() {
    let mut keys = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut add = |key: PipelineKey| {
        if seen.insert(key.clone()) {
            keys.push(key);
        }
    };
    let mut fit_somewhere = BTreeSet::new();
    for (kernel, slots) in &*FITTING {
        for (slot, fitting) in slots {
            assert!(
                !fitting.is_empty(),
                "no filling fits slot {slot} of {kernel}, which uses {:?}",
                used_of(kernel, slot)
            );
            fit_somewhere.extend(fitting.iter().copied());
        }
        let of_kernel: Vec<&PipelineKey> = PLANNED.0.iter().filter(|k| k.kernel == *kernel).collect();
        let first = slots.iter().map(|(slot, fitting)| (*slot, fitting[0])).collect();
        let first = PipelineKey { kernel, fillings: first, consts: Vec::new() };
        let default = of_kernel.first().copied().unwrap_or(&first);
        add(default.clone());
        // Each filling beside the defaults. What plans use must be among what fits.
        for (slot, fitting) in slots {
            for key in &of_kernel {
                let (_, planned) = key.fillings.iter().find(|(s, _)| s == slot).expect("a plan fills every slot");
                assert!(
                    fitting.contains(planned),
                    "{planned} is planned for slot {slot} of {kernel}, but does not fit"
                );
            }
            for filling in fitting {
                let mut key = default.clone();
                key.fillings.iter_mut().filter(|(s, _)| s == slot).for_each(|(_, f)| *f = filling);
                add(key);
            }
        }
        // Each two together, booleans too. Numbers stay together as plans set them, and each set of them meets every way to
        // reduce, which is what they size.
        let numbers: Vec<Vec<(&str, Const)>> = {
            let of = |k: &&PipelineKey| k.consts.iter().copied().filter(|(_, v)| matches!(v, Const::U32(_))).collect();
            let mut all: Vec<Vec<_>> = of_kernel.iter().map(of).collect();
            all.sort_by_key(|c| format!("{c:?}"));
            all.dedup();
            if all.is_empty() { vec![Vec::new()] } else { all }
        };
        let of_kernel = of_kernel.iter().flat_map(|k| &k.consts);
        let booleans: BTreeSet<&str> =
            of_kernel.filter(|(_, v)| matches!(v, Const::Bool(_))).map(|(n, _)| *n).collect();
        let mut shader = |row: &[usize], numbers: &[(&'static str, Const)]| {
            let (fill, on) = row.split_at(slots.len());
            let fillings = slots.iter().zip(fill).map(|((slot, fitting), at)| (*slot, fitting[*at])).collect();
            let set = booleans.iter().zip(on).map(|(name, on)| (*name, Const::Bool(*on == 1)));
            add(PipelineKey { kernel, fillings, consts: numbers.iter().copied().chain(set).collect() });
        };
        let levels: Vec<usize> = slots.iter().map(|(_, f)| f.len()).chain(booleans.iter().map(|_| 2)).collect();
        let rows = sweep::pairs(&levels);
        for (row, numbers) in rows.iter().zip(numbers.iter().cycle()) {
            shader(row, numbers);
        }
        let Some(reduce) = slots.iter().position(|(slot, _)| *slot == "reduce") else { continue };
        let sized = numbers.iter().flat_map(|n| (0..levels[reduce]).map(move |way| (n, way)));
        for (row, (numbers, way)) in rows.iter().cycle().zip(sized) {
            let mut row = row.clone();
            row[reduce] = way;
            shader(&row, numbers);
        }
    }
    for filling in fillings() {
        assert!(fit_somewhere.contains(filling), "shaders/{filling}.wgsl fits no slot of any kernel");
    }
    let slots: usize = FITTING.values().map(Vec::len).sum();
    let fits: usize = FITTING.values().flatten().map(|(_, f)| f.len()).sum();
    all_are_right(examine_all(&keys).iter());
    report(&format!(
        "{} kernels with {slots} slots, {} fillings that fit {fits} times: all of them and all pairs, in {} shaders",
        FITTING.len(),
        fillings().count(),
        keys.len()
    ));
}

#[test]
fn params_are_the_same_in_wgsl_and_rust() {
    let mut seen = BTreeSet::new();
    for (key, wanted, reflection) in reflected() {
        let (name, fields, size) = &reflection.params;
        let (_, rust, rust_size) = PARAMS
            .iter()
            .find(|(n, _, _)| n == name)
            .unwrap_or_else(|| panic!("{name} of {} is not in PARAMS", key.kernel));
        let fields: Vec<(&str, &str, usize)> = fields.iter().map(|(n, t, at)| (n.as_str(), t.as_str(), *at)).collect();
        assert_eq!(fields, *rust, "{name} of {}: left WGSL, right Rust", key.kernel);
        assert_eq!(size, rust_size, "the size of {name} of {}: left WGSL, right Rust", key.kernel);
        assert_eq!(*size, wanted.params_bytes, "the params that plans give to {}", key.kernel);
        seen.insert(name.clone());
    }
    assert_eq!(seen.len(), PARAMS.len(), "some params are used by no kernel: only {seen:?} are");
}

#[test]
fn bindings_are_what_steps_bind() {
    for (key, wanted, reflection) in reflected() {
        assert_eq!(reflection.storage, wanted.binds, "left WGSL, right the plan's step: {key}");
        assert!(reflection.idle.is_empty(), "bindings {:?} are bound but never touched: {key}", reflection.idle);
    }
}

#[test]
fn pipelines_stay_within_the_caps_they_are_planned_for() {
    let baseline = Caps::baseline();
    let (mut most_bytes, mut most_bindings, mut most_invocations) = (0, 0, 0);
    for (key, wanted, reflection) in reflected() {
        let within = |caps: &Caps, who: &str| {
            let bindings = reflection.storage.len() as u32;
            assert!(bindings <= caps.storage_buffers, "{bindings} storage buffers for {who}: {key}");
            let (bytes, invocations) = (reflection.workgroup_bytes, reflection.invocations);
            assert!(bytes <= caps.workgroup_bytes, "{bytes} bytes of workgroup memory for {who}: {key}");
            assert!(invocations <= caps.invocations, "{invocations} invocations for {who}: {key}");
            assert!(!reflection.f16 || caps.f16, "f16 for {who}: {key}");
            assert!(!reflection.subgroups || caps.subgroups.is_some(), "subgroups for {who}: {key}");
        };
        for (device, (caps, plan)) in &wanted.by {
            within(caps, &format!("{plan} on {device}"));
        }
        if wanted.last {
            within(&baseline, "the last plan, which must run on the baseline");
        }
        most_bytes = most_bytes.max(reflection.workgroup_bytes);
        most_bindings = most_bindings.max(reflection.storage.len());
        most_invocations = most_invocations.max(reflection.invocations);
    }
    report(&format!(
        "at most {most_bindings} storage bindings, {most_bytes} bytes of workgroup memory, {most_invocations} invocations"
    ));
}

#[test]
fn a_composed_shader_shows_where_its_text_comes_from() {
    for key in PLANNED.0.iter().step_by(17) {
        let composed = compose(key, Target::Native).unwrap_or_else(|e| panic!("{key}: {e}"));
        let again = compose(key, Target::Native).unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(composed.text, again.text, "composing twice gives two texts: {key}");
        for (slot, filling) in &key.fillings {
            let comment = format!("// ---- {slot}: {filling}.wgsl");
            assert_eq!(composed.text.lines().filter(|l| *l == comment).count(), 1, "`{comment}` in {key}");
        }
        let spliced: Vec<&str> = composed
            .text
            .lines()
            .filter_map(|l| l.strip_prefix("// ---- lib/"))
            .filter_map(|l| l.strip_suffix(".wgsl"))
            .collect();
        let once: BTreeSet<&str> = spliced.iter().copied().collect();
        assert_eq!(spliced.len(), once.len(), "an import twice: {key}");
        let mut imported: BTreeSet<String> = with_imports(key.kernel).into_iter().skip(1).collect();
        imported.extend(key.fillings.iter().flat_map(|(_, f)| with_imports(f).into_iter().skip(1)));
        assert_eq!(once, imported.iter().filter_map(|i| i.strip_prefix("lib/")).collect(), "imports of {key}");
        // Each line stands where it is said to, as it is or as its slot renames it.
        for (at, line) in (1..).zip(composed.text.lines()) {
            let (file, number) = composed.origin(at).unwrap_or_else(|| panic!("line {at} of {key} comes from nowhere"));
            let source =
                text(file).lines().nth(number as usize - 1).unwrap_or_else(|| panic!("{file} has no line {number}"));
            let slots = key.fillings.iter().filter(|(_, f)| *f == file);
            let mut renamed = slots.map(|(slot, _)| source.replace("slot_", &format!("{slot}_")));
            let declared = |text: &str| text.split_once(" var<").map(|(_, rest)| rest.to_owned());
            let same = line == source
                || source.starts_with('#')
                || renamed.any(|r| r == line || declared(&r).is_some_and(|r| Some(r) == declared(line)));
            assert!(same, "line {at} of {key} is `{line}`, but {file}:{number} is `{source}`");
        }
    }
}

// ---- errors

fn rows_key() -> PipelineKey {
    let asked = sweep::Ask::new(sweep::Kind::RmsNorm, 8, 4096, Elem::F32).asked().expect("a problem");
    let plans = asked.plans(&Caps::baseline()).expect("plans");
    plans[0].steps[0].key.clone()
}

/// The file, line and message of what must be a shader error.
fn shader_error<T>(result: Result<T, Error>) -> (String, u32, String) {
    match result {
        Err(Error::Shader { file, line, message }) => (file, line, message),
        Err(other) => panic!("not a shader error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

fn line_of(shader: &str, start: &str) -> u32 {
    (1..).zip(text(shader).lines()).find(|(_, l)| l.starts_with(start)).map(|(at, _)| at).expect("such a line")
}

#[test]
fn a_key_that_does_not_fit_its_kernel_is_an_error() {
    let good = rows_key();
    assert_eq!(good.kernel, "norm/row");
    let with = |change: fn(&mut PipelineKey)| {
        let mut key = good.clone();
        change(&mut key);
        shader_error(compose(&key, Target::Native))
    };
    let (file, line, message) = with(|k| k.fillings.retain(|(slot, _)| *slot != "bias"));
    assert_eq!((file.as_str(), line), ("shaders/lib/norm.wgsl", line_of("lib/norm", "#slot bias")));
    assert_eq!(message, "the plan leaves slot `bias` empty");

    let (file, line, message) = with(|k| k.fillings[0].1 = "slot/read/f8");
    assert_eq!((file.as_str(), line), ("shaders/lib/norm.wgsl", line_of("lib/norm", "#slot x ")));
    assert_eq!(message, "there is no shaders/slot/read/f8.wgsl");

    let (file, _, message) = with(|k| k.fillings.push(("epilogue", "slot/read/f32")));
    assert_eq!((file.as_str(), message.as_str()), ("shaders/norm/row.wgsl", "there is no `#slot epilogue` to fill"));

    let (file, _, message) = with(|k| k.consts.push(("LANE", Const::U32(4))));
    assert_eq!((file.as_str(), message.as_str()), ("shaders/norm/row.wgsl", "there is no `#const LANE` to set"));

    let (file, _, message) = with(|k| k.kernel = "norm/rows");
    assert_eq!((file.as_str(), message.as_str()), ("shaders/norm/rows.wgsl", "there is no shaders/norm/rows.wgsl"));
    assert!(interface("norm/rows").is_err());
}

/// Set for the second run of the test below, whose shaders are broken.
const AGAIN: &str = "GRISTMILL_TEST_BROKEN";

/// Shaders are read from disk where a variable of the process says so. So that no other test sees broken ones, this one runs
/// itself once more, in a process of its own.
#[test]
fn an_error_in_a_file_names_the_file_and_line() {
    if let Some(dir) = std::env::var_os(AGAIN) {
        return broken_files(Path::new(&dir));
    }
    let dir = std::env::temp_dir().join(format!("gristmill-broken-{}", std::process::id()));
    for (name, text) in SHADERS {
        write_shader(&dir, name, text);
    }
    let run = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "an_error_in_a_file_names_the_file_and_line", "--nocapture"])
        .env(AGAIN, &dir)
        .env("GRISTMILL_SHADERS", &dir)
        .output()
        .expect("this test, once more");
    let _ = std::fs::remove_dir_all(&dir);
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

fn write_shader(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name).with_extension("wgsl");
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a writable temporary directory");
    std::fs::write(&path, text).expect("a writable temporary directory");
    path
}

fn broken_files(dir: &Path) {
    let key = rows_key();
    // Puts `line` in the place of the file's line `at`, from 1, for as long as `look` looks.
    let broken = |shader: &str, at: u32, line: &str, look: &dyn Fn() -> (String, u32, String)| {
        let lines: Vec<&str> = (1..).zip(text(shader).lines()).map(|(n, l)| if n == at { line } else { l }).collect();
        write_shader(dir, shader, &lines.join("\n"));
        let told = look();
        write_shader(dir, shader, text(shader));
        let (file, line_told, message) = told;
        assert_eq!((file, line_told), (format!("shaders/{shader}.wgsl"), at), "`{line}` is told as: {message}");
        message
    };
    let composing = || shader_error(compose(&key, Target::Native));
    let compiling = || {
        let composed = compose(&key, Target::Native).expect("the directives are whole");
        let error = naga::front::wgsl::parse_str(&composed.text).expect_err("the WGSL is broken");
        let line = error.location(&composed.text).expect("a place").line_number;
        shader_error::<()>(Err(composed.error(key.kernel, line, error.message())))
    };

    // Directives.
    let filling = key.fillings.iter().find(|(s, _)| *s == "x").expect("x").1;
    assert!(broken("norm/row", 20, "#if LANES", &composing).contains("#if LANES"));
    assert!(broken("lib/norm", 3, "#slot x @group(1)", &composing).contains("#slot x @group(1)"));
    assert!(broken("lib/norm", 3, "#const ONE", &composing).contains("#const ONE"));
    assert!(broken("lib/norm", 3, "#import nowhere", &composing).contains("there is no shaders/lib/nowhere.wgsl"));
    assert!(broken(filling, 1, "#slot more", &composing).contains("a filling cannot have a slot"));
    assert!(broken(filling, 1, "#const MORE = 1u", &composing).contains("a filling cannot have a constant"));
    assert!(broken(filling, 1, "@binding(one) var x: u32;", &composing).contains("binding's number"));
    assert!(broken("lib/norm", 2, "#slots x", &composing).contains("#slots x"));

    // WGSL, in a kernel after its imports, in a file of lib/, and in a filling.
    for shader in ["norm/row", "lib/norm", filling, "slot/reduce/tree"] {
        for at in [1, text(shader).lines().count() as u32] {
            broken(shader, at, "fn broken( {", &compiling);
        }
    }

    // A file that is gone.
    let path = write_shader(dir, "slot/reduce/tree", "");
    std::fs::remove_file(path).expect("a file");
    assert_eq!(composing().2, "there is no shaders/slot/reduce/tree.wgsl");
}
