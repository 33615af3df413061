//! Adapters in files: which tensors change which weight, how, and by how much.
//!
//! | file | tensors of the weight `X.weight` | kind | scale |
//! |---|---|---|---|
//! | PEFT, `LORA` | `X.lora_A.weight` `[R,K]`, `X.lora_B.weight` `[N,R]` | `lora` | α/R, or with `use_rslora` α/√R |
//! | with `use_dora` | and `X.lora_magnitude_vector` `[N]`, also with `.weight` after it | `dora` | the same |
//! | of an embedding | `X.lora_embedding_A` `[R,N]`, `X.lora_embedding_B` `[K,R]` | `lora` | the same |
//! | PEFT, `LOHA` | `X.hada_w1_a`, `X.hada_w2_a` `[N,R]`, `X.hada_w1_b`, `X.hada_w2_b` `[R,K]` | `loha` | α/R |
//! | PEFT, `MISS` or `BONE` | `X.miss_block` or `X.bone_block` `[R,N]` | `miss` | 1 |
//! | with `init_weights` = `mini` | the same, `[R,Q]` | `miss_mini` | 1 |
//! | with `init_weights` = `bat` | the same, `[N/R,R,R]` | `bat` | 1 |
//! | GGUF | `X.weight.lora_a` `[R,K]`, `X.weight.lora_b` `[N,R]` | `lora` | α/R, or 1 where α is 0 or missing |
//! | of `token_embd` | `…lora_a` `[N,R]`, `…lora_b` `[K,R]` | `lora` | the same |
//!
//! Names of PEFT begin with `base_model.model.`, which the weight's has not. α and R are `lora_alpha` and `r` of
//! `adapter_config.json`, or what the first of `alpha_pattern` and `rank_pattern` says of which a whole name, or its end from a dot on, is a
//! match: names, or regular expressions (of `regex-lite`: without looking around and without going back).
//!
//! The modules of GPT-2 that are a `Conv1D` (`c_attn`, `q_attn`, `c_proj`, `c_fc`) keep their weights with inputs first, and the adapter is of
//! the weight as it is kept: `(B·A)ᵀ = Aᵀ·Bᵀ`. They do by `fan_in_fan_out`, which PEFT saves as it is right for the module that it came to last;
//! [`Adapters::fit`] goes by the shapes of the base.
//!
//! All other tensors stand for whole ones of the base ([`Adapters::replaced`]): `modules_to_save`, trained biases, norms, and `X.base_layer.weight`,
//! an adapted embedding or head as PEFT saves it beside its factors.
//!
//! Where one of adapter and base is GGUF and the other is not, [`Adapters::fit`] gives the linear layers, the embedding and the head of the Llama family
//! the names of the base: `model.layers.N.self_attn.q_proj.weight` is `blk.N.attn_q.weight`. llama.cpp keeps rows of q and k of a Llama in another
//! order, by which they turn as pairs of neighbours; its adapters of these are not read for the other kind of file.
//!
//! A tensor is borrowed from the file; one that is turned or in blocks is made anew, and takes the memory of its numbers, and no more.
//!
//! Sources: PEFT 0.21 (`tuners/*/layer.py`, `utils/save_and_load.py`, `utils/other.py`), llama.cpp (`llama-adapter.cpp`, `convert_lora_to_gguf.py`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::describe::{columns, shown};
use super::json::{Json, Value};
use super::listing::Entry;
use super::{Checkpoint, Container, Meta, Read, in_file};
use crate::error::{Result, shape_error};
use crate::formats::{Dtype, Packed, Part};
use regex_lite::{Regex, RegexBuilder};

/// The configuration of a PEFT adapter.
pub(super) const CONFIG: &str = "adapter_config.json";
/// What the names of a PEFT adapter begin with.
const PREFIX: &str = "base_model.model.";
/// The part of a name by which PEFT tells a tensor of the base that it has wrapped.
const BASE_LAYER: &str = ".base_layer.";
/// Modules that are a `Conv1D`, in all models that have any.
const CONV1D: [&str; 4] = ["c_attn", "q_attn", "c_proj", "c_fc"];
/// Modules whose rows are a vocabulary, which may be resized: PEFT's list, and the same of GGUF.
const VOCABULARIES: [&str; 4] = ["embed_tokens", "lm_head", "token_embd", "output"];

/// A tensor of such a module.
fn is_of_vocabulary(name: &str) -> bool {
    VOCABULARIES.iter().any(|module| ends_with(module_of(name), module))
}

/// Modules of the Llama family and of its GGUF, in a layer and without one.
const OF_LAYER: [[&str; 2]; 7] = [
    ["self_attn.q_proj", "attn_q"],
    ["self_attn.k_proj", "attn_k"],
    ["self_attn.v_proj", "attn_v"],
    ["self_attn.o_proj", "attn_output"],
    ["mlp.gate_proj", "ffn_gate"],
    ["mlp.up_proj", "ffn_up"],
    ["mlp.down_proj", "ffn_down"],
];
const OF_MODEL: [[&str; 2]; 2] = [["model.embed_tokens", "token_embd"], ["lm_head", "output"]];
/// Architectures of GGUF whose rows of q and k stand as they do elsewhere.
const SAME_ROWS: [&str; 5] = ["qwen2", "qwen3", "gemma", "gemma2", "gemma3"];
/// What a compiled regular expression may take, and how many a configuration may have.
const REGEX_MOST: usize = 1 << 15;
const REGEXES_MOST: usize = 64;
/// The names that an error lists.
const LISTED_MOST: usize = 12;

