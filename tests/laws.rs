//! The laws of the house, checked by reading the source tree. No GPU is needed.
//!
//! Law 5 (what WGSL and Rust must agree on is compared by reflection) is checked in `tests/shaders.rs`; here only that nobody
//! relies on a comment for it.

#![allow(clippy::panic, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gristmill::proof::cases;

// ---- reading

struct File {
    /// From the root of the tree, with `/`.
    path: String,
    text: String,
}

impl File {
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files under these folders (or these files) that end so, in order.
fn files(places: &[&str], ending: &str) -> Vec<File> {
    let mut paths: Vec<PathBuf> = places.iter().map(|p| root().join(p)).collect();
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            paths.extend(entries.map(|e| e.unwrap_or_else(|e| panic!("{}: {e}", path.display())).path()));
        } else if path.extension().is_some_and(|e| e == ending) {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let path = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push(File { path, text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!files.is_empty(), "no .{ending} files in {places:?}: the law looks in the wrong place");
    files
}

fn shaders() -> Vec<File> {
    files(&["shaders"], "wgsl")
}

/// A line of Rust, taken apart: code without comments and with empty strings, and what stands in its strings.
#[derive(Default)]
struct Parts {
    number: usize,
    code: String,
    strings: String,
}

/// Rust taken apart, up to its unit tests, which must come last.
fn rust(file: &File) -> Vec<Parts> {
    let text = file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Parts { number: 1, ..Default::default() }];
    let mut at = 0;
    // Inside a string: how many # close it, none where backslashes escape. Inside a comment of this depth.
    let (mut string, mut comment): (Option<Option<usize>>, usize) = (None, 0);
    while at < chars.len() {
        let (c, next) = (chars[at], chars.get(at + 1).copied().unwrap_or_default());
        let line = lines.last_mut().unwrap_or_else(|| unreachable!("there is a first line"));
        at += 1;
        if c == '\n' {
            let number = line.number + 1;
            lines.push(Parts { number, ..Default::default() });
        } else if comment > 0 {
            match (c, next) {
                ('*', '/') => (comment, at) = (comment - 1, at + 1),
                ('/', '*') => (comment, at) = (comment + 1, at + 1),
                _ => {}
            }
        } else if let Some(hashes) = string {
            match (c, hashes) {
                ('\\', None) => {
                    line.strings.extend([c, next]);
                    // A line that is continued still ends.
                    at += usize::from(next != '\n');
                }
                ('"', _) if chars[at..].iter().take_while(|c| **c == '#').count() >= hashes.unwrap_or(0) => {
                    at += hashes.unwrap_or(0);
                    string = None;
                    line.strings.push('\n');
                    line.code.push('"');
                }
                _ => line.strings.push(c),
            }
        } else if c == '/' && next == '/' {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
        } else if c == '/' && next == '*' {
            (comment, at) = (1, at + 1);
        } else if c == '"' {
            let hashes = line.code.len() - line.code.trim_end_matches('#').len();
            let raw = line.code.trim_end_matches('#').ends_with('r');
            string = Some(raw.then_some(hashes));
            line.code.push('"');
        } else if c == '\'' && (next == '\\' || chars.get(at + 1) == Some(&'\'')) {
            // A character, not a lifetime.
            at += 1 + usize::from(next == '\\');
            at += chars[at..].iter().take_while(|c| **c != '\'').count() + 1;
            line.code.push_str("' '");
        } else {
            line.code.push(c);
        }
    }
    lines
}

/// A line of WGSL without its comment.
fn wgsl(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Names in a text, with what stands before each.
fn names(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let from = at + code[at..].find(inside)?;
        let end = code[from..].find(|c| !inside(c)).map_or(code.len(), |n| from + n);
        at = end;
        Some((&code[from..end], code[..from].trim_end()))
    })
}

/// What breaks a law, as `file:line: why`.
#[derive(Default)]
struct Breaches(Vec<String>);

