//! Checkpoints: the files that models come in, read as weights in our formats.
//!
//! ```
//! use gristmill::checkpoint::{Checkpoint, describe};
//!
//! // A file of one weight [2, 4] of f32; `Checkpoint::open(path)` maps a file or a directory instead.
//! let header = r#"{"w.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]}}"#;
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend(header.bytes().chain([0; 32]));
//!
//! let checkpoint = Checkpoint::from_bytes(file)?;
//! let weight = checkpoint.weight("w.weight")?; // a `Packed`, which borrows from the file
//! assert_eq!((weight.n(), weight.k(), weight.format().name()), (2, 4, "dense"));
//! println!("{}", describe(&checkpoint));
//! # Ok::<(), gristmill::Error>(())
//! ```
//!
//! Read are GGUF (versions 2 and 3), in one file or split into parts (`NAME-00001-of-00003.gguf`), safetensors, and safetensors in shards
//! (`model.safetensors.index.json`); which it is, the file itself says. A weight of safetensors is often several tensors: `groups.rs` has
//! the table. It is called what it would be called if it were not quantised: `X.weight`, also where the file has `X.qweight`. `config.json` beside the file decides what
//! names leave open. What is not recognised is a plain tensor, which [`Checkpoint::tensor`] gives as it is.
//!
//! An adapter is a checkpoint too: [`Checkpoint::adapters`] says which tensors change which weight, how and by how much.
//!
//! # What is promised of any file
//!
//! A file is judged when it is opened: a header that is cut off or too long, an offset past the end, overlapping tensors, a shape that
//! overflows, an unknown type, a name that is there twice, a group that contradicts its configuration are errors, which name the file, the
//! tensor, the rule and the value. Nothing panics. Whatever the size of the file, less than 64 MiB of host memory are used above the
//! map; names and shapes of more tensors than fit there (about 150,000) are an error too.
//!
//! Of the bits of the weights themselves nothing is read, but indices (`g_idx`) and what is said in tensors (the states of bitsandbytes).

mod adapter;
mod describe;
mod files;
mod gguf;
mod groups;
mod json;
mod listing;
#[cfg(not(target_arch = "wasm32"))]
mod map;
mod safetensors;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use adapter::{Adapter, AdapterKind, Adapters};
pub use describe::{Description, Kind, Row, describe};

use crate::error::{Error, Result, shape_error};
use crate::formats::{Dtype, Format, Packed, Part};
use files::{Data, Files, Source};
use groups::{Config, Group};
use listing::{Entry, Listing};

/// What went wrong; the file is named by the caller.
type Read<T> = std::result::Result<T, String>;

/// The name that errors of a weight say.
const OP: &str = "checkpoint";
/// The most files of a directory or an index.
const FILES_MOST: usize = 1 << 12;
/// The longest configuration.
const CONFIG_MOST: usize = 1 << 20;
/// The model in one file, and an adapter.
const MODEL: &str = "model.safetensors";
const ADAPTER: &str = "adapter_model.safetensors";
/// The index of shards, and what all such names end with.
const INDEX: &str = "model.safetensors.index.json";
const INDEX_END: &str = ".safetensors.index.json";
/// A text of metadata that is longer is not kept.
const TEXT_MOST: usize = 1 << 16;

/// What a file says of itself, by name.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    /// A whole number that is not negative.
    Unsigned(u64),
    /// A whole number.
    Signed(i64),
    /// A number.
    Float(f64),
    /// A switch.
    Flag(bool),
    /// A text.
    Text(String),
    /// A text too long to be kept, of so many bytes.
    LongText(usize),
    /// An array of so many values, which are not kept.
    Array(u64),
}

impl Meta {
    fn text(text: &str) -> Self {
        if text.len() > TEXT_MOST { Self::LongText(text.len()) } else { Self::Text(text.to_owned()) }
    }
}

impl std::fmt::Display for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned(v) => write!(f, "{v}"),
            Self::Signed(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v}"),
            Self::Flag(v) => write!(f, "{v}"),
            Self::Text(v) => f.write_str(&describe::shown(v)),
            Self::LongText(v) => write!(f, "a text of {v} bytes"),
            Self::Array(v) => write!(f, "[{v} values]"),
        }
    }
}