/// How an adapter changes its weight, as `tests/golden/FORMAT.md` defines it ("Adapter kinds").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// `w0 + scale·B·A`: `lora_A`, `lora_B`.
    Lora,
    /// The same, and then every row of a given length: and `lora_magnitude_vector`.
    Dora,
    /// `w0[n,k] + block[k mod R, n]`: `miss_block`.
    Miss,
    /// `w0[n,k] + block[k mod R, n mod Q]`: `miss_block`.
    MissMini,
    /// In blocks, `w0 + w0·block + block`: `miss_block`.
    Bat,
    /// `w0 + scale·(w1_a·w1_b) ∘ (w2_a·w2_b)`: `hada_w1_a`, `hada_w1_b`, `hada_w2_a`, `hada_w2_b`.
    Loha,
}

impl AdapterKind {
    /// As in `attrs.kind` of a golden case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Dora => "dora",
            Self::Miss => "miss",
            Self::MissMini => "miss_mini",
            Self::Bat => "bat",
            Self::Loha => "loha",
        }
    }

    fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Lora => &["lora_A", "lora_B"],
            Self::Dora => &["lora_A", "lora_B", "lora_magnitude_vector"],
            Self::Miss | Self::MissMini | Self::Bat => &["miss_block"],
            Self::Loha => &["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"],
        }
    }
}

/// A tensor of the file, and what it is to the adapter.
#[derive(Clone, Copy, Debug)]
struct Piece<'c> {
    role: &'static str,
    entry: &'c Entry,
    /// The adapter wants it the other way round.
    transposed: bool,
}

impl Piece<'_> {
    /// The shape that the adapter has it in.
    fn shape(&self) -> Vec<usize> {
        let mut shape = self.entry.shape.to_vec();
        if self.transposed {
            shape.reverse();
        }
        shape
    }
}

/// The change of one weight.
#[derive(Clone, Debug)]
pub struct Adapter<'c> {
    /// The weight's name in the base, which [`Checkpoint::weight`] takes.
    pub weight: String,
    /// How it is changed.
    pub kind: AdapterKind,
    /// What the update is multiplied by.
    pub scale: f64,
    /// The rank.
    pub rank: usize,
    checkpoint: &'c Checkpoint<'c>,
    pieces: Vec<Piece<'c>>,
}

impl<'c> Adapter<'c> {
    /// The roles of its tensors, by `tests/golden/FORMAT.md`.
    pub fn roles(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.pieces.iter().map(|piece| piece.role)
    }