impl Breaches {
    fn add(&mut self, file: &File, line: usize, why: impl std::fmt::Display) {
        self.0.push(format!("{}:{line}: {why}", file.path));
    }

    fn none(self, law: &str) {
        assert!(self.0.is_empty(), "{law}\n  {}", self.0.join("\n  "));
    }
}

// ---- the laws

#[test]
fn law_1_shaders_are_files() {
    let signs = [
        "@compute",
        "@workgroup_size",
        "@group(",
        "@binding(",
        "@builtin(",
        "var<",
        "vec2<",
        "vec3<",
        "vec4<",
        "array<",
        "slot_",
        "workgroupBarrier",
        "fn main",
        "enable f16",
        "enable subgroups",
        "const ",
        "#import ",
        "#slot ",
        "#const ",
    ];
    // compose() finds bindings, enable lines and directives in the files, writes the constants of the plan, and quotes
    // directives in its errors.
    let composes = ["@binding(", "slot_", "enable subgroups", "const ", "#slot ", "#const "];
    let mut breaches = Breaches::default();
    let rust_files = files(&["src", "build.rs", "benches", "www/src", "xtask/src"], "rs");
    for file in &rust_files {
        for line in rust(file) {
            for sign in signs.iter().filter(|s| line.strings.contains(**s)) {
                let composer = file.path.starts_with("src/wgsl");
                if !(composer && composes.contains(sign)) {
                    breaches.add(file, line.number, format!("WGSL (`{sign}`) in a string of Rust"));
                }
            }
        }
    }
    // Nor anywhere else: the page shows what was composed.
    for file in files(&["www"], "js").iter().chain(&files(&["www"], "html")) {
        for (number, line) in file.lines() {
            if let Some(sign) = signs[..5].iter().find(|s| line.contains(**s)) {
                breaches.add(file, number, format!("WGSL (`{sign}`) on the page"));
            }
        }
    }
    breaches.none("law 1: every line of WGSL is under shaders/");
}

#[test]
fn law_2_four_directives_and_no_conditionals() {
    let mut breaches = Breaches::default();
    for file in shaders() {
        for (number, line) in file.lines() {
            let Some(rest) = line.trim_start().strip_prefix('#') else { continue };
            let word = rest.split(' ').next().unwrap_or_default();
            // It stands above its loop, wherever that is.
            if word == "unroll" {
                continue;
            }
            if !["import", "slot", "const"].contains(&word) {
                breaches.add(&file, number, format!("`#{word}` is none of #import, #slot, #const, #unroll"));
            }
            if !line.starts_with('#') {
                breaches.add(&file, number, "a directive stands at the beginning of its line");
            }
            let own = rest[word.len()..].trim_start().starts_with("slot_");
            if file.path.starts_with("shaders/slot/") && word != "import" && !own {
                breaches.add(&file, number, format!("the name of a filling's #{word} begins with slot_"));
            }
            if file.path.starts_with("shaders/lib/") && own {
                breaches.add(&file, number, "only a filling has names that begin with slot_");
            }
        }
        for (number, line) in file.lines().filter(|(_, l)| names(wgsl(l)).any(|(name, _)| name == "override")) {
            breaches.add(&file, number, format!("`{}`: what a plan sets is a #const", line.trim()));
        }
    }
    breaches.none("law 2: four directives, no conditionals");
}

