//! The tensors of a checkpoint while they are found: names, shapes and places, in bounded memory.

use super::{Meta, Read};
use crate::formats::{Dtype, Format};

/// What the names, shapes and places may take: 28 MiB are some 150,000 tensors, as the largest published models have them.
const HELD_MOST: usize = 28 << 20;
/// The longest name of a tensor.
const NAME_MOST: usize = 1024;
/// What all metadata may take.
const META_MOST: usize = 4 << 20;
/// What one piece of metadata adds to its text.
const META_EACH: usize = 96;

/// A way of storing: so many elements in so many bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Stored {
    pub name: &'static str,
    pub elements: usize,
    pub bytes: usize,
    /// Plain numbers that the formats know.
    pub dtype: Option<Dtype>,
    /// Blocks that are a format.
    pub format: Option<Format>,
}

impl Stored {
    pub const fn number(name: &'static str, bytes: usize, dtype: Option<Dtype>) -> Self {
        Self { name, elements: 1, bytes, dtype, format: None }
    }

    /// The bytes of a tensor of this shape, whose rows are the last dimension.
    pub fn bytes_of(&self, shape: &[usize]) -> Read<usize> {
        let elements = shape.iter().try_fold(1usize, |all, d| all.checked_mul(*d));
        let Some(elements) = elements else {
            return Err(format!("shape {shape:?} has more elements than this machine can count"));
        };
        if !elements.is_multiple_of(self.elements) {
            return Err(format!(
                "the {elements} elements are not a multiple of {}, as {} needs",
                self.elements, self.name
            ));
        }
        let bytes = (elements / self.elements).checked_mul(self.bytes);
        bytes.ok_or_else(|| format!("shape {shape:?} of {} has more bytes than this machine can count", self.name))
    }
}

/// A tensor of a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: Box<str>,
    pub shape: Box<[usize]>,
    pub stored: &'static Stored,
    pub file: usize,
    /// From the beginning of the file.
    pub offset: usize,
    pub bytes: usize,
    /// It is part of a weight of several.
    pub grouped: bool,
}

/// What has been found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub entries: Vec<Entry>,
    pub metadata: Vec<(String, Meta)>,
    held: usize,
    described: usize,
}

impl Listing {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// One more tensor.
    pub fn add(
        &mut self,
        name: &str,
        file: usize,
        offset: usize,
        stored: &'static Stored,
        shape: Vec<usize>,
    ) -> Read<()> {
        if name.is_empty() || name.len() > NAME_MOST {
            return Err(format!("a name of {} bytes, but there must be 1 to {NAME_MOST}", name.len()));
        }
        let bytes = stored.bytes_of(&shape)?;
        self.held += size_of::<Entry>() + 32 + name.len() + shape.len() * size_of::<usize>();
        if self.held > HELD_MOST {
            return Err(format!(
                "after {} tensors, their names and shapes take more than {} MiB of memory",
                self.entries.len(),
                HELD_MOST >> 20
            ));
        }
        self.entries.push(Entry {
            name: name.into(),
            shape: shape.into(),
            stored,
            file,
            offset,
            bytes,
            grouped: false,
        });
        Ok(())
    }

    /// A piece of metadata.
    pub fn describe(&mut self, name: &str, value: Meta) -> Read<()> {
        let text = if let Meta::Text(text) = &value { text.len() } else { 0 };
        self.described = self.described.saturating_add(META_EACH + name.len() + text);
        if self.described > META_MOST {
            return Err(format!("its metadata takes more than {} MiB of memory", META_MOST >> 20));
        }
        self.metadata.push((name.to_owned(), value));
        Ok(())
    }

    /// The tensors from the one of this number on, sorted by where they begin. Of an empty one and its neighbour, the empty one is first.
    pub fn by_offset(&mut self, first: usize) -> impl Iterator<Item = &mut Entry> {
        let entries = &mut self.entries[first..];
        entries.sort_unstable_by_key(|entry| (entry.offset, entry.bytes));
        entries.iter_mut()
    }

    /// Sorts by name. An error names the tensor that is there twice, and its two files.
    pub fn sort(&mut self) -> Result<(), (Box<str>, [usize; 2])> {
        self.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let twice = self.entries.windows(2).find(|pair| pair[0].name == pair[1].name);
        twice.map_or(Ok(()), |pair| Err((pair[0].name.clone(), [pair[0].file, pair[1].file])))
    }
}