    fn piece(&self, role: &str) -> Option<&Piece<'c>> {
        self.pieces.iter().find(|piece| piece.role == role)
    }

    /// How a tensor is stored in the file, and the shape that the adapter has it in.
    pub fn stored(&self, role: &str) -> Option<(&'static str, Vec<usize>)> {
        self.piece(role).map(|piece| (piece.entry.stored.name, piece.shape()))
    }

    /// A tensor by its role: f32, f16 or bf16, borrowed from the file. One that the file has the other way round, or in blocks (then f32), is
    /// made anew.
    ///
    /// # Errors
    /// The adapter has none of this role.
    pub fn tensor(&self, role: &str) -> Result<Part<'c>> {
        let Some(piece) = self.piece(role) else {
            let have = self.kind.roles().join(", ");
            return Err(self.wrong(format!("{role:.80} is no tensor of {}, which has {have}", self.kind.name())));
        };
        let bytes = self.checkpoint.files.bytes(piece.entry);
        let (dtype, bytes) = match (piece.entry.stored.dtype, &*piece.entry.shape) {
            (Some(dtype), _) => (dtype, Cow::Borrowed(bytes)),
            (None, &[n, k]) => {
                let Some(format) = piece.entry.stored.format else {
                    return Err(self.wrong(format!("{role} is stored as {}", piece.entry.stored.name)));
                };
                let blocks = Part::new(Dtype::U8, &[n, bytes.len() / n.max(1)], bytes);
                let packed = Packed::new(format, n, k, [("blocks".to_owned(), blocks)].into())?;
                let (mut numbers, mut row) = (Vec::with_capacity(n * k * 4), vec![0.0; k]);
                for n in 0..n {
                    packed.decode_row(n, &mut row)?;
                    numbers.extend(row.iter().flat_map(|v| v.to_le_bytes()));
                }
                (Dtype::F32, Cow::Owned(numbers))
            }
            (None, _) => return Err(self.wrong(format!("{role} has no rows of blocks"))),
        };
        let bytes = match *piece.entry.shape {
            [rows, columns] if piece.transposed => Cow::Owned(transposed(&bytes, [rows, columns], dtype.bytes())),
            _ => bytes,
        };
        Ok(Part { dtype, shape: piece.shape(), bytes })
    }

    fn wrong(&self, why: String) -> crate::Error {
        let file = self.pieces.first().map_or("", |piece| self.checkpoint.files.name(piece.entry.file));
        in_file(file, format!("the adapter of {}: {why}", shown(&self.weight)))
    }

    /// N and K as far as the adapter says them.
    fn sides(&self) -> [Option<usize>; 2] {
        let side = |role: &str, axis: usize| self.piece(role).and_then(|piece| piece.shape().get(axis).copied());
        match self.kind {
            AdapterKind::Lora | AdapterKind::Dora => [side("lora_B", 0), side("lora_A", 1)],
            AdapterKind::Loha => [side("hada_w1_a", 0), side("hada_w1_b", 1)],
            AdapterKind::Miss => [side("miss_block", 1), None],
            AdapterKind::MissMini => [None, None],
            AdapterKind::Bat => [side("miss_block", 0).map(|blocks| blocks.saturating_mul(self.rank)), None],
        }
    }

    /// What follows from the shapes of its tensors alone.
    fn check(&self) -> Read<()> {
        for piece in &self.pieces {
            let (entry, shape) = (piece.entry, piece.shape());
            let named = |why: String| Err(format!("tensor {}: {why}", entry.name));
            let dense = matches!(entry.stored.dtype, Some(Dtype::F32 | Dtype::F16 | Dtype::Bf16));
            if !dense && entry.stored.format.is_none() {
                return named(format!("it is stored as {}, but must be f32, f16 or bf16", entry.stored.name));
            }
            let dims = match (self.kind, piece.role) {
                (AdapterKind::Bat, _) => 3,
                (_, "lora_magnitude_vector") => 1,
                _ => 2,
            };
            if shape.len() != dims || shape.contains(&0) {
                return named(format!(
                    "it has shape {shape:?}, but {} of {} has {dims} dimensions, none 0",
                    piece.role,
                    self.kind.name()
                ));
            }
            let rank = match piece.role {
                "lora_A" | "hada_w1_b" | "hada_w2_b" => shape[0],
                "lora_B" | "hada_w1_a" | "hada_w2_a" => shape[1],
                "miss_block" if self.kind == AdapterKind::Bat => {
                    if shape[1] != shape[2] {
                        return named(format!("its blocks are {} x {}, but must be square", shape[1], shape[2]));
                    }
                    shape[1]
                }
                "miss_block" => shape[0],
                _ => self.rank,
            };
            if rank != self.rank {
                return named(format!("it has rank {rank}, but the rank is {}", self.rank));
            }
        }
        let [n, k] = self.sides();
        let same = [("lora_magnitude_vector", 0, n), ("hada_w2_a", 0, n), ("hada_w2_b", 1, k)];
        for (role, axis, want) in same {
            let (Some(piece), Some(want)) = (self.piece(role), want) else { continue };
            let have = piece.shape()[axis];
            if have != want {
                return Err(format!("tensor {}: it is of {have}, but the others are of {want}", piece.entry.name));
            }
        }
        Ok(())
    }

    /// The same adapter of the weight with inputs and outputs exchanged; none where it is no plain LoRA.
    fn turned(&self) -> Option<Self> {
        let turn = |piece: &Piece<'c>| {
            let role = if piece.role == "lora_A" { "lora_B" } else { "lora_A" };
            Piece { role, transposed: !piece.transposed, ..*piece }
        };
        (self.kind == AdapterKind::Lora)
            .then(|| Self { pieces: self.pieces.iter().rev().map(turn).collect(), ..self.clone() })
    }

    /// What is wrong between it and a weight of this shape.
    fn misfit(&self, [n, k]: [usize; 2]) -> Option<String> {
        let [own_n, own_k] = self.sides();
        if own_n.is_some_and(|own| own != n) || own_k.is_some_and(|own| own != k) {
            let side = |side: Option<usize>| side.map_or("any".to_owned(), |side| side.to_string());
            return Some(format!("it is for [{}, {}], but the weight is [{n}, {k}]", side(own_n), side(own_k)));
        }
        let divides = |name: &str, side: usize, by: usize| {
            (!side.is_multiple_of(by)).then(|| format!("{by} does not divide {name} = {side} of the weight"))
        };
        match self.kind {
            AdapterKind::Bat => divides("N", n, self.rank).or_else(|| divides("K", k, self.rank)),
            AdapterKind::MissMini => divides("N", n, self.piece("miss_block").map_or(1, |piece| piece.shape()[1])),
            _ => None,
        }
    }
}

/// Rows become columns; elements of so many bytes.
fn transposed(bytes: &[u8], [rows, columns]: [usize; 2], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            let at = (row * columns + column) * size;
            out.extend_from_slice(&bytes[at..at + size]);
        }
    }
    out
}

/// A tensor in the place of a whole one of the base.
#[derive(Clone, Debug)]
struct Whole<'c> {
    /// That of the base.
    name: Cow<'c, str>,
    entry: &'c Entry,
    /// PEFT saved it as the base's own.
    own: bool,
}

/// The adapters of a file, by the weights that they change.
#[derive(Clone, Debug)]
pub struct Adapters<'c> {
    checkpoint: &'c Checkpoint<'c>,
    list: Vec<Adapter<'c>>,
    replaced: Vec<Whole<'c>>,
}

impl<'c> Adapters<'c> {
    fn new(checkpoint: &'c Checkpoint<'c>, mut list: Vec<Adapter<'c>>, replaced: Vec<Whole<'c>>) -> Self {
        list.sort_unstable_by(|a, b| a.weight.cmp(&b.weight));
        Self { checkpoint, list, replaced }
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Adapter<'c>> {
        self.list.iter()
    }