#[test]
fn law_3_the_reference_is_short_plain_f64() {
    let foreign = ["wgpu", "f32", "f16", "bf16", "unsafe", "dispatch", "ops", "plan", "caps", "tensor", "wgsl"];
    let mut breaches = Breaches::default();
    let reference = files(&["src/reference"], "rs");
    for file in &reference {
        let length = file.lines().count();
        if length > 300 {
            breaches.add(file, length, format!("{length} lines are not short"));
        }
        for line in rust(file) {
            for (name, _) in names(&line.code).filter(|(n, _)| foreign.contains(n)) {
                breaches.add(file, line.number, format!("`{name}` in the reference"));
            }
        }
    }
    let defined: BTreeSet<String> = reference
        .iter()
        .flat_map(|f| rust(f).into_iter().map(|l| l.code))
        .filter_map(|code| Some(code.trim().strip_prefix("pub fn ")?.split(['(', '<']).next()?.to_owned()))
        .collect();
    for op in cases::OPS.iter().filter(|op| !defined.contains(**op)) {
        breaches.add(&reference[0], 1, format!("{op} has no reference: there is no `pub fn {op}`"));
    }
    breaches.none("law 3: the reference is the specification");
}

/// Where the GPU's library may be named, and why. All else is pure.
const NAMES_WGPU: [(&str, &str); 6] = [
    ("src/dispatch/", "it executes"),
    ("src/caps.rs", "it reads an adapter into plain data"),
    ("src/tensor.rs", "a tensor is a buffer"),
    ("src/proof/measure", "it times with the device's queries, and several recordings in one submission"),
    ("src/proof/run.rs", "it copies operands side by side, so that runs rotate past the cache"),
    ("src/lib.rs", "it shows the library to those who own a device"),
];

#[test]
fn law_4_deciding_is_pure_and_doing_is_in_one_place() {
    let does = [
        "create_shader_module",
        "create_shader_module_trusted",
        "create_compute_pipeline",
        "create_pipeline_layout",
        "create_bind_group",
        "create_bind_group_layout",
        "begin_compute_pass",
        "set_bind_group",
        "dispatch_workgroups",
        "dispatch_workgroups_indirect",
    ];
    let mut breaches = Breaches::default();
    for file in files(&["src", "www/src"], "rs") {
        let may_name =
            file.path.starts_with("www/") || NAMES_WGPU.iter().any(|(place, _)| file.path.starts_with(place));
        for line in rust(&file) {
            for (name, before) in names(&line.code) {
                if name == "wgpu" && !may_name {
                    breaches.add(&file, line.number, "names wgpu");
                }
                if before.ends_with('.') && does.contains(&name) && !file.path.starts_with("src/dispatch/") {
                    breaches.add(&file, line.number, format!("calls `{name}`, which is for src/dispatch/"));
                }
            }
        }
    }
    breaches.none("law 4: deciding is pure, doing is in one place");
}

#[test]
fn law_5_nothing_is_kept_in_step_by_a_comment() {
    let pleas = ["in sync", "keep in step", "must match the", "must be the same as in", "mirrors the struct"];
    let mut breaches = Breaches::default();
    for file in files(&["src", "www/src", "benches"], "rs").iter().chain(&shaders()) {
        for (number, line) in file.lines() {
            for plea in pleas.iter().filter(|p| line.to_lowercase().contains(**p)) {
                breaches.add(file, number, format!("\"{plea}\": let a test compare instead, as tests/shaders.rs does"));
            }
        }
    }
    breaches.none("law 5: no sync by comment");
}

#[test]
fn law_6_every_op_is_in_the_case_table() {
    let mut breaches = Breaches::default();
    let in_table: BTreeMap<&str, usize> = cases::all().iter().fold(BTreeMap::new(), |mut count, case| {
        *count.entry(case.op).or_default() += 1;
        count
    });
    let mut structs = 0;
    let mut seen = BTreeSet::new();
    for file in files(&["src/ops"], "rs") {
        let lines = rust(&file);
        structs += lines.iter().filter(|l| l.code.starts_with("impl Op for ")).count();
        for line in lines {
            let named = ["let op = ", "const OP: &str = "].iter().any(|n| line.code.trim_start().starts_with(n));
            let Some(op) = line.strings.lines().next().filter(|_| named) else { continue };
            seen.insert(op.to_owned());
            if !cases::OPS.contains(&op) {
                breaches.add(&file, line.number, format!("{op} is not among the ops of src/proof/cases"));
            }
            if !in_table.contains_key(op) {
                breaches.add(&file, line.number, format!("{op} has no case in src/proof/cases"));
            }
        }
    }
    breaches.none("law 6: one case table");
    assert_eq!(seen.len(), structs, "law 6: {structs} ops under src/ops, but these names are said there: {seen:?}");
}