/// A tensor as it stands in its file: row-major, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor<'c> {
    /// How it is stored, in lower case: `bf16`, `f8_e4m3`, `q4_k`.
    pub stored: &'static str,
    /// The same, where it is plain numbers that the formats know.
    pub dtype: Option<Dtype>,
    /// Its shape. Of a GGUF tensor, whose file has it the other way round, the length of a row is the last as well.
    pub shape: &'c [usize],
    /// Its bytes.
    pub bytes: &'c [u8],
}

/// The kind of file.
#[derive(Clone, Copy, Debug)]
enum Container {
    Gguf(u32),
    Safetensors,
}

/// A checkpoint: tensors by name, in one file or several, and which of them are a weight.
pub struct Checkpoint<'a> {
    container: Container,
    files: Files<'a>,
    /// By name.
    entries: Vec<Entry>,
    /// By name: weights of several tensors.
    groups: Vec<Group>,
    metadata: Vec<(String, Meta)>,
    config: Option<Config>,
    /// `adapter_config.json`.
    adapter: Option<adapter::Config>,
}

impl std::fmt::Debug for Checkpoint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checkpoint({}, {} tensors)", self.container(), self.entries.len())
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Checkpoint<'static> {
    /// Maps a GGUF or safetensors file, an index of shards, or a directory that has one of these. Of a GGUF file in parts any part may be
    /// named; the others are beside it.
    ///
    /// In a directory the index comes first, then `model.safetensors`, then `adapter_model.safetensors`, then the only file of either
    /// kind, where the parts of one file count as one. `config.json` beside safetensors is read, or `quantize_config.json`, or
    /// `quant_config.json`; and `adapter_config.json` beside one file that is not `model.safetensors`.
    ///
    /// The files must not be written or shortened while the checkpoint lives: a program that reads a map of a file that has become
    /// shorter is ended by the system.
    ///
    /// # Errors
    /// A file cannot be read, or is not what this module promises of it. The error names the file.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |detail: &str| Error::File { file: path.display().to_string(), detail: detail.to_owned() };
        if path.is_dir() {
            return Self::read(None, &mut files::Directory(path.to_owned()))
                .map_err(|(name, why)| in_file(path.join(name).display(), why));
        }
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| wrong("has no name in UTF-8"))?;
        let directory = path.parent().unwrap_or(std::path::Path::new(""));
        Self::read(Some(name), &mut files::Directory(directory.to_owned()))
            .map_err(|(name, why)| in_file(directory.join(name).display(), why))
    }
}

fn in_file(file: impl std::fmt::Display, detail: String) -> Error {
    Error::File { file: file.to_string(), detail }
}

/// An error of a file.
type Wrong = (String, String);

/// The first file by name, and where an index sends us.
struct Main<'a> {
    name: String,
    data: Data<'a>,
}

impl<'a> Checkpoint<'a> {
    /// Reads one GGUF or safetensors file that is in memory.
    ///
    /// # Errors
    /// The file is not what this module promises of it.
    pub fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self> {
        Self::from_files([("checkpoint".to_owned(), bytes.into())].into())
    }

    /// Reads files that are in memory, by name, as [`Checkpoint::open`] reads a directory.
    ///
    /// # Errors
    /// None is a checkpoint, or one is not what this module promises of it.
    pub fn from_files(mut files: BTreeMap<String, Cow<'a, [u8]>>) -> Result<Self> {
        let only = if files.len() == 1 { files.keys().next().cloned() } else { None };
        let given = files.len();
        let named = |name: String| if name.is_empty() { format!("the {given} files") } else { name };
        Self::read(only.as_deref(), &mut files).map_err(|(name, why)| in_file(named(name), why))
    }