    /// That of a weight.
    pub fn get(&self, weight: &str) -> Option<&Adapter<'c>> {
        let at = self.list.binary_search_by(|adapter| adapter.weight.as_str().cmp(weight)).ok()?;
        self.list.get(at)
    }

    /// Tensors that take the place of the base's as a whole (`modules_to_save`, biases, norms, a head or an embedding as it was when it was
    /// adapted): the base's name, and the name that [`Checkpoint::tensor`] of this file takes. After [`Adapters::fit`] those that are the
    /// base's own are not among them.
    pub fn replaced(&self) -> impl Iterator<Item = (&str, &'c str)> + '_ {
        self.replaced.iter().map(|whole| (&*whole.name, &*whole.entry.name))
    }

    /// The same, for a caller who puts them into the model; there are none left then. Before, [`Dispatcher::load_adapters`](crate::Dispatcher::load_adapters)
    /// takes no adapters that have any: what it gives would be another model than the file's.
    #[must_use = "without these tensors it is another model"]
    pub fn take_replaced(&mut self) -> Vec<(String, &'c str)> {
        self.replaced.drain(..).map(|whole| (whole.name.into_owned(), &*whole.entry.name)).collect()
    }

    /// Nothing is replaced that nobody has taken.
    pub(crate) fn none_replaced(&self, op: &'static str) -> Result<()> {
        if self.replaced.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.replaced.iter().map(|whole| &*whole.name).collect();
        let (count, names) = (names.len(), listed(&names));
        let how = "hold the file against the base by fit, and take what is left by take_replaced";
        Err(shape_error!(op, "{count} tensors of the file stand for whole ones of the base, {names}: {how}"))
    }

    /// Holds every adapter against the weight of its name: [`Adapter::weight`] can then be asked of the base, whatever format it is in. Replaced
    /// tensors are held against those of their names, and forgotten where they are the base's own: those with the same shape and numbers, and
    /// of a weight in packed codes, which cannot have the same numbers, what PEFT says to be the base's. Names become those of the base where
    /// one of the two files is GGUF.
    ///
    /// # Errors
    /// Names that match nothing in the base, listed; an adapter of another shape than its weight; a replaced tensor of another shape than
    /// the base's, but for the rows of a vocabulary; of a GGUF whose rows of q and k stand in another order, adapters of these from elsewhere.
    /// Nothing has changed then.
    pub fn fit(&mut self, base: &Checkpoint<'_>) -> Result<()> {
        let wrong = |why: String| Err(in_file(self.checkpoint.files.name(0), why));
        let mut fitted = self.clone();
        fitted.rename(base).or_else(wrong)?;
        let Self { mut list, mut replaced, .. } = fitted;
        let mut missing: Vec<&str> = Vec::new();
        for Whole { name, entry, own } in &replaced {
            match base.tensor_shape(name) {
                // A head that the base ties to its embedding is in the file alone.
                None if *own || (is_of_vocabulary(name) && base.names().any(is_of_vocabulary)) => {}
                None => missing.push(name),
                Some(shape) => {
                    let same = if is_of_vocabulary(name) {
                        entry.shape.get(1..) == shape.get(1..)
                    } else {
                        *entry.shape == *shape
                    };
                    if !same {
                        let (name, have) = (shown(name), &entry.shape);
                        return wrong(format!("{name} is {have:?}, but that of the base is {shape:?}"));
                    }
                }
            }
        }
        let shape = |adapter: &Adapter<'_>| {
            let whole = replaced.iter().find(|whole| whole.name == adapter.weight);
            match whole.map(|whole| &*whole.entry.shape) {
                Some(&[n, k]) => Some([n, k]),
                _ => base.weight_shape(&adapter.weight),
            }
        };
        // Of a model all are so or none.
        let conv1d = |adapter: &Adapter<'_>| CONV1D.iter().any(|module| ends_with(module_of(&adapter.weight), module));
        let fits_turned = |adapter: &Adapter<'c>| {
            shape(adapter).is_some_and(|shape| {
                adapter.misfit(shape).is_some() && adapter.turned().is_some_and(|turned| turned.misfit(shape).is_none())
            })
        };
        if list.iter().any(|adapter| conv1d(adapter) && fits_turned(adapter)) {
            for adapter in list.iter_mut().filter(|adapter| conv1d(adapter)) {
                if let Some(turned) = adapter.turned() {
                    *adapter = turned;
                }
            }
        }
        for adapter in &list {
            match shape(adapter).map(|shape| adapter.misfit(shape)) {
                None => missing.push(adapter.weight.as_str()),
                Some(Some(why)) => return wrong(format!("the adapter of {}: {why}", shown(&adapter.weight))),
                Some(None) => {}
            }
        }
        if !missing.is_empty() {
            let all = self.list.len() + self.replaced.len();
            return wrong(format!(
                "{} of {all} names match no weight of the base: {}",
                missing.len(),
                listed(&missing)
            ));
        }
        let files = &self.checkpoint.files;
        replaced.retain(|Whole { name, entry, own }| {
            let same = match base.at(name).map(|at| &base.entries[at]) {
                Some(other) if other.stored.dtype.is_some() => {
                    entry.shape == other.shape
                        && same_numbers(
                            (entry.stored.dtype, files.bytes(entry)),
                            (other.stored.dtype, base.files.bytes(other)),
                        )
                }
                _ => *own && base.tensor_shape(name).is_some_and(|shape| *shape == *entry.shape),
            };
            !same
        });
        *self = Self::new(self.checkpoint, list, replaced);
        Ok(())
    }

    /// Gives what the base does not have by its name the name that a base of its kind has it by.
    fn rename(&mut self, base: &Checkpoint<'_>) -> Read<()> {
        let (to, gguf) = match (self.checkpoint.container, base.container) {
            (Container::Safetensors, Container::Gguf(_)) => (1, base),
            (Container::Gguf(_), Container::Safetensors) => (0, self.checkpoint),
            _ => return Ok(()),
        };
        let architecture = gguf.metadata.iter().find(|(name, _)| name == "general.architecture");
        let same_rows = matches!(architecture, Some((_, Meta::Text(text))) if SAME_ROWS.contains(&text.as_str()));
        let renamed = |name: &str| base.tensor_shape(name).is_none().then(|| other_name(name, to)).flatten();
        for adapter in &mut self.list {
            let Some(name) = renamed(&adapter.weight) else { continue };
            let turns = |name: &str| OF_LAYER[..2].iter().any(|names| ends_with(module_of(name), names[to]));
            if turns(&name) && !same_rows {
                let architecture =
                    architecture.map_or("an unknown architecture".into(), |(_, value)| value.to_string());
                return Err(format!(
                    "{} is {name} of the base, and rows of q and k of {architecture} stand in another order in GGUF",
                    shown(&adapter.weight)
                ));
            }
            adapter.weight = name;
        }
        for whole in &mut self.replaced {
            if let Some(name) = renamed(&whole.name) {
                whole.name = name.into();
            }
        }
        Ok(())
    }
}