#[test]
fn law_7_capabilities_are_data() {
    let caps = files(&["src/caps.rs"], "rs");
    let (_, body) = caps[0].text.split_once("pub struct Caps {").unwrap_or_else(|| panic!("src/caps.rs has no Caps"));
    let fields =
        body.lines().take_while(|l| *l != "}").filter_map(|l| l.trim().strip_prefix("pub ")?.split(':').next());
    let mut capabilities: Vec<&str> = fields.collect();
    capabilities.extend(["subgroup", "half", "dp4a", "coop", "timestamp", "int8"]);
    assert!(capabilities.contains(&"f16") && capabilities.len() > 12, "Caps is not read: {capabilities:?}");
    let of_capability = |name: &str| capabilities.iter().any(|c| name.contains(c));

    let mut breaches = Breaches::default();
    for file in files(&["Cargo.toml", "www/Cargo.toml", "xtask/Cargo.toml"], "toml") {
        let mut section = "";
        for (number, line) in file.lines() {
            if line.starts_with('[') {
                section = line.trim();
            }
            let name = line.split('=').next().unwrap_or_default().trim();
            if section == "[features]" && !line.starts_with(['[', '#']) && of_capability(name) {
                breaches.add(&file, number, format!("the feature `{name}` is named after a capability"));
            }
        }
    }
    for file in files(&["src", "www/src"], "rs") {
        for line in rust(&file).iter().filter(|l| l.code.contains("feature = \"")) {
            if of_capability(&line.strings) {
                breaches.add(&file, line.number, "a cargo feature decides about a capability");
            }
        }
    }
    breaches.none("law 7: capabilities are found at run time");
}

#[test]
fn law_8_f32_accumulates() {
    let mut breaches = Breaches::default();
    // A kernel of ours that needs less than f32 would be a plan that nobody gets without asking; there is none.
    for file in shaders() {
        let storage = ["shaders/slot/read/", "shaders/slot/write/"].iter().any(|s| file.path.starts_with(s));
        // Operands of matrix units, each rounded once. What they are summed in, role C, is f32.
        if file.path.starts_with("shaders/slot/matrix/") {
            for (number, line) in file.lines().filter(|(_, line)| wgsl(line).contains("coop_mat")) {
                if wgsl(line).contains(", C>") == names(wgsl(line)).any(|(name, _)| name == "f16") {
                    breaches.add(&file, number, format!("`{}`: sums are f32, operands f16", wgsl(line).trim()));
                }
            }
            continue;
        }
        // What roof/fma computes in, to measure the rate of f16. No op has the slot.
        if file.path == "shaders/slot/number/f16.wgsl" {
            continue;
        }
        for (number, line) in file.lines() {
            let code = wgsl(line);
            if !names(code).any(|(name, _)| name == "f16") || code.trim() == "enable f16;" {
                continue;
            }
            let local = names(code).any(|(name, _)| name == "let" || name == "var") && !code.contains("var<storage");
            if !storage || local {
                breaches.add(&file, number, format!("`{}`: narrow types are storage only", code.trim()));
            }
        }
    }
    breaches.none("law 8: f32 accumulates");
}

// ---- names and words

/// What a line at the outer level of a shader declares.
fn declared(line: &str) -> Option<&str> {
    let code = wgsl(line);
    if code.starts_with([' ', '}', '#']) {
        return None;
    }
    let keyword = ["fn", "const", "struct", "alias", "var", "override"];
    let mut words = names(code);
    let found = words.find(|(name, _)| keyword.contains(name))?;
    // var<storage, read_write> name
    let rest = code[found.1.len()..].trim_start();
    let after =
        if found.0 == "var" { rest.split_once('>').map_or(&rest[3..], |(_, r)| r) } else { &rest[found.0.len()..] };
    names(after).next().map(|(name, _)| name)
}

