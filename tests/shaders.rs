//! Every kernel with every filling that fits it composes, validates and can be written for every API, and agrees with the
//! Rust that drives it. No GPU is needed.
//!
//! The cross product of slots, fillings and constants is far too large. What is covered: every filling of every slot, and of every
//! slot of a filling, beside the others' defaults; every two fillings, or filling and constant, of a kernel together; every two
//! inside a filling that has slots; and every pipeline of every plan that [`sweep::problems`] lead to on [`sweep::devices`].

#![allow(clippy::panic, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use gristmill::adapters::{AttachParams, HeaderParams, PoolAt};
use gristmill::dispatch::{MatrixProbe, ProbeParams, SubgroupProbe};
use gristmill::formats::WeightAt;
use gristmill::kv::{KvAt, KvPlace};
use gristmill::kv_steps::{CopyParams, NumbersParams, StateParams};
use gristmill::ops::adapter::{AdapterParams, ContractParams, FactorsParams, SumsAt};
use gristmill::ops::attention::AttentionParams;
use gristmill::ops::attention::prologue::PrologueParams;
use gristmill::ops::attention::rope::RopeParams;
use gristmill::ops::counted::{GridsParams, GridsStep};
use gristmill::ops::depth::{CombineParams, RouteParams, SelectParams, SoftmaxParams, TakeParams};
use gristmill::ops::linear::{DequantizeParams, DownParams, EncodeParams, EncodeRuns, LinearParams};
use gristmill::ops::little::{GatherParams, GatherPart};
use gristmill::ops::norm::{HypersphereParams, NormParams};
use gristmill::ops::params::Params;
use gristmill::ops::prepare::PrepareParams;
use gristmill::ops::quantize::QuantizeParams;
use gristmill::ops::weight_merge::{AddParams, MixtureParams, ProductsParams, StockParams};
use gristmill::plan::{Access, Const, PipelineKey};
use gristmill::proof::measure::{Add, Copy, Number, Rate, RoofParams};
use gristmill::wgsl::{Composed, Loops, SHADERS, compose, interface};
use gristmill::{Caps, Elem, Error, MatrixUnits, Target, Tensor};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess};

mod sweep;

/// A params struct, or a struct that stands in one, as Rust lays it out: its name in WGSL, its fields and their offsets, its size.
type Layout = (&'static str, &'static [(&'static str, &'static str, usize)], usize);