/// The name of a weight in GGUF (1) by that in other files (0), or the other way round.
fn other_name(name: &str, to: usize) -> Option<String> {
    let module = name.strip_suffix(".weight")?;
    if let Some(names) = OF_MODEL.iter().find(|names| names[1 - to] == module) {
        return Some(format!("{}.weight", names[to]));
    }
    let layers = ["model.layers.", "blk."];
    let (layer, rest) = module.strip_prefix(layers[1 - to])?.split_once('.')?;
    let names = OF_LAYER.iter().find(|names| names[1 - to] == rest)?;
    Some(format!("{}{layer}.{}.weight", layers[to], names[to]))
}

/// `X` of `X.weight`.
fn module_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(module, _)| module)
}

/// Whether these are the same numbers, in whatever storage of floats; of others, the same bytes.
fn same_numbers((a_type, a): (Option<Dtype>, &[u8]), (b_type, b): (Option<Dtype>, &[u8])) -> bool {
    fn numbers(dtype: Option<Dtype>, bytes: &[u8]) -> Option<Box<dyn Iterator<Item = f32> + '_>> {
        let words = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        Some(match dtype? {
            Dtype::F32 => Box::new(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            Dtype::F16 => Box::new(words.map(|b| half::f16::from_le_bytes(b).to_f32())),
            Dtype::Bf16 => Box::new(words.map(|b| half::bf16::from_le_bytes(b).to_f32())),
            _ => return None,
        })
    }
    if a_type == b_type {
        return a == b;
    }
    numbers(a_type, a).zip(numbers(b_type, b)).is_some_and(|(a, b)| a.eq(b))
}

/// The first of many names.
fn listed(names: &[&str]) -> String {
    let mut text = names.iter().take(LISTED_MOST).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED_MOST {
        text.push_str(&format!(", and {} more", names.len() - LISTED_MOST));
    }
    text
}

/// Prints as a table.
impl fmt::Display for Adapters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.list.iter().map(|adapter| {
            let [n, k] = adapter.sides().map(|side| side.map_or("any".to_owned(), |side| side.to_string()));
            let mut stored: Vec<&str> = adapter.pieces.iter().map(|piece| piece.entry.stored.name).collect();
            stored.dedup();
            [
                shown(&adapter.weight),
                adapter.kind.name().to_owned(),
                adapter.rank.to_string(),
                format!("{:.6}", adapter.scale),
                format!("{n} x {k}"),
                stored.join(" "),
            ]
        });
        let title = ["adapter of", "kind", "rank", "scale", "shape", "stored"];
        columns(f, title, [false, false, true, true, true, false], rows)?;
        for (name, _) in self.replaced() {
            writeln!(f, "{}  whole", shown(name))?;
        }
        let bytes: u64 =
            self.list.iter().flat_map(|adapter| &adapter.pieces).map(|piece| piece.entry.bytes as u64).sum();
        writeln!(f, "{} adapters of {bytes} bytes; {} tensors as a whole", self.list.len(), self.replaced.len())
    }
}

/// The method of PEFT.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Lora,
    Loha,
    /// MiSS, and Bone as it was called.
    Miss(AdapterKind),
}

/// Which names of modules are meant.
#[derive(Debug)]
enum Pattern {
    /// Those that end so.
    End(String),
    /// Those that are so.
    Whole(String),
    Regex(Regex),
}

/// What `adapter_config.json` says.
#[derive(Debug)]
pub(super) struct Config {
    method: Method,
    rank: usize,
    alpha: f64,
    dora: bool,
    rslora: bool,
    /// The base keeps the weights of its `Conv1D` with inputs first.
    inputs_first: bool,
    ranks: Vec<(Pattern, usize)>,
    alphas: Vec<(Pattern, f64)>,
    /// Ends of the names of modules; none where a regular expression says them.
    targets: Option<Vec<String>>,
}

/// Initialisations that take something away from the base, which is not in the file.
const CHANGED_BASES: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];
/// What makes something else of the tensors of a LoRA.
const OTHER_LORA: [&str; 7] = [
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "layer_replication",
    "kasa_config",
    "arrow_config",
    "target_parameters",
];