#[test]
fn names_in_shaders_show_their_origin() {
    let mut breaches = Breaches::default();
    let mut checked = 0;
    for file in shaders() {
        let name = file.path.trim_start_matches("shaders/").trim_end_matches(".wgsl");
        let prefix = match name.split_once('/') {
            Some(("lib", name)) => format!("{name}_"),
            Some(("slot", _)) => "slot_".to_owned(),
            _ => continue,
        };
        for (number, line) in file.lines() {
            let Some(declares) = declared(line) else { continue };
            checked += 1;
            if !declares.starts_with(&prefix) {
                breaches.add(&file, number, format!("`{declares}` does not begin with `{prefix}`"));
            }
        }
    }
    assert!(checked > 50, "only {checked} declarations were found");
    breaches.none("names in lib/ begin with the file's name, names in slot/ with slot_");
}

/// The words that have no meaning here, with their plurals.
const NOT_USED: [&str; 11] =
    ["strategy", "strategie", "routine", "backend", "engine", "manager", "context", "helper", "util", "common", "fast"];

/// The words of a name: `RowStats` and `row_stats` are row, stats.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for c in name.chars() {
        if c == '_' || c == '/' || c == '.' || c == '-' || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().unwrap_or_else(|| unreachable!("there is one")).extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

#[test]
fn names_use_our_words() {
    // A name after a dot or :: is used, not given: it may be another library's. These are fields of its structs.
    let others: [&str; 3] = ["backends", "backend_options", "memory_budget_thresholds"];
    let not_used = |name: &str| {
        words(name).iter().any(|w| NOT_USED.contains(&w.trim_end_matches('s')) || NOT_USED.contains(&w.as_str()))
    };
    let mut breaches = Breaches::default();
    for file in files(&["src", "www/src", "xtask/src", "build.rs"], "rs") {
        if not_used(&file.path) {
            breaches.add(&file, 0, "the file's name");
        }
        for line in rust(&file) {
            for (name, before) in names(&line.code) {
                let used = before.ends_with('.') || before.ends_with("::");
                if not_used(name) && !used && !others.contains(&name) {
                    breaches.add(&file, line.number, format!("`{name}`"));
                }
            }
        }
    }
    for file in shaders() {
        if not_used(&file.path) {
            breaches.add(&file, 0, "the file's name");
        }
        for (number, line) in file.lines() {
            for (name, _) in names(wgsl(line)).filter(|(name, _)| not_used(name)) {
                breaches.add(&file, number, format!("`{name}`"));
            }
        }
    }
    breaches.none(&format!("words that are not used in names: {}", NOT_USED.join(", ")));
}

#[test]
fn shaders_say_what_they_are() {
    let mut breaches = Breaches::default();
    for file in shaders() {
        let header: Vec<&str> = file.text.lines().map_while(|l| l.strip_prefix("//")).collect();
        let first = header.first().copied().unwrap_or_default().trim();
        if first.len() < 10 {
            breaches.add(&file, 1, "there is no header");
            continue;
        }
        let name = file.path.trim_start_matches("shaders/").trim_end_matches(".wgsl");
        if name.starts_with("lib/") || name.starts_with("slot/") {
            continue;
        }
        let said: BTreeSet<String> =
            names(&header.join(" ").to_lowercase()).map(|(word, _)| word.trim_end_matches('s').to_owned()).collect();
        let says = |any: &[&str]| any.iter().any(|w| said.contains(*w));
        if !first.starts_with(&format!("{name}: ")) {
            breaches.add(&file, 1, format!("the header does not begin with `{name}: ` and what it computes"));
        }
        if !says(&["good"]) {
            breaches.add(&file, 1, "the header does not say when it is good");
        }
        if !says(&["wrong"]) {
            breaches.add(&file, 1, "the header does not say when it is wrong");
        }
        let waits = file.text.contains("\n#slot reduce") || file.text.contains("workgroupBarrier");
        if !says(&["read", "byte", "move", "cost"]) || waits && !says(&["barrier", "reduction"]) {
            breaches.add(
                &file,
                1,
                "the header does not say what it costs: reads or bytes, and barriers where it has some",
            );
        }
    }
    breaches.none(
        "the header of a shader says what it is, and of a kernel when it is good, when it is wrong, and what it costs",
    );
}