    fn read(name: Option<&str>, source: &mut dyn Source<'a>) -> std::result::Result<Self, Wrong> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => choose(source).map_err(|why| (String::new(), why))?,
        };
        let taken = source.take(&name).map_err(|why| (name.clone(), why))?;
        let Some(data) = taken else { return Err((name, "is not there".into())) };
        let main = Main { name, data };
        if main.name.ends_with(INDEX_END) {
            return Self::sharded(main, source);
        }
        let mut list = Listing::default();
        let bytes = main.data.bytes();
        let read = if gguf::is(bytes) {
            gguf::read(bytes, 0, &mut list).map(Container::Gguf)
        } else if safetensors::is(bytes) {
            safetensors::read(bytes, 0, &mut list).map(|()| Container::Safetensors)
        } else {
            Err(format!("is neither GGUF nor safetensors, by its first {} bytes", bytes.len().min(9)))
        };
        let of_main = |why: String| (main.name.clone(), why);
        let container = read.map_err(of_main)?;
        if let Container::Gguf(_) = container {
            if let Some(part) = gguf::part(&list.metadata).map_err(of_main)? {
                return Self::split(main, part, source);
            }
        }
        Self::finish(container, Files(vec![(main.name, main.data)]), list, source)
    }

    fn sharded(index: Main<'a>, source: &mut dyn Source<'a>) -> std::result::Result<Self, Wrong> {
        let of_index = |why: String| (index.name.clone(), why);
        let mut list = Listing::default();
        let mut files = Files(Vec::new());
        for name in safetensors::shards(index.data.bytes()).map_err(of_index)? {
            let taken = source.take(&name).map_err(|why| (name.clone(), why))?;
            let Some(data) = taken else { return Err(of_index(format!("names the file {name}, which is not there"))) };
            safetensors::read(data.bytes(), files.0.len(), &mut list).map_err(|why| (name.clone(), why))?;
            files.0.push((name, data));
        }
        // Every file has its own: those of the first speak for all.
        let mut seen = std::collections::BTreeSet::new();
        list.metadata.retain(|(name, _)| seen.insert(name.clone()));
        let checkpoint = Self::finish(Container::Safetensors, files, list, source)?;

        let mut named = vec![false; checkpoint.entries.len()];
        safetensors::each_of_index(index.data.bytes(), |tensor, file| {
            let Some(at) = checkpoint.at(tensor) else {
                return Err(format!("tensor {tensor:.200} is to be in {file}, but is in no file"));
            };
            let have = checkpoint.files.name(checkpoint.entries[at].file);
            if have != file {
                return Err(format!("tensor {tensor:.200} is to be in {file}, but is in {have}"));
            }
            if std::mem::replace(&mut named[at], true) {
                return Err(format!("tensor {tensor:.200} is there twice"));
            }
            Ok(())
        })
        .map_err(of_index)?;
        Ok(checkpoint)
    }

    /// A GGUF file in parts, one of which is this.
    fn split(main: Main<'a>, part: [usize; 2], source: &mut dyn Source<'a>) -> std::result::Result<Self, Wrong> {
        let of_main = |why: String| (main.name.clone(), why);
        let names = gguf::names_of_parts(&main.name, part).map_err(of_main)?;
        let [at, count] = part;
        let mut others = Vec::new();
        for name in names.iter().filter(|name| **name != main.name) {
            let taken = source.take(name).map_err(|why| (name.clone(), why))?;
            others
                .push(taken.ok_or_else(|| of_main(format!("is part {} of {count}, but {name} is not there", at + 1)))?);
        }
        others.insert(at, main.data);

        let mut list = Listing::default();
        let (mut container, mut described) = (Container::Safetensors, 0);
        let files = Files(names.into_iter().zip(others).collect());
        for (no, (name, data)) in files.0.iter().enumerate() {
            let wrong = |why: String| (name.clone(), why);
            let version = gguf::read(data.bytes(), no, &mut list).map_err(wrong)?;
            let said = gguf::part(&list.metadata[described..]).map_err(wrong)?;
            if said != Some([no, count]) {
                let said = said.map_or("whole".to_owned(), |[no, count]| format!("part {} of {count}", no + 1));
                return Err(wrong(format!("says that it is {said}, but its name says part {} of {count}", no + 1)));
            }
            if no == 0 {
                (container, described) = (Container::Gguf(version), list.metadata.len());
            }
            // The first speaks for all.
            list.metadata.truncate(described);
        }
        if let Some(said) = gguf::tensors_of_parts(&list.metadata).filter(|said| *said != list.len() as u64) {
            let why = format!("split.tensors.count = {said}, but its {count} parts have {}", list.len());
            return Err((files.name(0).to_owned(), why));
        }
        Self::finish(container, files, list, source)
    }

    fn finish(
        container: Container,
        files: Files<'a>,
        mut list: Listing,
        source: &mut dyn Source<'a>,
    ) -> std::result::Result<Self, Wrong> {
        list.sort().map_err(|(name, [a, b])| {
            let also = if a == b { String::new() } else { format!(", also in {}", files.name(b)) };
            (files.name(a).to_owned(), format!("tensor {name} is there twice{also}"))
        })?;
        let Listing { mut entries, metadata, .. } = list;
        let (mut groups, mut config, mut adapter) = (Vec::new(), None, None);
        if let Container::Safetensors = container {
            if files.0.len() == 1 && files.name(0) != MODEL {
                adapter = adapter_configuration(source)?;
            }
            config = configuration(source)?;
            groups = groups::recognise(&files, &entries, config.as_ref())
                .map_err(|(file, why)| (files.name(file).to_owned(), why))?;
        }
        for at in groups.iter().flat_map(Group::entries) {
            entries[at].grouped = true;
        }
        Ok(Self { container, files, entries, groups, metadata, config, adapter })
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.name.as_ref().cmp(name)).ok()
    }

    fn container(&self) -> String {
        match (self.container, self.files.0.len()) {
            (Container::Gguf(version), 1) => format!("GGUF version {version}"),
            (Container::Gguf(version), files) => format!("GGUF version {version} in {files} files"),
            (Container::Safetensors, 1) => "safetensors".to_owned(),
            (Container::Safetensors, files) => format!("safetensors in {files} files"),
        }
    }

    /// The names of all tensors of the files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_ref())
    }

    /// The names of all weights: what [`Checkpoint::weight`] takes.
    pub fn weights(&self) -> impl Iterator<Item = &str> {
        let plain = self.entries.iter().filter(|entry| entry.plain_weight().is_some());
        let plain = plain.filter(|entry| !entry.grouped).map(|entry| entry.name.as_ref());
        self.groups.iter().map(|group| group.name.as_ref()).chain(plain)
    }

    /// What the file says of itself: GGUF's metadata, or safetensors' `__metadata__`.
    pub fn metadata(&self) -> &[(String, Meta)] {
        &self.metadata
    }

    /// A tensor of the files, as it is.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        let Some(at) = self.at(name) else {
            return Err(shape_error!(OP, "there is no tensor {}", describe::shown(name)));
        };
        let entry = &self.entries[at];
        let bytes = self.files.bytes(entry);
        Ok(Tensor { stored: entry.stored.name, dtype: entry.stored.dtype, shape: &entry.shape, bytes })
    }

    /// True of an adapter, by what stands beside it or what it says of itself.
    pub fn is_adapter(&self) -> bool {
        let of_type = |(name, value): &(String, Meta)| name == "general.type" && *value == Meta::text("adapter");
        self.adapter.is_some() || (matches!(self.container, Container::Gguf(_)) && self.metadata.iter().any(of_type))
    }

    /// The adapters of a file that has nothing else: PEFT's (`adapter_model.safetensors` and `adapter_config.json`) or a LoRA of GGUF.
    /// [`Adapters::fit`] holds them against the checkpoint that they change.
    ///
    /// # Errors
    /// It is not an adapter; a kind, a tensor or a configuration that is not read; tensors that are missing, or whose shapes contradict
    /// each other or the configuration. The error names file, tensor, rule and value.
    pub fn adapters(&self) -> Result<Adapters<'_>> {
        adapter::read(self)
    }

    /// The shape of a weight.
    fn weight_shape(&self, name: &str) -> Option<[usize; 2]> {
        if let Some(group) = self.group(name) {
            return Some([group.n, group.k]);
        }
        let entry = &self.entries[self.at(name)?];
        match *entry.shape {
            [n, k] if entry.plain_weight().is_some() => Some([n, k]),
            _ => None,
        }
    }

    /// The shape of a weight, or of a tensor that is none.
    fn tensor_shape(&self, name: &str) -> Option<Cow<'_, [usize]>> {
        match self.group(name) {
            Some(group) => Some(vec![group.n, group.k].into()),
            None => Some((&*self.entries[self.at(name)?].shape).into()),
        }
    }

    fn group(&self, name: &str) -> Option<&Group> {
        let at = self.groups.binary_search_by(|group| group.name.as_ref().cmp(name)).ok()?;
        self.groups.get(at)
    }

    /// A weight, in the format that the file has it in. It borrows from the map; only scales in another float type than the format's are
    /// converted.
    ///
    /// # Errors
    /// There is none of this name; it has not two dimensions; no format reads how it is stored.
    pub fn weight(&self, name: &str) -> Result<Packed<'_>> {
        if let Some(group) = self.group(name) {
            return group.pack(&self.files, &self.entries);
        }
        let tensor = self.tensor(name)?;
        let shown = describe::shown(name);
        let &[n, k] = tensor.shape else {
            return Err(shape_error!(OP, "{shown} has shape {:?}, but a weight has two dimensions", tensor.shape));
        };
        let format = self.at(name).and_then(|at| self.entries[at].plain_weight());
        let Some(format) = format else {
            return Err(shape_error!(OP, "{shown} is stored as {}, which no format reads", tensor.stored));
        };
        self.own_scale(name, format)?;
        let (role, part) = match tensor.dtype {
            Some(dtype) => ("w", Part::new(dtype, tensor.shape, tensor.bytes)),
            None => ("blocks", Part::new(Dtype::U8, &[n, tensor.bytes.len() / n.max(1)], tensor.bytes)),
        };
        Packed::new(format, n, k, [(role.to_owned(), part)].into())
    }

    /// An NVFP4 tensor of GGUF may have a scale for all of it, `X.scale` beside `X.weight`, which its blocks do not have.
    fn own_scale(&self, name: &str, format: Format) -> Result<()> {
        let base = name.strip_suffix("weight").filter(|_| format == Format::Nvfp4);
        let Some(scale) = base.and_then(|base| self.tensor(&format!("{base}scale")).ok()) else { return Ok(()) };
        if scale.bytes.chunks(4).all(|b| *b == 1.0f32.to_le_bytes()) {
            return Ok(());
        }
        Err(shape_error!(
            OP,
            "{} has a scale of its own beside it, which {format} does not have",
            describe::shown(name)
        ))
    }
}