impl Config {
    /// Reads it.
    pub fn of_file(text: &[u8]) -> Read<Self> {
        let mut json = Json::of_config(text);
        let mut members: BTreeMap<String, Value> = BTreeMap::new();
        let (mut ranks, mut alphas) = (Vec::new(), Vec::new());
        json.object(|json, name| {
            let read = match name.as_ref() {
                // The first of several that match is meant, so that their order counts.
                "rank_pattern" => pattern(json, &mut ranks),
                "alpha_pattern" => pattern(json, &mut alphas),
                _ => json.value().and_then(|value| match members.insert(name.to_string(), value) {
                    None => Ok(()),
                    Some(_) => Err("it occurs twice".into()),
                }),
            };
            read.map_err(|why| format!("{name:.80}: {why}"))
        })?;
        json.end()?;
        let value = Value::Map(members);
        let own = |name: &str| -> Read<f64> {
            value.number(name)?.ok_or_else(|| format!("{name} is missing, by which the adapter is scaled"))
        };
        let kind = value.name("peft_type")?.ok_or("peft_type is missing, which names the method")?;
        let (method, alpha) = match kind {
            "LORA" => (Method::Lora, own("lora_alpha")?),
            "LOHA" => {
                // ABBA has two ranks, by both of which it is scaled. `use_khatri_rao` changes how PEFT computes, not what.
                if let Some(Value::Text(init)) = value.get("init_weights") {
                    return Err(format!("init_weights = {init:.40}, but of a LOHA true and false are read"));
                }
                (Method::Loha, own("alpha")?)
            }
            "MISS" | "BONE" => {
                let kind = match value.get("init_weights") {
                    Some(Value::Text(text)) if text == "bat" => AdapterKind::Bat,
                    Some(Value::Text(text)) if text == "mini" => AdapterKind::MissMini,
                    None | Some(Value::Flag(_)) => AdapterKind::Miss,
                    Some(other) => return Err(format!("init_weights = {other}, but true, bat and mini are read")),
                };
                (Method::Miss(kind), 1.0)
            }
            other => return Err(format!("peft_type = {other:.40}, but LORA, LOHA, MISS and BONE are read")),
        };
        let flag = |name: &str| Ok::<_, String>(method == Method::Lora && value.flag(name)?.unwrap_or(false));
        if method == Method::Lora {
            for name in OTHER_LORA {
                let empty = |v: &Value| matches!(v, Value::List(list) if list.is_empty());
                let set = value.get(name).filter(|v| !matches!(v, Value::Flag(false)) && !empty(v));
                if let Some(set) = set {
                    return Err(format!("{name} = {set}, which is not read: it makes other than α·B·A of the tensors"));
                }
            }
            if let Some(Value::Text(init)) = value.get("init_lora_weights") {
                if CHANGED_BASES.iter().any(|name| init.to_ascii_lowercase().starts_with(name)) {
                    return Err(format!(
                        "init_lora_weights = {init:.40} is of a base that was changed; save it as a LoRA of the base itself"
                    ));
                }
            }
        }
        let rank = value.whole("r")?.ok_or("r is missing, which is the rank")?;
        let rank = usize::try_from(rank).ok().filter(|r| *r > 0).ok_or_else(|| format!("r = {rank} is no rank"))?;
        let targets = match value.get("target_modules") {
            Some(Value::List(list)) => {
                let names = list.iter().map(|name| match name {
                    Value::Text(text) => Ok(text.clone()),
                    other => Err(format!("target_modules has {other}, which is not a name")),
                });
                Some(names.collect::<Read<Vec<_>>>()?)
            }
            _ => None,
        };
        let mut whole = Vec::new();
        for (name, r) in ranks {
            if r.fract() != 0.0 || !(1.0..=9e15).contains(&r) {
                return Err(format!("rank_pattern: {name} = {r} is no rank"));
            }
            whole.push((name, r as usize));
        }
        Ok(Self {
            rank,
            alpha,
            dora: flag("use_dora")?,
            rslora: flag("use_rslora")?,
            inputs_first: flag("fan_in_fan_out")?,
            ranks: whole,
            alphas,
            targets,
            method,
        })
    }

    /// What a name of a module is to the adapter.
    fn kind(&self) -> AdapterKind {
        match self.method {
            Method::Lora if self.dora => AdapterKind::Dora,
            Method::Lora => AdapterKind::Lora,
            Method::Loha => AdapterKind::Loha,
            Method::Miss(kind) => kind,
        }
    }

    fn rank_of(&self, module: &str) -> usize {
        first_match(&self.ranks, module).unwrap_or(self.rank)
    }

    fn scale_of(&self, module: &str) -> f64 {
        let rank = self.rank_of(module) as f64;
        let alpha = first_match(&self.alphas, module).unwrap_or(self.alpha);
        match self.method {
            Method::Miss(_) => 1.0,
            Method::Lora if self.rslora => alpha / rank.sqrt(),
            Method::Lora | Method::Loha => alpha / rank,
        }
    }

