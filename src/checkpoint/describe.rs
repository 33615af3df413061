//! What a checkpoint holds, as a table.

use std::fmt;

use super::{Checkpoint, Meta};
use crate::formats::awq::AwqVersion;
use crate::formats::{Format, Group};

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A weight that [`Checkpoint::weight`] gives.
    Weight(Format),
    /// A tensor of numbers, or of blocks that no format here reads: the name of how it is stored.
    Plain(&'static str),
}

/// A weight, or a tensor that is part of none.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'c> {
    /// The name, as [`Checkpoint::weight`] or [`Checkpoint::tensor`] takes it.
    pub name: &'c str,
    /// What is stored.
    pub kind: Kind,
    /// How the first of its tensors in the file is stored, as [`Tensor::stored`](super::Tensor::stored).
    pub stored: &'static str,
    /// `[N,K]` of a weight; else the tensor's shape.
    pub shape: Vec<usize>,
    /// The bytes of all its tensors.
    pub bytes: u64,
    /// Its bits for each number: scales and all else included.
    pub bits: f64,
    /// The tensors of the file that make it up.
    pub tensors: Vec<&'c str>,
}

/// What a checkpoint holds. Prints as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Description<'c> {
    /// The kind of file, its version, the number of files.
    pub container: String,
    /// The rule by which the tensors are grouped, if there is a configuration.
    pub quantization: Option<&'c str>,
    /// What the file says of itself.
    pub metadata: &'c [(String, Meta)],
    /// Weights and tensors, in the order of the file.
    pub rows: Vec<Row<'c>>,
}

/// Lists what a checkpoint holds.
///
/// ```
/// use gristmill::checkpoint::{Checkpoint, describe};
///
/// let header = r#"{"norm.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let mut file = (header.len() as u64).to_le_bytes().to_vec();
/// file.extend(header.bytes().chain([0; 8]));
/// let checkpoint = Checkpoint::from_bytes(file)?;
/// assert!(describe(&checkpoint).to_string().contains("norm.weight  f32"));
/// # Ok::<(), gristmill::Error>(())
/// ```
pub fn describe<'c>(checkpoint: &'c Checkpoint<'_>) -> Description<'c> {
    let entries = &checkpoint.entries;
    let mut rows = Vec::new();
    // The place of a row is that of its first tensor.
    let place = |at: usize| (entries[at].file, entries[at].offset, at);
    let mut add = |name: &'c str, kind: Kind, shape: Vec<usize>, parts: &mut dyn Iterator<Item = usize>| {
        let (mut tensors, mut bytes, mut first) = (Vec::new(), 0u64, None);
        for at in parts {
            tensors.push(entries[at].name.as_ref());
            bytes += entries[at].bytes as u64;
            let place = place(at);
            first = Some(first.map_or(place, |first: (usize, usize, usize)| first.min(place)));
        }
        let first = first.unwrap_or_default();
        let stored = entries.get(first.2).map_or("", |entry| entry.stored.name);
        rows.push((first, Row { name, kind, stored, bits: bits(&shape, bytes), shape, bytes, tensors }));
    };
    for group in &checkpoint.groups {
        add(&group.name, Kind::Weight(group.format), vec![group.n, group.k], &mut group.entries());
    }
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.grouped) {
        let kind = entry.plain_weight().map_or(Kind::Plain(entry.stored.name), Kind::Weight);
        add(&entry.name, kind, entry.shape.to_vec(), &mut std::iter::once(at));
    }
    rows.sort_unstable_by_key(|(place, _)| *place);
    Description {
        container: checkpoint.container(),
        quantization: checkpoint.config.as_ref().map(|config| config.method.as_str()),
        metadata: &checkpoint.metadata,
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    }
}

fn bits(shape: &[usize], bytes: u64) -> f64 {
    let numbers: f64 = shape.iter().map(|d| *d as f64).product();
    if numbers > 0.0 { bytes as f64 * 8.0 / numbers } else { 0.0 }
}