const PARAMS: &[Layout] = &[
    ("adapter_Params", AdapterParams::FIELDS, size_of::<AdapterParams>()),
    ("sums_At", SumsAt::FIELDS, size_of::<SumsAt>()),
    ("factors_Params", FactorsParams::FIELDS, size_of::<FactorsParams>()),
    ("attach_Params", AttachParams::FIELDS, size_of::<AttachParams>()),
    ("header_Params", HeaderParams::FIELDS, size_of::<HeaderParams>()),
    ("down_Params", DownParams::FIELDS, size_of::<DownParams>()),
    ("pool_At", PoolAt::FIELDS, size_of::<PoolAt>()),
    ("contract_Params", ContractParams::FIELDS, size_of::<ContractParams>()),
    ("attention_Params", AttentionParams::FIELDS, size_of::<AttentionParams>()),
    ("linear_Params", LinearParams::FIELDS, size_of::<LinearParams>()),
    ("dequantize_Params", DequantizeParams::FIELDS, size_of::<DequantizeParams>()),
    ("encode_Params", EncodeParams::FIELDS, size_of::<EncodeParams>()),
    ("encode_Runs", EncodeRuns::FIELDS, size_of::<EncodeRuns>()),
    ("weight_At", WeightAt::FIELDS, size_of::<WeightAt>()),
    ("norm_Params", NormParams::FIELDS, size_of::<NormParams>()),
    ("hypersphere_Params", HypersphereParams::FIELDS, size_of::<HypersphereParams>()),
    ("prologue_Params", PrologueParams::FIELDS, size_of::<PrologueParams>()),
    ("kv_At", KvAt::FIELDS, size_of::<KvAt>()),
    ("kv_Place", KvPlace::FIELDS, size_of::<KvPlace>()),
    ("numbers_Params", NumbersParams::FIELDS, size_of::<NumbersParams>()),
    ("copy_Params", CopyParams::FIELDS, size_of::<CopyParams>()),
    ("state_Params", StateParams::FIELDS, size_of::<StateParams>()),
    ("gather_Params", GatherParams::FIELDS, size_of::<GatherParams>()),
    ("gather_Part", GatherPart::FIELDS, size_of::<GatherPart>()),
    ("rope_Params", RopeParams::FIELDS, size_of::<RopeParams>()),
    ("route_Params", RouteParams::FIELDS, size_of::<RouteParams>()),
    ("softmax_Params", SoftmaxParams::FIELDS, size_of::<SoftmaxParams>()),
    ("select_Params", SelectParams::FIELDS, size_of::<SelectParams>()),
    ("combine_Params", CombineParams::FIELDS, size_of::<CombineParams>()),
    ("grids_Params", GridsParams::FIELDS, size_of::<GridsParams>()),
    ("grids_Step", GridsStep::FIELDS, size_of::<GridsStep>()),
    ("take_Params", TakeParams::FIELDS, size_of::<TakeParams>()),
    ("prepare_Params", PrepareParams::FIELDS, size_of::<PrepareParams>()),
    ("add_Params", AddParams::FIELDS, size_of::<AddParams>()),
    ("products_Params", ProductsParams::FIELDS, size_of::<ProductsParams>()),
    ("stock_Params", StockParams::FIELDS, size_of::<StockParams>()),
    ("mixture_Params", MixtureParams::FIELDS, size_of::<MixtureParams>()),
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

/// What a kernel or filling asks of a slot, or a filling offers: names without the prefix, and for functions the number of arguments.
type Verbs = BTreeSet<(String, Option<usize>)>;

/// The names that a text itself declares: functions, types, variables, fields and arguments.
fn declared_by(code: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut before = "";
    for (word, rest) in words(code) {
        let introduced = matches!(before, "fn" | "const" | "struct" | "alias" | "let" | "var" | "storage" | "uniform");
        // A type after it: a field, an argument, a variable.
        if introduced || rest.trim_start().starts_with(':') {
            names.insert(word);
        }
        before = word;
    }
    names
}

/// What a text uses of the slot whose names begin with `prefix`. What it declares itself under such a name is not the slot's.
fn used_in(code: &str, prefix: &str) -> Verbs {
    let own = declared_by(code);
    let used = words(code).filter(|(word, _)| !own.contains(word));
    used.filter_map(|(word, rest)| Some((word.strip_prefix(prefix)?.to_owned(), arguments(rest)))).collect()
}

/// What a kernel, or what it imports, uses of a slot. A kernel that leaves an operand alone, whose slot is declared in `lib/`, still
/// takes what the others take: then it is what any kernel that imports the declaration uses.
fn used_of(kernel: &str, slot: &str) -> Verbs {
    let prefix = format!("{slot}_");
    let declares = |file: &String| declared_slots(file).iter().any(|s| s == slot);
    let declared_in =
        with_imports(kernel).into_iter().find(declares).unwrap_or_else(|| panic!("{kernel} has no slot {slot}"));
    let own: Verbs = with_imports(kernel).into_iter().flat_map(|file| used_in(&code(&file), &prefix)).collect();
    if !own.is_empty() {
        return own;
    }
    let kernels = kernels().filter(|k| with_imports(k).contains(&declared_in));
    kernels.flat_map(with_imports).flat_map(|file| used_in(&code(&file), &prefix)).collect()
}

/// The slots that a file itself declares, as it names them.
fn declared_slots(file: &str) -> Vec<String> {
    let name = |line: &str| Some(line.trim().strip_prefix("#slot ")?.split([' ', '@', '/']).next()?.to_owned());
    text(file).lines().filter_map(name).collect()
}

/// The constants that a file itself leaves to the plan, as it names them.
fn declared_consts(file: &str) -> Vec<String> {
    let name = |line: &str| Some(line.trim().strip_prefix("#const ")?.split('=').next()?.trim().to_owned());
    text(file).lines().filter_map(name).collect()
}

/// What the text of a filling says, read once: every slot of every kernel asks it of every filling.
struct Said {
    slots: Vec<String>,
    consts: Vec<String>,
    offered: Verbs,
    shown: BTreeSet<String>,
    assumed: BTreeSet<String>,
    assumed_of_outer: BTreeSet<String>,
}

fn said(filling: &str) -> &'static Said {
    static SAID: LazyLock<HashMap<&str, Said>> = LazyLock::new(|| {
        let read = |name| Said {
            slots: declared_slots(name),
            consts: declared_consts(name),
            offered: offered_by(name),
            shown: shown_by(name),
            assumed: assumed_by(name),
            assumed_of_outer: assumed_of_outer(name),
        };
        fillings().map(|name| (name, read(name))).collect()
    });
    SAID.get(filling).unwrap_or_else(|| panic!("there is no shaders/{filling}.wgsl"))
}

/// The slots and the constants of a kernel.
type Interface = (Vec<String>, Vec<String>);

/// Those of a kernel, read once.
fn interface_of(kernel: &str) -> &'static Interface {
    static INTERFACES: LazyLock<HashMap<&str, Interface>> = LazyLock::new(|| {
        kernels().map(|name| (name, interface(name).unwrap_or_else(|e| panic!("{name}: {e}")))).collect()
    });
    INTERFACES.get(kernel).unwrap_or_else(|| panic!("there is no shaders/{kernel}.wgsl"))
}

/// What a filling defines.
fn offered_by(filling: &str) -> Verbs {
    let code = code(filling);
    let consts = declared_consts(filling);
    let mut verbs: Verbs = consts.iter().filter_map(|c| Some((c.strip_prefix("slot_")?.to_owned(), None))).collect();
    let mut before = "";
    for (word, rest) in words(&code) {
        if let (Some(verb), "fn" | "const" | "alias" | "struct") = (word.strip_prefix("slot_"), before) {
            verbs.insert((verb.to_owned(), if before == "fn" { arguments(rest) } else { None }));
        }
        before = word;
    }
    verbs
}

