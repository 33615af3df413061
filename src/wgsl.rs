//! The shader dialect: WGSL with four directives, and nothing else.
//!
//! | directive | meaning |
//! |---|---|
//! | `#import name` | the file `lib/name.wgsl`, once, wherever it is asked for |
//! | `#slot name` or `#slot name @binding(n)` | a hole that the plan fills with a file under `slot/`: every `slot_` in it becomes `name_`, and its bindings are counted on from `n` |
//! | `#const NAME = value` | a number or boolean that the plan may set, spliced as a WGSL `const` |
//! | `#unroll` | the `for` on the next line is written out, its counter a constant: arrays that it indexes stay in registers |
//!
//! A filling may have slots and constants of its own, which carry its name: in the filling of `w`, `#slot slot_field` is the slot
//! `w_field` and `#const slot_RUN = 32u` the constant `w_RUN`. In the filling of `w_field`, `outer_` stands for `w_`.
//!
//! There are no conditionals: what differs is a filling. [`compose`] puts the text together, without the functions that the kernel never
//! calls, and keeps, for every line, where it came from, so that an error of the compiler is told in terms of the file.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::caps::{DeviceKind, Target};
use crate::error::{Error, Result};
use crate::plan::PipelineKey;

mod reached;
mod unroll;

/// The shaders that are inside the library: the path of each under `shaders/` without the ending, and its text. All of them, or none
/// without the feature `embedded-shaders`; then see [`provide`].
pub static SHADERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// A composed shader.
#[derive(Clone, Debug)]
pub struct Composed {
    /// The WGSL.
    pub text: String,
    /// For each line of `text`, the file and the line that it came from.
    origins: Vec<(Cow<'static, str>, u32)>,
}

impl Composed {
    /// The file (under `shaders/`) and line that a line of the composed text, counted from 1, came from.
    pub fn origin(&self, line: u32) -> Option<(&str, u32)> {
        let (file, at) = self.origins.get((line as usize).checked_sub(1)?)?;
        Some((file, *at))
    }

    /// A compiler's complaint about a line of this text as an [`Error::Shader`].
    pub fn error(&self, kernel: &str, line: u32, message: impl Into<String>) -> Error {
        let (file, line) = self.origin(line).unwrap_or((kernel, 0));
        Error::Shader { file: format!("shaders/{file}.wgsl"), line, message: message.into() }
    }
}

/// Shaders that were handed over, by their names in [`SHADERS`].
struct Provided(Vec<(String, String)>);

static PROVIDED: OnceLock<Provided> = OnceLock::new();

/// Hands over all shaders, named as in [`SHADERS`], for a program that is built without the feature `embedded-shaders`: to be done
/// once, before the first op. From then on these are all the shaders that there are, whether others are embedded or not;
/// `GRISTMILL_SHADERS` still comes first.
///
/// # Errors
/// They have been handed over before, or there are none.
pub fn provide(files: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    provide_to(&PROVIDED, files.into_iter().collect())
}

fn provide_to(place: &OnceLock<Provided>, files: Vec<(String, String)>) -> Result<()> {
    let count = files.len();
    let told = |rule| Err(Error::Value { op: "wgsl::provide", name: "files", value: count.to_string(), rule });
    if count == 0 {
        return told("there must be one for each kernel");
    }
    place.set(Provided(files)).or_else(|_| told("shaders can be handed over only once"))
}

impl Provided {
    fn file(&self, name: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
        // In no order: there are too few to search them in any other way.
        let (name, text) = self.0.iter().find(|(n, _)| n == name)?;
        Some((Cow::Borrowed(name), Cow::Borrowed(text)))
    }
}

/// The text of a shader file: with `GRISTMILL_SHADERS=dir` the one on disk, else the one that was handed over, where any were, else the
/// embedded one.
fn file(name: &str) -> Option<(Cow<'static, str>, Cow<'static, str>)> {
    #[cfg(not(target_arch = "wasm32"))]
    if let Ok(dir) = std::env::var("GRISTMILL_SHADERS") {
        let text = std::fs::read_to_string(std::path::Path::new(&dir).join(name).with_extension("wgsl")).ok()?;
        return Some((Cow::Owned(name.to_owned()), Cow::Owned(text)));
    }
    if let Some(provided) = PROVIDED.get() {
        return provided.file(name);
    }
    let at = SHADERS.binary_search_by_key(&name, |(n, _)| n).ok()?;
    Some((Cow::Borrowed(SHADERS[at].0), Cow::Borrowed(SHADERS[at].1)))
}

/// The slots of a kernel and the names of its constants, imports included.
///
/// # Errors
/// A file that is missing or a directive that cannot be read.
pub fn interface(kernel: &str) -> Result<(Vec<String>, Vec<String>)> {
    let (mut slots, mut consts, mut seen, mut todo) = (Vec::new(), Vec::new(), Vec::new(), vec![kernel.to_owned()]);
    while let Some(name) = todo.pop() {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name.clone());
        let (origin, text) = file(&name).ok_or_else(|| missing(kernel, 0, &name))?;
        for (line, text) in (1..).zip(text.lines()) {
            match directive(text).map_err(|m| fault(&origin, line, m))? {
                Some(Directive::Import(import)) => todo.push(format!("lib/{import}")),
                Some(Directive::Slot { name, .. }) => slots.push(name.to_owned()),
                Some(Directive::Const { name, .. }) => consts.push(name.to_owned()),
                None => {}
            }
        }
    }
    Ok((slots, consts))
}