/// The name of a format and its numbers.
pub(super) fn numbers(format: &Format) -> String {
    let along = |group: Group| match group {
        Group::All => "group=all".to_owned(),
        Group::Of(size) => format!("group={size}"),
    };
    let block = |block: Option<[u32; 2]>| block.map_or(String::new(), |[n, k]| format!(" block={n}x{k}"));
    let more = match format {
        Format::Awq(f) => {
            let version = match f.version {
                AwqVersion::Gemm => "gemm",
                AwqVersion::Gemv => "gemv",
                AwqVersion::GemvTiled => "gemv_fast",
            };
            format!(" bits=4 {} {version}", along(f.group))
        }
        Format::Gptq(f) => {
            format!(" bits={} {} {}", f.bits, along(f.group), if f.zero_less_one { "v1" } else { "v2" })
        }
        Format::BnbNf4(f) => format!(" block={}", f.blocksize),
        Format::BnbFp4(f) => format!(" block={}", f.blocksize),
        Format::MlxAffine(f) => format!(" bits={} group={}", f.bits, f.group),
        Format::Hqq(f) => format!(" bits={} {} axis={}", f.bits, along(f.group), f.axis),
        Format::Fp8E4m3(f) => block(f.block),
        Format::Fp8E5m2(f) => block(f.block),
        Format::Leanquant(f) => format!(" bits={}", f.bits),
        Format::Bcq(f) => format!(" bits={} {} cols={}", f.bits, along(f.group), f.cols),
        _ => String::new(),
    };
    format!("{format}{more}")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weight(format) => f.pad(&numbers(format)),
            Self::Plain(name) => f.pad(name),
        }
    }
}

/// Bytes as a person says them.
fn said(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.container)?;
        if let Some(method) = self.quantization {
            write!(f, ", quantised by {}", shown(method))?;
        }
        writeln!(f)?;
        for (name, value) in self.metadata {
            writeln!(f, "  {} = {value}", shown(name))?;
        }
        let shape = |row: &Row<'_>| row.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let title = ["name", "stored", "shape", "bits", "bytes", "tensors"];
        let cells = |row: &Row<'_>| {
            // A tensor that is all of its row need not be named again; of others the common beginning.
            let base = row.name.strip_suffix("weight").unwrap_or(row.name);
            let tensors = match row.tensors[..] {
                [one] if one == row.name => String::new(),
                _ => row.tensors.iter().map(|t| shown(t.strip_prefix(base).unwrap_or(t))).collect::<Vec<_>>().join(" "),
            };
            let stored = match row.kind {
                Kind::Weight(Format::Dense) => format!("dense {}", row.stored),
                kind => kind.to_string(),
            };
            [shown(row.name), stored, shape(row), format!("{:.3}", row.bits), said(row.bytes), tensors]
        };
        columns(f, title, [false, false, true, true, true, false], self.rows.iter().map(cells))?;
        let weights = self.rows.iter().filter(|row| matches!(row.kind, Kind::Weight(_)));
        let (mut count, mut numbers, mut bytes) = (0, 0.0, 0);
        for row in weights {
            count += 1;
            numbers += row.shape.iter().map(|d| *d as f64).product::<f64>();
            bytes += row.bytes;
        }
        let all: u64 = self.rows.iter().map(|row| row.bytes).sum();
        let tensors: usize = self.rows.iter().map(|row| row.tensors.len()).sum();
        write!(f, "{count} weights of {numbers} numbers in {}", said(bytes))?;
        if numbers > 0.0 {
            write!(f, ", {:.3} bits each", bytes as f64 * 8.0 / numbers)?;
        }
        writeln!(f, "; {tensors} tensors in all, {}", said(all))
    }
}

/// Rows as columns, right-aligned where `right` says so. The rows are made twice, so that few are held.
pub(super) fn columns<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    title: [&str; N],
    right: [bool; N],
    rows: impl Iterator<Item = [String; N]> + Clone,
) -> fmt::Result {
    let mut wide = title.map(str::len);
    for row in rows.clone() {
        for (wide, cell) in wide.iter_mut().zip(row) {
            *wide = (*wide).max(cell.chars().count());
        }
    }
    for row in std::iter::once(title.map(str::to_owned)).chain(rows) {
        let mut text = String::new();
        for ((cell, wide), right) in row.iter().zip(wide).zip(right) {
            let fill = wide.saturating_sub(cell.chars().count());
            let [before, after] = if right { [fill, 0] } else { [0, fill] };
            text.push_str(&format!("{:before$}{cell}{:after$}  ", "", ""));
        }
        writeln!(f, "{}", text.trim_end())?;
    }
    Ok(())
}

/// A text of a file, which must not steer a terminal, and fit a line.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 160;
    let mut shown: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}