/// The names without prefix that the fillings of a filling's slots may use of it: what it defines, its bindings, its constants.
fn shown_by(filling: &str) -> BTreeSet<String> {
    let consts = declared_consts(filling);
    let code = code(filling);
    let own = declared_by(&code);
    let all = own.into_iter().chain(consts.iter().map(String::as_str));
    all.filter_map(|name| Some(name.strip_prefix("slot_")?.to_owned())).collect()
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

/// What a filling takes for granted of the filling in whose slot it stands: names without `outer_`.
fn assumed_of_outer(filling: &str) -> BTreeSet<String> {
    used_in(&code(filling), "outer_").into_iter().map(|(name, _)| name).collect()
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
    names.extend(interface_of(kernel).1.iter().cloned());
    names
}

/// A slot in a kernel or in a filling: its name in the composed text, what is asked of it, and the fillings that fit it.
#[derive(Debug)]
struct Hole {
    slot: &'static str,
    asked: Verbs,
    fits: Vec<Fit>,
}

/// A filling that fits a slot, and its own slots.
#[derive(Debug)]
struct Fit {
    filling: &'static str,
    inner: Vec<Hole>,
}

impl Hole {
    /// This slot and those of its fillings.
    fn all(&self) -> Vec<&Hole> {
        let inner = self.fits.iter().flat_map(|f| &f.inner).flat_map(Hole::all);
        std::iter::once(self).chain(inner).collect()
    }
}

/// The fillings of a slot of which this is asked, in a kernel that defines these names, or in a filling that shows these.
/// Where fillings of several folders have the verbs, those in the folder of the slot's own name are meant.
fn hole(name: &str, own: &str, asked: Verbs, defined: &BTreeSet<String>, outer: &BTreeSet<String>) -> Hole {
    assert!(name.matches('_').count() < 6, "fillings inside fillings without end: {name}");
    let fits = |filling: &&str| {
        let Said { slots, offered, assumed, assumed_of_outer, .. } = said(filling);
        // A verb of an inner slot is offered through it.
        let through = |verb: &str| slots.iter().any(|i| format!("slot_{verb}").starts_with(&format!("{i}_")));
        asked.iter().all(|verb| offered.contains(verb) || through(&verb.0))
            && assumed.is_subset(defined)
            && assumed_of_outer.is_subset(outer)
    };
    let mut fitting: Vec<&str> = fillings().filter(fits).collect();
    let folder = format!("slot/{own}/");
    if fitting.iter().any(|f| f.starts_with(&folder)) {
        fitting.retain(|f| f.starts_with(&folder));
    }
    let fits = fitting.into_iter().map(|filling| {
        let (code, Said { slots, offered, shown, .. }) = (code(filling), said(filling));
        let inner = slots.iter().map(|inner| {
            let own = inner.strip_prefix("slot_").unwrap_or_else(|| panic!("{filling}: {inner} is not its own"));
            let mut of_inner = used_in(&code, &format!("{inner}_"));
            // What the filling does not define itself of what it is asked.
            let rest = asked.difference(offered);
            of_inner.extend(rest.filter_map(|(v, n)| Some((v.strip_prefix(&format!("{own}_"))?.to_owned(), *n))));
            hole(&format!("{name}_{own}"), own, of_inner, defined, shown)
        });
        Fit { filling, inner: inner.collect() }
    });
    let fits = fits.collect();
    // Slots are named once for the program, so that keys can be made of them.
    Hole { slot: Box::leak(name.to_owned().into_boxed_str()), asked, fits }
}

/// The slots of a kernel.
fn fitting(kernel: &str) -> Vec<Hole> {
    let (slots, _) = interface_of(kernel);
    let (defined, nothing) = (defined_by(kernel), BTreeSet::new());
    slots.iter().map(|slot| hole(slot, slot, used_of(kernel, slot), &defined, &nothing)).collect()
}

static FITTING: LazyLock<BTreeMap<&str, Vec<Hole>>> = LazyLock::new(|| kernels().map(|k| (k, fitting(k))).collect());

// ---- what naga says of a composed shader

/// A struct of WGSL: its name, its fields with types (as Rust writes them) and offsets, its size.
type Struct = (String, Vec<(String, String, usize)>, usize);

/// What a shader declares.
#[derive(Clone, Debug)]
struct Reflection {
    /// The uniform at binding 0, then the structs that stand in it.
    params: Vec<Struct>,
    /// Storage bindings, and whether they are written.
    storage: BTreeMap<u32, Access>,
    /// Those that the entry point never touches.
    idle: Vec<u32>,
    workgroup_bytes: u32,
    invocations: u32,
    f16: bool,
    subgroups: bool,
    matrices: bool,
    /// `workgroupUniformLoad` of an atomic.
    agrees: bool,
}

/// A type of WGSL as the field of a params struct has it in Rust: `weight_At` is `WeightAt` there.
fn rust_type(ty: &naga::Type) -> String {
    let scalar = |s: &naga::Scalar| match s.kind {
        naga::ScalarKind::Float => format!("f{}", s.width * 8),
        naga::ScalarKind::Uint => format!("u{}", s.width * 8),
        naga::ScalarKind::Sint => format!("i{}", s.width * 8),
        other => format!("{other:?}"),
    };
    match &ty.inner {
        naga::TypeInner::Struct { .. } => {
            let name = ty.name.as_deref().unwrap_or_default();
            name.split('_')
                .flat_map(|part| part[..1].to_uppercase().chars().chain(part[1..].chars()).collect::<Vec<_>>())
                .collect()
        }
        naga::TypeInner::Scalar(s) => scalar(s),
        naga::TypeInner::Vector { size, scalar: s } => format!("[{}; {}]", scalar(s), *size as u32),
        other => format!("{other:?}"),
    }
}

/// Composes, validates, writes SPIR-V, MSL and HLSL, and reflects. Loops can be unrolled in any case; where they are, nothing is indexed that
/// should lie in registers.
fn examine(key: &PipelineKey, loops: Loops) -> Result<Reflection, String> {
    let tell = |what: &str, e: String| format!("{key}\n  {what}: {e}");
    if loops != Loops::Unrolled {
        compose(key, Target::Native, Loops::Unrolled).map_err(|e| tell("compose, unrolled", e.to_string()))?;
    }
    let native = compose(key, Target::Native, loops).map_err(|e| tell("compose", e.to_string()))?;
    let web = compose(key, Target::Web, loops).map_err(|e| tell("compose for the web", e.to_string()))?;
    let enables: Vec<&str> = web.text.lines().take_while(|l| l.starts_with("enable ")).collect();
    let later = web.text.lines().skip(enables.len()).find(|l| l.trim_start().starts_with("enable "));
    if let Some(line) = later {
        return Err(tell("web text", format!("`{line}` does not stand first")));
    }
    let (f16, subgroups) = (enables.contains(&"enable f16;"), enables.contains(&"enable subgroups;"));
    let matrices = enables.contains(&"enable wgpu_cooperative_matrix;");
    let builtins = words(&bare(&web.text)).any(|(w, _)| w.starts_with("subgroup") && w != "subgroups");
    if builtins != subgroups {
        return Err(tell("web text", "`enable subgroups;` stands where it is not needed, or not where it is".into()));
    }
    // Then what naga says of the native text holds for the web's.
    let stripped: String = web.text.lines().filter(|l| *l != "enable subgroups;").map(|l| format!("{l}\n")).collect();
    if stripped != native.text {
        return Err(tell("web text", "it differs from the native text by more than `enable subgroups;`".into()));
    }
    note_called(&native).map_err(|e| tell("functions", e))?;

    let module = naga::front::wgsl::parse_str(&native.text).map_err(|e| {
        let line = e.location(&native.text).map_or(0, |l| l.line_number);
        tell("naga", native.error(key.kernel, line, e.message()).to_string())
    })?;
    // Nothing that the shader does not ask for.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32; // unpack2x16float, which is WebGPU's
    capabilities.set(Capabilities::SHADER_FLOAT16, f16);
    capabilities.set(Capabilities::SUBGROUP, subgroups);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, matrices);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| tell("naga", e.emit_to_string(&native.text)))?;
    let unknown = if loops == Loops::Unrolled { unknown_index(&module, &info, &native.text) } else { None };
    if let Some(line) = unknown {
        let told = native.error(
            key.kernel,
            line,
            "an index that no compiler knows, of an array or vector that should lie in registers",
        );
        return Err(tell("registers", told.to_string()));
    }
    write_all(&module, &info, f16 || subgroups, matrices).map_err(|e| tell("naga", e))?;
    let reflection = reflect(&module, &info, f16, subgroups);
    let agrees = agrees_on_atomics(&module, &native.text);
    reflection.map(|r| Reflection { matrices, agrees, ..r }).map_err(|e| tell("reflection", e))
}