impl Entry {
    /// The format of a tensor that is a weight alone.
    fn plain_weight(&self) -> Option<Format> {
        let dense = matches!(self.stored.dtype, Some(Dtype::F32 | Dtype::F16 | Dtype::Bf16));
        let format = if dense { Some(Format::Dense) } else { self.stored.format };
        format.filter(|_| matches!(*self.shape, [n, k] if n > 0 && k > 0))
    }
}

/// The file of a directory that is the checkpoint.
fn choose(source: &dyn Source<'_>) -> Read<String> {
    let mut names = source.names()?;
    for first in [INDEX, MODEL, ADAPTER] {
        if names.iter().any(|name| name == first) {
            return Ok(first.to_owned());
        }
    }
    names.retain(|name| [".safetensors", ".gguf", INDEX_END].iter().any(|end| name.ends_with(end)));
    let later = |name: &String| gguf::first_of_parts(name).is_some_and(|first| names.contains(&first));
    let mut names: Vec<_> = names.iter().filter(|name| !later(name)).cloned().collect();
    names.sort_unstable();
    // Shards beside their index are not meant one by one.
    let index = names.iter().find(|name| name.ends_with(INDEX_END));
    match (index, &names[..]) {
        (Some(index), _) if names.iter().filter(|name| name.ends_with(INDEX_END)).count() == 1 => Ok(index.clone()),
        (_, [one]) => Ok(one.clone()),
        (_, []) => Err("has no .safetensors and no .gguf file".into()),
        (_, [a, b, ..]) => Err(format!("has {} checkpoints, {a} and {b} among them: name one", names.len())),
    }
}