    /// The role of a tensor of a module by the end of its name, and whether it is the other way round.
    fn role(&self, module: &str, end: &str) -> Option<(&'static str, bool)> {
        let names: &[(&str, &'static str, bool)] = match self.method {
            // (B·A)ᵀ is Aᵀ·Bᵀ.
            Method::Lora if self.inputs_first && CONV1D.iter().any(|conv1d| ends_with(module, conv1d)) => &[
                ("lora_A.weight", "lora_B", true),
                ("lora_B.weight", "lora_A", true),
                ("lora_magnitude_vector", "lora_magnitude_vector", false),
                ("lora_magnitude_vector.weight", "lora_magnitude_vector", false),
            ],
            Method::Lora => &[
                ("lora_A.weight", "lora_A", false),
                ("lora_B.weight", "lora_B", false),
                ("lora_embedding_A", "lora_B", true),
                ("lora_embedding_B", "lora_A", true),
                ("lora_magnitude_vector", "lora_magnitude_vector", false),
                ("lora_magnitude_vector.weight", "lora_magnitude_vector", false),
            ],
            Method::Loha => &[
                ("hada_w1_a", "hada_w1_a", false),
                ("hada_w1_b", "hada_w1_b", false),
                ("hada_w2_a", "hada_w2_a", false),
                ("hada_w2_b", "hada_w2_b", false),
            ],
            Method::Miss(_) => &[("miss_block", "miss_block", false), ("bone_block", "miss_block", false)],
        };
        names.iter().find(|(name, ..)| *name == end).map(|(_, role, turned)| (*role, *turned))
    }
}

impl Pattern {
    fn new(name: &str) -> Read<Self> {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
        let text = name.replace("\\.", ".");
        let (whole, text) = text.strip_prefix('^').map_or((false, &*text), |text| (true, text));
        if text.chars().all(plain) {
            return Ok(if whole { Self::Whole(text.to_owned()) } else { Self::End(text.to_owned()) });
        }
        let all = format!("^(.*\\.)?({name})$");
        let regex = RegexBuilder::new(&all).size_limit(REGEX_MOST).build();
        regex.map(Self::Regex).map_err(|why| format!("{name:.80} is no regular expression that is read: {why}"))
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            Self::End(end) => ends_with(module, end),
            Self::Whole(all) => module == all,
            Self::Regex(regex) => regex.is_match(module),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::End(text) | Self::Whole(text)) = self else { return write!(f, "a regular expression") };
        write!(f, "{text:.80}")
    }
}

/// `{"name": number, …}` in its order.
fn pattern(json: &mut Json<'_>, list: &mut Vec<(Pattern, f64)>) -> Read<()> {
    match json.clone().value()? {
        Value::Map(_) => {}
        Value::Null => return json.skip(),
        other => return Err(format!("it is {other}, but must be names and numbers")),
    }
    let mut regexes = 0;
    json.object(|json, name| {
        let pattern = Pattern::new(&name)?;
        regexes += usize::from(matches!(pattern, Pattern::Regex(_)));
        if regexes > REGEXES_MOST {
            return Err(format!("it has more than {REGEXES_MOST} regular expressions"));
        }
        match json.value()? {
            Value::Number(v) if v.is_finite() => list.push((pattern, v)),
            other => return Err(format!("{name:.80} = {other}, but must be a finite number")),
        }
        Ok(())
    })
}

/// The value of the first pattern that matches a module.
fn first_match<T: Copy>(list: &[(Pattern, T)], module: &str) -> Option<T> {
    list.iter().find(|(pattern, _)| pattern.matches(module)).map(|(_, value)| *value)
}

/// A module's name ends with these whole parts.
fn ends_with(module: &str, end: &str) -> bool {
    module.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The pieces of each weight, by its name.
type Found<'c> = BTreeMap<&'c str, Vec<Piece<'c>>>;

fn add<'c>(found: &mut Found<'c>, weight: &'c str, piece: Piece<'c>) -> Read<()> {
    let pieces = found.entry(weight).or_default();
    if let Some(other) = pieces.iter().find(|other| other.role == piece.role) {
        return Err(format!("tensors {} and {} are the same of one adapter", other.entry.name, piece.entry.name));
    }
    pieces.push(piece);
    Ok(())
}

/// The adapters of a checkpoint that is one.
pub(super) fn read<'c>(checkpoint: &'c Checkpoint<'c>) -> Result<Adapters<'c>> {
    let file = checkpoint.files.name(0);
    let read = match (checkpoint.container, &checkpoint.adapter) {
        (Container::Gguf(_), _) => of_gguf(checkpoint),
        (Container::Safetensors, Some(config)) => of_peft(checkpoint, config),
        (Container::Safetensors, None) => Err(format!("has no {CONFIG} beside it, without which it is no adapter")),
    };
    let adapters = read.map_err(|why| in_file(file, why))?;
    if adapters.list.is_empty() {
        return Err(in_file(file, "has no adapter".into()));
    }
    for adapter in &adapters.list {
        adapter.check().map_err(|why| in_file(file, why))?;
    }
    Ok(adapters)
}

