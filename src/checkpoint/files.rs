//! The files of a checkpoint, by name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::listing::Entry;

/// The bytes of a file.
pub(super) enum Data<'a> {
    /// Handed over.
    Bytes(Cow<'a, [u8]>),
    /// A memory map.
    #[cfg(not(target_arch = "wasm32"))]
    Map(super::map::Map),
}

impl Data<'_> {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Map(map) => map,
        }
    }
}

/// Where files come from: `None` is one that is not there.
pub(super) trait Source<'a> {
    /// Takes a file.
    fn take(&mut self, name: &str) -> super::Read<Option<Data<'a>>>;

    /// The names of all that are there.
    fn names(&self) -> super::Read<Vec<String>>;
}

/// Files that were handed over.
impl<'a> Source<'a> for BTreeMap<String, Cow<'a, [u8]>> {
    fn take(&mut self, name: &str) -> super::Read<Option<Data<'a>>> {
        Ok(self.remove(name).map(Data::Bytes))
    }

    fn names(&self) -> super::Read<Vec<String>> {
        Ok(self.keys().cloned().collect())
    }
}

/// A directory.
#[cfg(not(target_arch = "wasm32"))]
pub(super) struct Directory(pub std::path::PathBuf);

#[cfg(not(target_arch = "wasm32"))]
impl Source<'static> for Directory {
    fn take(&mut self, name: &str) -> super::Read<Option<Data<'static>>> {
        let path = self.0.join(name);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(super::map::map(&path)?.map_or(Data::Bytes(Cow::Borrowed(&[])), Data::Map)))
    }

    fn names(&self) -> super::Read<Vec<String>> {
        let cannot = |e: std::io::Error| format!("cannot be read: {e}");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(cannot)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry.map_err(cannot)?.file_name().into_string());
            if names.len() > super::FILES_MOST {
                return Err(format!("has more than {} files", super::FILES_MOST));
            }
        }
        Ok(names)
    }
}

/// Those with tensors.
pub(super) struct Files<'a>(pub Vec<(String, Data<'a>)>);

impl Files<'_> {
    pub fn name(&self, at: usize) -> &str {
        self.0.get(at).map_or("", |(name, _)| name)
    }

    /// The bytes of a tensor: its reader has seen to it that they are there.
    pub fn bytes(&self, entry: &Entry) -> &[u8] {
        let all = self.0.get(entry.file).map_or(&[][..], |(_, data)| data.bytes());
        all.get(entry.offset..entry.offset + entry.bytes).unwrap_or(&[])
    }
}