/// Whether lanes agree on what an atomic holds, which WGSL allows since April 2025.
fn agrees_on_atomics(module: &naga::Module, text: &str) -> bool {
    let text = bare(text);
    let agreed = words(&text).filter(|(word, _)| *word == "workgroupUniformLoad");
    let names: BTreeSet<&str> = agreed.filter_map(|(_, rest)| words(rest).next()).map(|(name, _)| name).collect();
    let of = |ty: naga::Handle<naga::Type>| match module.types[ty].inner {
        naga::TypeInner::Array { base, .. } => base,
        _ => ty,
    };
    let is_atomic = |ty| matches!(module.types[of(ty)].inner, naga::TypeInner::Atomic(_));
    let mut variables = module.global_variables.iter().map(|(_, variable)| variable);
    variables.any(|v| v.name.as_deref().is_some_and(|name| names.contains(name)) && is_atomic(v.ty))
}

/// By file, the lines of the functions that a shader calls that was examined.
static CALLED: Mutex<BTreeMap<String, BTreeSet<u32>>> = Mutex::new(BTreeMap::new());

fn note_called(composed: &Composed) -> Result<(), String> {
    let mut called = CALLED.lock().map_err(|e| e.to_string())?;
    for (line, _) in (1..).zip(composed.text.lines()).filter(|(_, text)| text.starts_with("fn ")) {
        let (file, at) = composed.origin(line).ok_or("a line of no file")?;
        let lines = match called.get_mut(file) {
            Some(lines) => lines,
            None => called.entry(file.to_owned()).or_default(),
        };
        lines.insert(at);
    }
    Ok(())
}