/// What becomes of loops that say `#unroll`. Either way a kernel computes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loops {
    /// They are written out, as GPUs want them: an array that they index has no address in registers.
    Unrolled,
    /// They stay: a processor has a stack for arrays, and its compiler takes three times as long for what is written out.
    Kept,
}

impl Loops {
    /// As a device wants them; with `GRISTMILL_LOOPS=unrolled` in the environment as GPUs do, to test on a processor what GPUs get.
    pub fn of(kind: DeviceKind) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        if std::env::var("GRISTMILL_LOOPS").is_ok_and(|loops| loops == "unrolled") {
            return Self::Unrolled;
        }
        if kind == DeviceKind::Cpu { Self::Kept } else { Self::Unrolled }
    }
}

/// Composes a kernel with its fillings and constants. Of functions the text has those that `main` reaches: a function begins and ends a line of its
/// own, and where it is called its name and the parenthesis stand on one line.
///
/// # Errors
/// [`Error::Shader`] with the file and line: a missing file, a slot without a filling, a filling or
/// constant for which the kernel has no place, a directive that cannot be read.
pub fn compose(key: &PipelineKey, target: Target, loops: Loops) -> Result<Composed> {
    let mut composer =
        Composer { key, target, lines: Vec::new(), enables: Vec::new(), imported: Vec::new(), used: Vec::new() };
    composer.splice(key.kernel, None, key.kernel, 0)?;
    for (name, _) in &key.fillings {
        if !composer.used.contains(name) {
            return Err(fault(key.kernel, 0, format!("there is no `#slot {name}` to fill")));
        }
    }
    for (name, _) in &key.consts {
        if !composer.used.contains(name) {
            return Err(fault(key.kernel, 0, format!("there is no `#const {name}` to set")));
        }
    }
    // `enable` must stand first in WGSL.
    let mut lines = composer.enables;
    lines.extend(reached::reached(composer.lines));
    let (mut text, mut origins) = (String::new(), Vec::new());
    let lines = match loops {
        Loops::Unrolled => unroll::unrolled(&lines).map_err(|((file, line), m)| fault(&file, line, m))?,
        Loops::Kept => lines.into_iter().filter(|(line, _)| line.trim() != unroll::UNROLL).collect(),
    };
    for (line, origin) in lines {
        let _ = writeln!(text, "{line}");
        origins.push(origin);
    }
    Ok(Composed { text, origins })
}

/// How a line begins that says which file comes now.
const MARK: &str = "// ----";

enum Directive<'a> {
    Import(&'a str),
    Slot { name: &'a str, binding: u32 },
    Const { name: &'a str, value: &'a str },
}

fn directive(line: &str) -> std::result::Result<Option<Directive<'_>>, String> {
    let Some(rest) = line.trim_start().strip_prefix('#') else { return Ok(None) };
    let rest = rest.split("//").next().unwrap_or_default().trim();
    let bad = || format!("cannot read the directive `#{rest}`");
    // It stays where it stands, until all constants are there.
    if rest == "unroll" {
        return Ok(None);
    }
    let (word, rest_of) = rest.split_once(' ').ok_or_else(bad)?;
    let rest_of = rest_of.trim();
    match word {
        "import" => Ok(Some(Directive::Import(rest_of))),
        "slot" => {
            let (name, binding) = match rest_of.split_once(' ') {
                None => (rest_of, 0),
                Some((name, at)) => {
                    let at = at.trim().strip_prefix("@binding(").and_then(|n| n.strip_suffix(')'));
                    (name, at.and_then(|n| n.parse().ok()).ok_or_else(bad)?)
                }
            };
            Ok(Some(Directive::Slot { name, binding }))
        }
        "const" => {
            let (name, value) = rest_of.split_once('=').ok_or_else(bad)?;
            Ok(Some(Directive::Const { name: name.trim(), value: value.trim() }))
        }
        _ => Err(bad()),
    }
}