fn of_peft<'c>(checkpoint: &'c Checkpoint<'c>, config: &Config) -> Read<Adapters<'c>> {
    let (mut found, mut replaced, mut unknown) = (Found::new(), Vec::new(), Vec::new());
    for entry in &checkpoint.entries {
        let name = entry.name.as_ref();
        let module = name.strip_prefix(PREFIX).unwrap_or(name);
        // Ends are of one part or of two.
        let mut dots = module.rmatch_indices('.').map(|(at, _)| at).take(2);
        let parts = dots.find_map(|at| config.role(&module[..at], &module[at + 1..]).map(|role| (&module[..at], role)));
        let Some((module, (role, transposed))) = parts else {
            let own = module.contains(BASE_LAYER);
            let whole = own || [".weight", ".bias"].iter().any(|end| module.ends_with(end));
            let other =
                ["lora_", "hada_", "miss_", "bone_", "lokr_", "magnitude"].iter().any(|part| module.contains(part));
            if whole && !other {
                let name = if own { module.replace(BASE_LAYER, ".").into() } else { module.into() };
                replaced.push(Whole { name, entry, own });
            } else {
                unknown.push(name);
            }
            continue;
        };
        if let Some(targets) = config.targets.as_ref().filter(|t| !t.iter().any(|end| ends_with(module, end))) {
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            return Err(format!("tensor {name}: {module} is none of target_modules, which are {}", listed(&targets)));
        }
        add(&mut found, module, Piece { role, entry, transposed })?;
    }
    if !unknown.is_empty() {
        let kind = config.kind().name();
        return Err(format!("{} tensors are no part of a {kind} adapter: {}", unknown.len(), listed(&unknown)));
    }
    let list = found.into_iter().map(|(module, pieces)| {
        let mut kind = config.kind();
        if kind == AdapterKind::Lora && pieces.iter().any(|piece| piece.role == "lora_magnitude_vector") {
            kind = AdapterKind::Dora;
        }
        if kind == AdapterKind::Dora && pieces.iter().any(|piece| piece.transposed) {
            return Err(format!(
                "{module}: DoRA of a weight with inputs first has norms of columns, which are not read"
            ));
        }
        let (rank, scale) = (config.rank_of(module), config.scale_of(module));
        complete(checkpoint, format!("{module}.weight"), module, kind, scale, Some(rank), pieces)
    });
    Ok(Adapters::new(checkpoint, list.collect::<Read<_>>()?, replaced))
}

fn complete<'c>(
    checkpoint: &'c Checkpoint<'c>,
    weight: String,
    module: &str,
    kind: AdapterKind,
    scale: f64,
    rank: Option<usize>,
    mut pieces: Vec<Piece<'c>>,
) -> Read<Adapter<'c>> {
    for role in kind.roles() {
        if !pieces.iter().any(|piece| piece.role == *role) {
            let have = pieces.iter().map(|piece| piece.entry.name.as_ref()).collect::<Vec<_>>();
            return Err(format!("{module}: {role} of {} is missing; there is {}", kind.name(), listed(&have)));
        }
    }
    // In the order of their roles.
    pieces.sort_unstable_by_key(|piece| kind.roles().iter().position(|role| *role == piece.role));
    let own = || pieces.first().and_then(|piece| piece.shape().first().copied()).unwrap_or(0);
    let rank = rank.unwrap_or_else(own);
    if !scale.is_finite() {
        return Err(format!("{module}: its scale is {scale}, but must be finite"));
    }
    Ok(Adapter { weight, kind, scale, rank, checkpoint, pieces })
}

fn of_gguf<'c>(checkpoint: &'c Checkpoint<'c>) -> Read<Adapters<'c>> {
    let meta = |name: &str| checkpoint.metadata.iter().find(|(have, _)| have == name).map(|(_, value)| value);
    for (name, want) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        match meta(name) {
            Some(Meta::Text(have)) if have == want => {}
            Some(other) => return Err(format!("{name} = {other}, but that of an adapter is {want}")),
            None => return Err(format!("has no {name}, which of an adapter is {want}")),
        }
    }
    if let Some(tokens) = meta("adapter.alora.invocation_tokens") {
        return Err(format!("adapter.alora.invocation_tokens = {tokens}: an adapter of some tokens alone is not read"));
    }
    let alpha = match meta("adapter.lora.alpha") {
        Some(Meta::Float(v)) if v.is_finite() => *v,
        Some(other) => return Err(format!("adapter.lora.alpha = {other}, but must be a finite number")),
        None => 0.0,
    };
    let (mut found, mut replaced, mut unknown) = (Found::new(), Vec::new(), Vec::new());
    for entry in &checkpoint.entries {
        let name = entry.name.as_ref();
        let (weight, is_a) = match (name.strip_suffix(".lora_a"), name.strip_suffix(".lora_b")) {
            (Some(weight), _) => (weight, true),
            (_, Some(weight)) => (weight, false),
            _ if name.ends_with("_norm.weight") => {
                replaced.push(Whole { name: name.into(), entry, own: false });
                continue;
            }
            _ => {
                unknown.push(name);
                continue;
            }
        };
        // Rows of an embedding are looked up: both factors stand the other way round, and a is the one with the rows.
        let embedding = weight.ends_with("token_embd.weight");
        let role = if is_a == embedding { "lora_B" } else { "lora_A" };
        add(&mut found, weight, Piece { role, entry, transposed: embedding && !is_a })?;
    }
    if !unknown.is_empty() {
        return Err(format!("{} tensors are no part of a lora adapter: {}", unknown.len(), listed(&unknown)));
    }
    let list = found.into_iter().map(|(weight, pieces)| {
        let mut adapter = complete(checkpoint, weight.to_owned(), weight, AdapterKind::Lora, 1.0, None, pieces)?;
        if alpha != 0.0 {
            adapter.scale = alpha / adapter.rank.max(1) as f64;
        }
        Ok(adapter)
    });
    Ok(Adapters::new(checkpoint, list.collect::<Read<_>>()?, replaced))
}