/// What stands beside an adapter.
fn adapter_configuration(source: &mut dyn Source<'_>) -> std::result::Result<Option<adapter::Config>, Wrong> {
    let wrong = |why: String| (adapter::CONFIG.to_owned(), why);
    let Some(data) = source.take(adapter::CONFIG).map_err(wrong)? else { return Ok(None) };
    bounded(data.bytes()).and_then(adapter::Config::of_file).map(Some).map_err(wrong)
}

/// A configuration that is not too long.
fn bounded(text: &[u8]) -> Read<&[u8]> {
    if text.len() > CONFIG_MOST {
        return Err(format!("has {} bytes, but at most {CONFIG_MOST} are read", text.len()));
    }
    Ok(text)
}

/// What stands beside the safetensors of how they were quantised.
fn configuration(source: &mut dyn Source<'_>) -> std::result::Result<Option<Config>, Wrong> {
    for (name, place, method) in [
        ("config.json", "quantization_config", ""),
        ("quantize_config.json", "quantize_config.json", "gptq"),
        ("quant_config.json", "quant_config.json", "awq"),
    ] {
        let wrong = |why: String| (name.to_owned(), why);
        let Some(data) = source.take(name).map_err(wrong)? else { continue };
        let text = bounded(data.bytes()).map_err(wrong)?;
        let config = if method.is_empty() {
            Config::of_model(text).map_err(wrong)?
        } else {
            Some(Config::of_file(place, method, text).map_err(wrong)?)
        };
        if config.is_some() {
            return Ok(config);
        }
    }
    Ok(None)
}