struct Composer<'a> {
    key: &'a PipelineKey,
    target: Target,
    lines: Vec<unroll::Line>,
    enables: Vec<unroll::Line>,
    // A set would be more code than it saves: there are a few of each.
    imported: Vec<String>,
    used: Vec<&'a str>,
}

impl<'a> Composer<'a> {
    #[expect(clippy::ptr_arg, reason = "it is cloned, which costs nothing where it is borrowed")]
    fn line(&mut self, text: &str, origin: &Cow<'static, str>, line: u32) {
        self.lines.push((text.to_owned(), (origin.clone(), line)));
    }

    /// Says which file comes now.
    #[expect(clippy::ptr_arg, reason = "as in `line`")]
    fn mark(&mut self, what: &str, origin: &Cow<'static, str>, line: u32) {
        self.line(&format!("{MARK} {what}"), origin, line);
    }

    /// Splices a file; `slot` is what it fills.
    fn splice(&mut self, name: &str, slot: Option<Slot<'_>>, from: &str, from_line: u32) -> Result<()> {
        let (origin, text) = file(name).ok_or_else(|| missing(from, from_line, name))?;
        for (line, text) in (1..).zip(text.lines()) {
            let trimmed = text.trim_start();
            if trimmed.starts_with("enable ") {
                // naga 30 knows subgroups without the line, and rejects the line.
                let wanted = self.target == Target::Web || !trimmed.starts_with("enable subgroups");
                if wanted && !self.enables.iter().any(|(e, _)| e == trimmed) {
                    self.enables.push((trimmed.to_owned(), (origin.clone(), line)));
                }
                continue;
            }
            match directive(text).map_err(|m| fault(&origin, line, m))? {
                Some(Directive::Import(import)) => {
                    if !self.imported.iter().any(|i| i == import) {
                        self.imported.push(import.to_owned());
                        let path = format!("lib/{import}");
                        self.mark(&format!("{path}.wgsl"), &origin, line);
                        self.splice(&path, None, &origin, line)?;
                        self.mark(&format!("back in {origin}.wgsl"), &origin, line);
                    }
                }
                Some(Directive::Slot { name: inner, binding }) => {
                    let inner = slot.as_ref().map_or(Some(inner.to_owned()), |slot| slot.rename(inner));
                    let of_slot = inner.as_deref().filter(|i| slot.as_ref().is_none_or(|s| s.owns(i)));
                    let Some(slot_name) = of_slot else {
                        return Err(fault(&origin, line, "the name of a filling's slot begins with slot_"));
                    };
                    let Some((key, filling)) = self.key.fillings.iter().find(|(s, _)| *s == slot_name) else {
                        return Err(fault(&origin, line, format!("the plan leaves slot `{slot_name}` empty")));
                    };
                    self.used.push(key);
                    self.mark(&format!("{slot_name}: {filling}.wgsl"), &origin, line);
                    let outer = slot.as_ref().map(|s| s.name);
                    let binding = binding + slot.as_ref().map_or(0, |s| s.binding);
                    self.splice(filling, Some(Slot { name: slot_name, outer, binding }), &origin, line)?;
                    self.mark(&format!("back in {origin}.wgsl"), &origin, line);
                }
                Some(Directive::Const { name, value }) => {
                    let name = slot.as_ref().map_or(Some(name.to_owned()), |slot| slot.rename(name));
                    let Some(name) = name.filter(|n| slot.as_ref().is_none_or(|s| s.owns(n))) else {
                        return Err(fault(&origin, line, "the name of a filling's constant begins with slot_"));
                    };
                    let set = self.key.consts.iter().find(|(c, _)| *c == name);
                    if let Some((key, _)) = set {
                        self.used.push(key);
                    }
                    let value = set.map_or_else(|| value.to_owned(), |(_, v)| v.to_string());
                    self.line(&format!("const {name} = {value};"), &origin, line);
                }
                None => match &slot {
                    Some(slot) => {
                        let text = slot
                            .rename(text)
                            .ok_or_else(|| fault(&origin, line, "cannot read the binding's number"))?;
                        self.line(&text, &origin, line);
                    }
                    None => self.line(text, &origin, line),
                },
            }
        }
        Ok(())
    }
}

/// A slot that is being filled.
struct Slot<'a> {
    name: &'a str,
    /// The slot in whose filling it stands.
    outer: Option<&'a str>,
    /// Its bindings count on from here.
    binding: u32,
}