/// A variable that is declared in a loop says its value there. By the specification one without is 0 in every turn; in Chromium 156 it keeps
/// what it had in the turn before.
/// Whoever adds a kernel looks for what there is to fill its slots in two tables.
#[test]
fn fillings_are_in_the_tables() {
    let tables = std::fs::read_to_string(root().join("shaders/README.md")).unwrap_or_default();
    let row = |folder: &str| {
        let is = |line: &&str| {
            let mut cells = line.split('|');
            line.starts_with('|') && cells.nth(1).is_some_and(|cell| cell.contains(&format!("`slot/{folder}`")))
        };
        tables.lines().find(is)
    };
    let mut breaches = Breaches::default();
    for file in files(&["shaders/slot"], "wgsl") {
        let mut parts = file.path.trim_start_matches("shaders/slot/").trim_end_matches(".wgsl").split('/');
        let (folder, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Some(row) = row(folder) else {
            breaches.add(&file, 1, format!("`slot/{folder}` has no row"));
            continue;
        };
        let has = |name: &str| row.contains(&format!("`{name}`"));
        let also = |end: &str| row.contains(&format!("each also `{end}`")) && name.strip_suffix(end).is_some_and(&has);
        if !has(name) && !also("_any") && !also("_quads") {
            breaches.add(&file, 1, format!("the row of `slot/{folder}` does not name `{name}`"));
        }
    }
    breaches.none("fillings that are not in the tables of shaders/README.md");
}

#[test]
fn variables_of_loops_say_their_values() {
    let mut breaches = Breaches::default();
    for file in shaders() {
        // Of each block that is open, whether it is a loop's, or lies in one.
        let (mut blocks, mut loops) = (Vec::new(), false);
        for (number, line) in file.lines() {
            let code = wgsl(line);
            for (at, c) in code.char_indices() {
                match c {
                    '{' => {
                        blocks.push(loops || blocks.last() == Some(&true));
                        loops = false;
                    }
                    '}' => _ = blocks.pop(),
                    _ => {}
                }
                let word = |word: &str| {
                    let rest = code[at..].strip_prefix(word);
                    let before = code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
                    rest.filter(|rest| !before && rest.starts_with([' ', '(']))
                };
                loops |= ["for", "while", "loop"].into_iter().any(|keyword| word(keyword).is_some());
                let statement = word("var").and_then(|rest| rest.split(';').next());
                if blocks.last() == Some(&true) && statement.is_some_and(|s| !s.contains('=')) {
                    breaches.add(&file, number, code.trim());
                }
            }
        }
    }
    breaches.none("a variable that is declared in a loop says its value");
}

#[test]
fn bindings_say_their_shapes() {
    let mut breaches = Breaches::default();
    for file in shaders() {
        for (number, line) in file.lines() {
            let binds = line.contains("var<storage") || (line.starts_with("#slot ") && line.contains("@binding("));
            if binds && !line.contains("// [") {
                breaches.add(&file, number, format!("no shape behind `{line}`"));
            }
        }
    }
    breaches.none("every binding's comment is its shape");
}

#[test]
fn the_library_does_not_panic() {
    let panics = ["unwrap", "expect", "unwrap_err", "expect_err"];
    let macros = ["panic", "todo", "unimplemented", "assert", "assert_eq", "assert_ne"];
    let mut breaches = Breaches::default();
    for file in files(&["src"], "rs") {
        for line in rust(&file) {
            for (name, before) in names(&line.code) {
                let rest = &line.code[before.len()..];
                let after = rest.trim_start()[name.len()..].chars().next();
                let panics =
                    panics.contains(&name) && before.ends_with('.') || macros.contains(&name) && after == Some('!');
                if panics {
                    breaches.add(&file, line.number, format!("`{name}`"));
                }
            }
        }
    }
    breaches.none("no panic on user input: errors are values");
}

#[test]
fn unsafe_is_for_the_dispatcher_and_maps_and_says_why() {
    let mut breaches = Breaches::default();
    for file in files(&["src", "www/src", "xtask/src", "build.rs"], "rs") {
        let text: Vec<&str> = file.text.lines().collect();
        for line in rust(&file) {
            let allows = line.code.contains("allow(unsafe_code");
            if !allows && !names(&line.code).any(|(name, _)| name == "unsafe") {
                continue;
            }
            if !file.path.starts_with("src/dispatch/") && file.path != "src/checkpoint/map.rs" {
                breaches.add(&file, line.number, "outside src/dispatch/ and src/checkpoint/map.rs");
            }
            let above = &text[line.number.saturating_sub(6)..line.number - 1];
            if !allows && !above.iter().any(|l| l.trim_start().starts_with("// SAFETY: ")) {
                breaches.add(&file, line.number, "no `// SAFETY: ` above it");
            }
        }
    }
    breaches.none("unsafe code is in src/dispatch/ and src/checkpoint/map.rs only");
}

#[test]
fn lints_are_on_in_every_crate() {
    for file in files(&["Cargo.toml", "www/Cargo.toml", "xtask/Cargo.toml"], "toml") {
        assert!(
            file.text.contains("[lints]\nworkspace = true"),
            "{}: it does not take the workspace's lints",
            file.path
        );
    }
    let file = &files(&["Cargo.toml"], "toml")[0];
    for lint in ["unsafe_code = \"deny\"", "missing_docs = ", "unwrap_used = ", "panic = ", "todo = "] {
        let found = file.lines().any(|(_, l)| l.starts_with(lint));
        assert!(found, "{}: [workspace.lints] lacks `{lint}`", file.path);
    }
}

#[test]
fn a_default_build_has_fewer_than_80_crates() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-e", "normal", "--prefix", "none", "--package", "gristmill"])
        .current_dir(root())
        .output()
        .unwrap_or_else(|e| panic!("cargo tree: {e}"));
    assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    let said = String::from_utf8_lossy(&tree.stdout).into_owned();
    let crates: BTreeSet<&str> = said.lines().map(|l| l.trim_end_matches(" (*)")).filter(|l| !l.is_empty()).collect();
    assert!(crates.len() > 10, "cargo tree says only {said}");
    assert!(crates.len() < 80, "{} crates in a default native build:\n{crates:#?}", crates.len());
}

/// Were this reader of Rust wrong, the laws would hold of nothing.
#[test]
fn rust_is_taken_apart_rightly() {
    let text = "let a = \"x // \\\" y\"; // gone \"z\"\nlet b = r#\"raw \" text\"#; let c = '\"'; fn f<'a>() {} /* no\nno */ d\n\
                #[cfg(test)]\nmod tests { unwrap }";
    let file = File { path: String::new(), text: text.to_owned() };
    let parts = rust(&file);
    assert_eq!(parts[0].code, "let a = \"\"; ");
    assert_eq!(parts[0].strings, "x // \\\" y\n");
    assert_eq!(parts[1].code, "let b = r#\"\"; let c = ' '; fn f<'a>() {} ");
    assert_eq!(parts[1].strings, "raw \" text\n");
    assert_eq!((parts[2].code.as_str(), parts[2].number, parts.len()), (" d", 3, 4));
}
