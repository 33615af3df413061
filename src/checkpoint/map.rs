//! Files as memory maps.

use std::fs::File;
use std::path::Path;

use super::Read;

/// A file in memory, as far as it is looked at.
pub(super) type Map = memmap2::Mmap;

/// Maps a file. An empty one cannot be mapped everywhere, and is none.
#[allow(unsafe_code, reason = "a map is of memory that others may write")]
pub(super) fn map(path: &Path) -> Read<Option<Map>> {
    let cannot = |e: std::io::Error| format!("cannot be read: {e}");
    // Asked before it is opened: that of a pipe would wait for who writes it.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a file".into());
    }
    let file = File::open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    if about.len() == 0 {
        return Ok(None);
    }
    // SAFETY: the map is only read, as bytes, and every offset is checked against its length. Whoever shortens or writes the file
    // meanwhile breaks this, as they would any program that maps it: `Checkpoint::open` says so.
    let map = unsafe { memmap2::MmapOptions::new().map(&file) };
    map.map(Some).map_err(cannot)
}