impl Slot<'_> {
    /// A name of the composed text that is this filling's.
    fn owns(&self, name: &str) -> bool {
        name.strip_prefix(self.name).is_some_and(|rest| rest.starts_with('_'))
    }

    /// A line of the filling as it stands in the composed text: `slot_` → `name_`, `outer_` → the name of the slot around it,
    /// `@binding(k)` → `@binding(k + binding)`.
    fn rename(&self, text: &str) -> Option<String> {
        let mut out = String::with_capacity(text.len() + 16);
        let mut rest = text;
        let mut before = ' ';
        while let Some(c) = rest.chars().next() {
            let in_word = before.is_ascii_alphanumeric() || before == '_';
            let prefixes = [("slot_", Some(self.name)), ("outer_", self.outer)];
            let prefix = prefixes
                .into_iter()
                .filter(|_| !in_word)
                .find_map(|(prefix, name)| Some((name?, rest.strip_prefix(prefix)?)));
            if let Some((name, after)) = prefix {
                out.push_str(name);
                out.push('_');
                rest = after;
                before = '_';
            } else if let Some(after) = rest.strip_prefix("@binding(") {
                let (number, after) = after.split_once(')')?;
                let _ = write!(out, "@binding({})", number.trim().parse::<u32>().ok()? + self.binding);
                rest = after;
                before = ')';
            } else {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                before = c;
            }
        }
        Some(out)
    }
}

fn fault(file: &str, line: u32, message: impl Into<String>) -> Error {
    Error::Shader { file: format!("shaders/{file}.wgsl"), line, message: message.into() }
}

fn missing(from: &str, line: u32, name: &str) -> Error {
    fault(from, line, format!("there is no shaders/{name}.wgsl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filling_is_renamed_at_word_borders() {
        let slot = Slot { name: "keys", outer: None, binding: 3 };
        assert_eq!(
            slot.rename("@group(0) @binding(1) var<storage> slot_data: array<f32>; // my_slot_x").as_deref(),
            Some("@group(0) @binding(4) var<storage> keys_data: array<f32>; // my_slot_x")
        );
        let inner = Slot { name: "keys_field", outer: Some("keys"), binding: 0 };
        assert_eq!(inner.rename("slot_at(outer_data, outer)").as_deref(), Some("keys_field_at(keys_data, outer)"));
    }

    #[test]
    fn directives_are_read_strictly() {
        assert!(matches!(directive("#import half"), Ok(Some(Directive::Import("half")))));
        assert!(matches!(
            directive("#slot x @binding(3) // [M, D]"),
            Ok(Some(Directive::Slot { name: "x", binding: 3 }))
        ));
        assert!(matches!(directive("#const A = 4u"), Ok(Some(Directive::Const { name: "A", value: "4u" }))));
        assert!(directive("#if A").is_err());
        assert!(directive("#slot x @group(1)").is_err());
        assert!(matches!(directive("let a = 1;"), Ok(None)));
    }

    #[test]
    fn shaders_are_handed_over_once() {
        let files = |text: &str| vec![("norm/row".to_owned(), text.to_owned())];
        let place = OnceLock::new();
        let told = provide_to(&place, Vec::new()).expect_err("there is none");
        assert_eq!(told.to_string(), "wgsl::provide: files = 0, but there must be one for each kernel");
        provide_to(&place, files("a")).expect("the first");
        let told = provide_to(&place, files("b")).expect_err("the second");
        assert_eq!(told.to_string(), "wgsl::provide: files = 1, but shaders can be handed over only once");
        let provided = place.get().expect("the first");
        assert_eq!(provided.file("norm/row"), Some(("norm/row".into(), "a".into())));
        assert_eq!(provided.file("norm/naive"), None);
    }

    #[test]
    fn shaders_that_were_handed_over_are_the_ones_that_are_composed() {
        // The other tests of this process see them too: they are the embedded ones, and one more.
        let embedded = SHADERS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        provide(embedded.chain([("test/provided".to_owned(), "#const ROWS = 4u".to_owned())])).expect("the first");
        assert_eq!(interface("test/provided").expect("it is there").1, ["ROWS"]);
        assert_eq!(
            interface("test/other").expect_err("it is not there").to_string(),
            "shaders/test/other.wgsl:0: there is no shaders/test/other.wgsl"
        );
        assert!(provide([("test/other".to_owned(), String::new())]).is_err());
        assert!(interface("test/other").is_err());
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(SHADERS.is_sorted_by_key(|(n, _)| n));
    }
}