/// The first line, counted from 1, with an index that no compiler knows for sure, of an array or a vector of a function. Such an array has no place in
/// a GPU's registers. NVIDIA's compiler unrolls few loops, and kept what they indexed in memory: attention that decodes took three times as long for
/// it, and products by matrix units four times.
fn unknown_index(module: &naga::Module, info: &naga::valid::ModuleInfo, text: &str) -> Option<u32> {
    use naga::{Expression as E, Handle, TypeInner};
    let mut args = HashMap::new();
    let entry = &module.entry_points[0].function;
    known_arguments(entry, None, &entry.body, &mut args);
    let mut functions = vec![(entry, info.get_entry_point(0), None)];
    let all: Vec<_> = module.functions.iter().collect();
    // Callees stand before those who call them.
    for (handle, function) in all.into_iter().rev() {
        let Some(of) = args.get(&handle).cloned() else { continue };
        known_arguments(function, Some(&of), &function.body, &mut args);
        functions.push((function, &info[handle], Some(of)));
    }
    let in_registers = |inner: &TypeInner| match inner {
        TypeInner::Pointer { space, .. } | TypeInner::ValuePointer { space, .. } => *space == AddressSpace::Function,
        TypeInner::Array { .. } | TypeInner::Vector { .. } | TypeInner::Matrix { .. } => true,
        _ => false,
    };
    let mut lines = Vec::new();
    for (function, info, args) in &functions {
        let unknown = |(handle, expression): (Handle<E>, &E)| {
            let E::Access { base, index } = expression else { return None };
            let indexed = in_registers(info[*base].ty.inner_with(&module.types));
            let is_unknown = indexed && !is_known(function, args.as_ref(), *index);
            is_unknown.then(|| function.expressions.get_span(handle).location(text).line_number)
        };
        lines.extend(function.expressions.iter().filter_map(unknown));
    }
    lines.into_iter().min()
}

/// Which arguments of a function are known wherever it is called.
type KnownArguments = HashMap<naga::Handle<naga::Function>, Vec<bool>>;

/// Whether an expression is made of constants, and of arguments that are known.
fn is_known(function: &naga::Function, args: Option<&Vec<bool>>, at: naga::Handle<naga::Expression>) -> bool {
    use naga::Expression as E;
    let is = |at| is_known(function, args, at);
    match &function.expressions[at] {
        E::Literal(_) | E::Constant(_) | E::ZeroValue(_) => true,
        E::FunctionArgument(i) => args.is_some_and(|a| a[*i as usize]),
        E::Unary { expr, .. } | E::As { expr, .. } => is(*expr),
        E::Binary { left, right, .. } => is(*left) && is(*right),
        E::Select { condition, accept, reject } => is(*condition) && is(*accept) && is(*reject),
        E::Math { arg, arg1, arg2, arg3, .. } => [Some(*arg), *arg1, *arg2, *arg3].into_iter().flatten().all(is),
        _ => false,
    }
}

/// Notes what a block tells of the arguments of functions that it calls.
fn known_arguments(function: &naga::Function, args: Option<&Vec<bool>>, block: &naga::Block, all: &mut KnownArguments) {
    use naga::Statement;
    for statement in block {
        let inner: Vec<&naga::Block> = match statement {
            Statement::Call { function: callee, arguments, .. } => {
                let known: Vec<bool> = arguments.iter().map(|a| is_known(function, args, *a)).collect();
                let of = all.entry(*callee).or_insert_with(|| vec![true; known.len()]);
                of.iter_mut().zip(known).for_each(|(all, one)| *all &= one);
                continue;
            }
            Statement::Block(block) => vec![block],
            Statement::If { accept, reject, .. } => vec![accept, reject],
            Statement::Switch { cases, .. } => cases.iter().map(|c| &c.body).collect(),
            Statement::Loop { body, continuing, .. } => vec![body, continuing],
            _ => continue,
        };
        inner.into_iter().for_each(|block| known_arguments(function, args, block, all));
    }
}

/// For SPIR-V 1.3, Metal and DX12, which has no matrices; a shader without extensions also for the old compiler of DX12.
fn write_all(
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
    extensions: bool,
    matrices: bool,
) -> Result<(), String> {
    use naga::back::{hlsl, msl, spv};
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let spirv = spv::write_vec(module, info, &options, None).map_err(|e| format!("SPIR-V: {e}"))?;
    let options = msl::Options { lang_version: if extensions { (2, 4) } else { (2, 0) }, ..Default::default() };
    let (metal, _) =
        msl::write_string(module, info, &options, &msl::PipelineOptions::default()).map_err(|e| format!("MSL: {e}"))?;
    if matrices {
        return if spirv.is_empty() || metal.is_empty() { Err("an empty shader was written".into()) } else { Ok(()) };
    }
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
    let matrices = module.types.iter().any(|(_, ty)| matches!(ty.inner, naga::TypeInner::CooperativeMatrix { .. }));
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;
    let mut params = Vec::new();
    let (mut storage, mut idle, mut workgroup_bytes) = (BTreeMap::new(), Vec::new(), 0);
    for (handle, variable) in module.global_variables.iter() {
        let name = variable.name.clone().unwrap_or_default();
        let binding = match &variable.binding {
            Some(at) if at.group != 0 => return Err(format!("{name} is in group {}", at.group)),
            Some(at) => at.binding,
            None => u32::MAX,
        };
        match variable.space {
            AddressSpace::Uniform if binding == 0 && params.is_empty() => {
                let mut structs = vec![variable.ty];
                while let Some(handle) = structs.get(params.len()) {
                    let ty = &module.types[*handle];
                    let naga::TypeInner::Struct { members, span } = &ty.inner else {
                        return Err(format!("{name} is not a struct"));
                    };
                    let field = |m: &naga::StructMember| {
                        (m.name.clone().unwrap_or_default(), rust_type(&module.types[m.ty]), m.offset as usize)
                    };
                    let fields = members.iter().map(field).collect();
                    params.push((ty.name.clone().unwrap_or_default(), fields, *span as usize));
                    for member in members {
                        let is_struct = matches!(module.types[member.ty].inner, naga::TypeInner::Struct { .. });
                        if is_struct && !structs.contains(&member.ty) {
                            structs.push(member.ty);
                        }
                    }
                }
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
            AddressSpace::WorkGroup => {
                let size = layouter[variable.ty].size;
                // A matrix must lie at a multiple of 16 bytes, and NVIDIA's compiler puts one variable where the other ends.
                let used = !info.get_entry_point(0)[handle].is_empty();
                if matrices && used && !size.is_multiple_of(16) {
                    return Err(format!(
                        "{name} is {size} bytes of workgroup memory, which moves matrices off 16 bytes"
                    ));
                }
                // As WebGPU counts it.
                workgroup_bytes += size.next_multiple_of(16);
            }
            AddressSpace::Private => {}
            other => return Err(format!("{name} is a {other:?} that no step binds")),
        }
    }
    if params.is_empty() {
        return Err("no params at binding 0".into());
    }
    Ok(Reflection {
        params,
        storage,
        idle,
        workgroup_bytes,
        invocations: entry.workgroup_size.iter().product(),
        f16,
        subgroups,
        matrices: false,
        agrees: false,
    })
}

/// Examines all keys on all processors.
fn examine_all(keys: &[PipelineKey], loops: Loops) -> Vec<Result<Reflection, String>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(key) = keys.get(at) else { return done };
            done.push((at, examine(key, loops)));
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
    for (size, from_vectors) in [(8, false), (8, true), (16, false), (16, true)] {
        let units = MatrixUnits { size, subgroup: 32, from_vectors };
        let probe = MatrixProbe { sums: &tensor(Elem::F32), units, seed: 1 };
        tools.push(tool(format!("{probe:?}"), sweep::Asked::of(&probe), |caps| caps.matrix_units().is_some()));
        let rate = Rate { number: Number::Matrix(units), rounds: 16, y: &tensor(Elem::F32) };
        tools.push(tool(format!("{rate:?}"), sweep::Asked::of(&rate), |caps| caps.matrix_units().is_some()));
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

static EXAMINED: LazyLock<Vec<Result<Reflection, String>>> = LazyLock::new(|| examine_all(&PLANNED.0, Loops::Unrolled));

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
    let planned: BTreeSet<&str> = PLANNED.0.iter().flat_map(|key| &key.fillings).map(|(_, f)| *f).collect();
    let idle: Vec<&str> = fillings().filter(|f| !planned.contains(f)).collect();
    assert!(idle.is_empty(), "fillings that no plan in the sweep uses: {idle:?}");
}

/// Puts a filling into a slot of a key, and into the slots of the filling what plans put there together with it, else what
/// stands first. What stood in the slot goes, with its own slots and its constants.
fn put(key: &mut PipelineKey, of_kernel: &[&PipelineKey], slot: &'static str, fit: &Fit) {
    let inside = |name: &str| name.strip_prefix(slot).is_some_and(|rest| rest.starts_with('_'));
    let at = key.fillings.iter().position(|(s, _)| *s == slot).unwrap_or(key.fillings.len());
    let inner_slots: Vec<&str> = key.fillings.iter().filter(|(s, _)| inside(s)).map(|(s, _)| *s).collect();
    let mut fillings = vec![(slot, fit.filling)];
    let planned = of_kernel.iter().find(|k| k.fillings.contains(&(slot, fit.filling)));
    let mut todo: Vec<&Hole> = fit.inner.iter().collect();
    while let Some(hole) = todo.pop() {
        let of_plan = planned.and_then(|k| k.fillings.iter().find(|(s, _)| *s == hole.slot));
        let inner = of_plan.and_then(|(_, f)| hole.fits.iter().find(|fit| fit.filling == *f));
        let Some(inner) = inner.or(hole.fits.first()) else { continue };
        fillings.push((hole.slot, inner.filling));
        todo.extend(&inner.inner);
    }
    key.fillings.retain(|(s, _)| *s != slot && !inner_slots.contains(s));
    let at = at.min(key.fillings.len());
    key.fillings.splice(at..at, fillings);
    // Constants of a filling are the plan's where it has them.
    let has = |name: &str| {
        let of_filling =
            |(slot, filling): &(&str, &str)| said(filling).consts.iter().any(|c| c.replacen("slot", slot, 1) == name);
        key.fillings.iter().any(of_filling) || interface_of(key.kernel).1.iter().any(|c| c == name)
    };
    key.consts.retain(|(name, _)| has(name));
    for (name, value) in planned.iter().flat_map(|k| &k.consts).filter(|(name, _)| inside(name) && has(name)) {
        if !key.consts.iter().any(|(n, _)| n == name) {
            key.consts.push((name, *value));
        }
    }
}

/// Every filling of the slots of a kernel or filling beside what stands in the key, and so on inside each filling.
fn each_beside(key: &PipelineKey, of_kernel: &[&PipelineKey], holes: &[Hole], add: &mut impl FnMut(PipelineKey)) {
    for hole in holes {
        for fit in &hole.fits {
            let mut key = key.clone();
            put(&mut key, of_kernel, hole.slot, fit);
            each_beside(&key, of_kernel, &fit.inner, add);
            add(key);
        }
    }
}

/// Every two fillings of the slots of a filling together, for all fillings that have slots.
fn pairs_inside(key: &PipelineKey, of_kernel: &[&PipelineKey], holes: &[Hole], add: &mut impl FnMut(PipelineKey)) {
    for hole in holes {
        for fit in hole.fits.iter().filter(|fit| !fit.inner.is_empty()) {
            let mut key = key.clone();
            put(&mut key, of_kernel, hole.slot, fit);
            pairs_inside(&key, of_kernel, &fit.inner, add);
            let levels: Vec<usize> = fit.inner.iter().map(|h| h.fits.len()).collect();
            for row in sweep::pairs(&levels) {
                let mut key = key.clone();
                for (hole, at) in fit.inner.iter().zip(row) {
                    put(&mut key, of_kernel, hole.slot, &hole.fits[at]);
                }
                add(key);
            }
        }
    }
}

/// What plans use must be among what fits.
fn planned_is_among(key: &PipelineKey, holes: &[Hole]) -> usize {
    let mut slots = 0;
    for Hole { slot, fits, .. } in holes {
        let planned =
            key.fillings.iter().find(|(s, _)| s == slot).unwrap_or_else(|| panic!("{key} leaves {slot} empty"));
        let fit = fits.iter().find(|fit| fit.filling == planned.1);
        let fit = fit.unwrap_or_else(|| panic!("{} is planned for {slot}, but does not fit: {key}", planned.1));
        slots += 1 + planned_is_among(key, &fit.inner);
    }
    slots
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
    let (mut all_slots, mut all_fits) = (0, 0);
    // Which kernel a filling stands in is all the same to what stands inside it: the first that has the slot has the pairs.
    let mut paired = BTreeSet::new();
    for (kernel, slots) in &*FITTING {
        for Hole { slot, asked, fits } in slots.iter().flat_map(Hole::all) {
            assert!(!fits.is_empty(), "no filling fits slot {slot} of {kernel}, of which {asked:?} is asked");
            fit_somewhere.extend(fits.iter().map(|fit| fit.filling));
            all_slots += 1;
            all_fits += fits.len();
        }
        let of_kernel: Vec<&PipelineKey> = PLANNED.0.iter().filter(|k| k.kernel == *kernel).collect();
        for key in &of_kernel {
            assert_eq!(planned_is_among(key, slots), key.fillings.len(), "{key} fills slots that are not there");
        }
        let mut first = PipelineKey { kernel, fillings: Vec::new(), consts: Vec::new() };
        slots.iter().for_each(|hole| put(&mut first, &[], hole.slot, &hole.fits[0]));
        let default = of_kernel.first().copied().unwrap_or(&first);
        add(default.clone());
        each_beside(default, &of_kernel, slots, &mut add);
        for hole in slots.iter().filter(|hole| paired.insert(hole.slot)) {
            pairs_inside(default, &of_kernel, std::slice::from_ref(hole), &mut add);
        }
        // Each two together, booleans too. Numbers stay together as plans set them, and each set of them meets every way to
        // reduce, which is what they size.
        let (_, own) = interface_of(kernel);
        let of_plans = |k: &PipelineKey, number: bool| -> Vec<(&'static str, Const)> {
            let own = k.consts.iter().filter(|(name, _)| own.iter().any(|o| o == name));
            own.filter(|(_, v)| matches!(v, Const::U32(_)) == number).copied().collect()
        };
        let numbers = {
            let mut all: Vec<_> = of_kernel.iter().map(|k| of_plans(k, true)).collect();
            all.sort_by_key(|c| format!("{c:?}"));
            all.dedup();
            if all.is_empty() { vec![Vec::new()] } else { all }
        };
        let booleans: BTreeSet<&str> = of_kernel.iter().flat_map(|k| of_plans(k, false)).map(|(n, _)| n).collect();
        let mut shader = |row: &[usize], numbers: &[(&'static str, Const)]| {
            let (fill, on) = row.split_at(slots.len());
            let set = booleans.iter().zip(on).map(|(name, on)| (*name, Const::Bool(*on == 1)));
            let mut key = PipelineKey { consts: numbers.iter().copied().chain(set).collect(), ..default.clone() };
            slots.iter().zip(fill).for_each(|(hole, at)| put(&mut key, &of_kernel, hole.slot, &hole.fits[*at]));
            add(key);
        };
        let levels: Vec<usize> = slots.iter().map(|hole| hole.fits.len()).chain(booleans.iter().map(|_| 2)).collect();
        let rows = sweep::pairs(&levels);
        for (row, numbers) in rows.iter().zip(numbers.iter().cycle()) {
            shader(row, numbers);
        }
        let Some(reduce) = slots.iter().position(|hole| hole.slot == "reduce") else { continue };
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
    all_are_right(examine_all(&keys, Loops::Kept).iter());
    // What nobody calls is in no composed text, so that nothing else would tell whether it is right.
    LazyLock::force(&EXAMINED);
    let called = CALLED.lock().unwrap_or_else(|e| panic!("{e}"));
    for (file, text) in SHADERS {
        for (line, head) in (1..).zip(text.lines()).filter(|(_, text)| text.starts_with("fn ")) {
            let is_called = called.get(*file).is_some_and(|lines| lines.contains(&line));
            assert!(is_called, "nobody calls shaders/{file}.wgsl:{line}: {head}");
        }
    }
    report(&format!(
        "{} kernels with {all_slots} slots, {} fillings that fit {all_fits} times: all of them and pairs, in {} shaders",
        FITTING.len(),
        fillings().count(),
        keys.len()
    ));
}

#[test]
fn params_are_the_same_in_wgsl_and_rust() {
    let mut seen = BTreeSet::new();
    for (key, wanted, reflection) in reflected() {
        for (name, fields, size) in &reflection.params {
            let (_, rust, rust_size) = PARAMS
                .iter()
                .find(|(n, _, _)| n == name)
                .unwrap_or_else(|| panic!("{name} of {} is not in PARAMS", key.kernel));
            let fields: Vec<(&str, &str, usize)> =
                fields.iter().map(|(n, t, at)| (n.as_str(), t.as_str(), *at)).collect();
            assert_eq!(fields, *rust, "{name} of {}: left WGSL, right Rust", key.kernel);
            assert_eq!(size, rust_size, "the size of {name} of {}: left WGSL, right Rust", key.kernel);
            seen.insert(name.clone());
        }
        assert_eq!(reflection.params[0].2, wanted.params_bytes, "the params that plans give to {}", key.kernel);
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
            assert!(!reflection.matrices || caps.matrix_units().is_some(), "matrices for {who}: {key}");
            assert!(!reflection.subgroups || caps.subgroups.is_some(), "subgroups for {who}: {key}");
            assert!(!reflection.agrees || caps.target == Target::Native, "an atomic to agree on for {who}: {key}");
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
        let composed = compose(key, Target::Native, Loops::Unrolled).unwrap_or_else(|e| panic!("{key}: {e}"));
        let again = compose(key, Target::Native, Loops::Unrolled).unwrap_or_else(|e| panic!("{key}: {e}"));
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
            let mut renamed = slots.map(|(slot, _)| {
                let outer = key.fillings.iter().find(|(outer, filling)| {
                    let own = slot.strip_prefix(outer).map(|own| format!("slot{own}"));
                    own.is_some_and(|own| said(filling).slots.contains(&own))
                });
                let outer = outer.map_or("outer_".to_owned(), |(outer, _)| format!("{outer}_"));
                source.replace("slot_", &format!("{slot}_")).replace("outer_", &outer)
            });
            let declared = |text: &str| text.split_once(" var<").map(|(_, rest)| rest.to_owned());
            // Of a loop that is written out, what stands behind its head.
            let unrolled = |text: &str| text.trim_start().starts_with("for (") && text.ends_with(line);
            let same = line == source
                || source.trim_start().starts_with('#')
                || unrolled(source)
                || renamed
                    .any(|r| r == line || unrolled(&r) || declared(&r).is_some_and(|r| Some(r) == declared(line)));
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
        shader_error(compose(&key, Target::Native, Loops::Unrolled))
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
    let composing = || shader_error(compose(&key, Target::Native, Loops::Unrolled));
    let compiling = || {
        let composed = compose(&key, Target::Native, Loops::Unrolled).expect("the directives are whole");
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
    assert!(broken(filling, 1, "#slot more", &composing).contains("a filling's slot begins with slot_"));
    assert!(broken(filling, 1, "#slot slot_more", &composing).contains("the plan leaves slot `x_more` empty"));
    assert!(broken(filling, 1, "#const MORE = 1u", &composing).contains("a filling's constant begins with slot_"));
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
