//! GGUF, versions 2 and 3, little-endian.
//!
//! ```text
//! "GGUF"  u32 version  u64 tensors  u64 metadata
//! metadata  string name, u32 type, value     a string is u64 length and bytes; an array is u32 type, u64 length, values
//! tensors   string name, u32 rank, u64 ne[rank], u32 type, u64 offset      ne[0] is the length of a row
//! padding to general.alignment (32), then the bytes: offsets count from here, and are multiples of it
//! ```
//!
//! A file may be split into parts, each a file of its own with some of the tensors: `NAME-00001-of-00003.gguf` and so on. What is said of
//! the model is said in the first.
//!
//! Arrays are passed over where they stand: a vocabulary may be larger than what the rest of us may hold.
//!
//! Sources: the specification in ggml (`docs/gguf.md`), the parts in llama.cpp's `gguf-split`, the types and their sizes in `ggml.h`, `ggml-common.h` and gguf-py's `constants.py`.

use super::listing::{Listing, Stored};
use super::{Meta, Read};
use crate::formats::{Dtype, Format};

/// More metadata than any file has.
const META_COUNT_MOST: u64 = 1 << 16;
/// More strings than any vocabulary has.
const STRINGS_MOST: u64 = 1 << 24;
/// The longest name of metadata that is allowed.
const KEY_MOST: usize = 65_535;
/// The most dimensions of a tensor.
const RANK_MOST: u32 = 4;

const fn block(name: &'static str, elements: usize, bytes: usize, format: Option<Format>) -> Stored {
    Stored { name, elements, bytes, dtype: None, format }
}

/// The types by their numbers. Those that are not here are unknown, or were removed from GGUF.
static TYPES: &[(u32, Stored)] = &[
    (0, Stored::number("f32", 4, Some(Dtype::F32))),
    (1, Stored::number("f16", 2, Some(Dtype::F16))),
    (2, block("q4_0", 32, 18, Some(Format::Q4_0))),
    (3, block("q4_1", 32, 20, Some(Format::Q4_1))),
    (6, block("q5_0", 32, 22, Some(Format::Q5_0))),
    (7, block("q5_1", 32, 24, Some(Format::Q5_1))),
    (8, block("q8_0", 32, 34, Some(Format::Q8_0))),
    (9, block("q8_1", 32, 36, None)),
    (10, block("q2_k", 256, 84, Some(Format::Q2K))),
    (11, block("q3_k", 256, 110, Some(Format::Q3K))),
    (12, block("q4_k", 256, 144, Some(Format::Q4K))),
    (13, block("q5_k", 256, 176, Some(Format::Q5K))),
    (14, block("q6_k", 256, 210, Some(Format::Q6K))),
    (15, block("q8_k", 256, 292, None)),
    (16, block("iq2_xxs", 256, 66, None)),
    (17, block("iq2_xs", 256, 74, None)),
    (18, block("iq3_xxs", 256, 98, None)),
    (19, block("iq1_s", 256, 50, None)),
    (20, block("iq4_nl", 32, 18, Some(Format::Iq4Nl))),
    (21, block("iq3_s", 256, 110, None)),
    (22, block("iq2_s", 256, 82, None)),
    (23, block("iq4_xs", 256, 136, Some(Format::Iq4Xs))),
    (24, Stored::number("i8", 1, Some(Dtype::I8))),
    (25, Stored::number("i16", 2, Some(Dtype::I16))),
    (26, Stored::number("i32", 4, Some(Dtype::I32))),
    (27, Stored::number("i64", 8, None)),
    (28, Stored::number("f64", 8, None)),
    (29, block("iq1_m", 256, 56, None)),
    (30, Stored::number("bf16", 2, Some(Dtype::Bf16))),
    (34, block("tq1_0", 256, 54, Some(Format::Tq1_0))),
    (35, block("tq2_0", 256, 66, Some(Format::Tq2_0))),
    (39, block("mxfp4", 32, 17, Some(Format::Mxfp4))),
    (40, block("nvfp4", 64, 36, Some(Format::Nvfp4))),
    (41, block("q1_0", 128, 18, None)),
];

/// True where a file begins as one.
pub(super) fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GGUF")
}

/// A place in the file.
struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn left(&self) -> usize {
        self.all.len() - self.at
    }

    fn take(&mut self, size: u64) -> Read<&'a [u8]> {
        let end = usize::try_from(size).ok().and_then(|size| self.at.checked_add(size));
        let Some(taken) = end.and_then(|end| self.all.get(self.at..end)) else {
            let (at, left) = (self.at, self.left());
            return Err(format!("is truncated: {size} bytes are needed at byte {at}, but {left} are left"));
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let taken = self.take(N as u64)?;
        Ok(std::array::from_fn(|i| taken[i]))
    }

    fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Read<&'a str> {
        let size = self.u64()?;
        let at = self.at;
        std::str::from_utf8(self.take(size)?).map_err(|_| format!("the text at byte {at} is not UTF-8"))
    }
}

/// Reads all but the bytes of the tensors, and returns the version.
pub(super) fn read(all: &[u8], file: usize, list: &mut Listing) -> Read<u32> {
    let mut from = Bytes { all, at: 0 };
    if from.array()? != *b"GGUF" {
        return Err("does not begin with GGUF".into());
    }
    let version = from.u32()?;
    match version {
        2 | 3 => {}
        _ if version.swap_bytes() <= 3 => return Err("is big-endian, which is not read".into()),
        _ => return Err(format!("has version {version} of GGUF, but 2 and 3 are read")),
    }
    let (tensors, pieces) = (from.u64()?, from.u64()?);
    if pieces > META_COUNT_MOST {
        return Err(format!("has {pieces} pieces of metadata, but at most {META_COUNT_MOST} are read"));
    }
    let first_piece = list.metadata.len();
    for _ in 0..pieces {
        let name = from.text()?;
        if name.is_empty() || name.len() > KEY_MOST {
            return Err(format!("a name of metadata has {} bytes, but there must be 1 to {KEY_MOST}", name.len()));
        }
        let value = from.u32().and_then(|kind| value(&mut from, kind));
        let value = value.map_err(|why| format!("metadata {name:.200}: {why}"))?;
        list.describe(name, value)?;
    }
    let alignment = alignment(&list.metadata[first_piece..])?;

    let first = list.len();
    for number in 0..tensors {
        let name = from.text().map_err(|why| format!("tensor {number} of {tensors}: {why}"))?;
        tensor(&mut from, name, file, alignment, list).map_err(|why| format!("tensor {name:.200}: {why}"))?;
    }

    // Files without tensors (only a vocabulary) may end before the padding.
    let data = from.at.checked_next_multiple_of(alignment).ok_or("its alignment is too large for this machine")?;
    let mut free = data;
    for entry in list.by_offset(first) {
        let name = &entry.name;
        let begin = data.checked_add(entry.offset);
        let end = begin.and_then(|begin| begin.checked_add(entry.bytes));
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(format!("tensor {name}: offset {} is more than this machine can count", entry.offset));
        };
        if begin < free {
            return Err(format!(
                "tensor {name} overlaps the tensor before it: it begins at byte {begin}, which ends at {free}"
            ));
        }
        if end > all.len() {
            return Err(format!("tensor {name} ends at byte {end}, past the end of the file, which has {}", all.len()));
        }
        entry.offset = begin;
        free = end;
    }
    Ok(version)
}

fn tensor(from: &mut Bytes<'_>, name: &str, file: usize, alignment: usize, list: &mut Listing) -> Read<()> {
    let rank = from.u32()?;
    if rank > RANK_MOST {
        return Err(format!("it has {rank} dimensions, but at most {RANK_MOST} are allowed"));
    }
    let mut shape = Vec::new();
    for _ in 0..rank {
        let size = from.u64()?;
        shape.push(
            usize::try_from(size).map_err(|_| format!("a dimension is {size}, more than this machine can count"))?,
        );
    }
    // The first number is the one that lies side by side; ours is the last.
    shape.reverse();
    let kind = from.u32()?;
    let Some((_, stored)) = TYPES.iter().find(|(number, _)| *number == kind) else {
        return Err(format!("unknown type {kind}"));
    };
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(stored.elements) {
        return Err(format!("its rows of {row} are not a multiple of {}, as {} needs", stored.elements, stored.name));
    }
    let offset = from.u64()?;
    let place = usize::try_from(offset).map_err(|_| format!("offset {offset} is more than this machine can count"))?;
    if !place.is_multiple_of(alignment) {
        return Err(format!("offset {offset} is not a multiple of the alignment, which is {alignment}"));
    }
    list.add(name, file, place, stored, shape)
}

/// `general.alignment`; and no name may be there twice.
fn alignment(metadata: &[(String, Meta)]) -> Read<usize> {
    let mut names: Vec<&str> = metadata.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("metadata {:.200} is there twice", pair[0]));
    }
    match metadata.iter().find(|(name, _)| name == "general.alignment") {
        None => Ok(32),
        Some((_, Meta::Unsigned(v))) if v.is_power_of_two() && *v <= 1 << 20 => Ok(*v as usize),
        Some((_, other)) => Err(format!("general.alignment = {other}, but it must be a power of two up to 2^20")),
    }
}

/// Which part of a split file this is, from 0 on, and how many there are: `split.no` and `split.count`. A file that is whole is none.
pub(super) fn part(metadata: &[(String, Meta)]) -> Read<Option<[usize; 2]>> {
    let number = |of: &str| match metadata.iter().find(|(name, _)| name == of) {
        None => Ok(None),
        Some((_, Meta::Unsigned(v))) => Ok(Some(*v)),
        Some((_, other)) => Err(format!("{of} = {other}, but it must be a whole number")),
    };
    let count = number("split.count")?.unwrap_or(0);
    if count < 2 {
        return Ok(None);
    }
    if count > super::FILES_MOST as u64 {
        return Err(format!("split.count = {count}, but at most {} files are read", super::FILES_MOST));
    }
    match number("split.no")? {
        Some(no) if no < count => Ok(Some([no as usize, count as usize])),
        Some(no) => Err(format!("split.no = {no}, but split.count = {count}")),
        None => Err(format!("split.count = {count}, but there is no split.no")),
    }
}

/// The tensors of all parts, as the first part says.
pub(super) fn tensors_of_parts(metadata: &[(String, Meta)]) -> Option<u64> {
    let said = metadata.iter().find(|(name, _)| name == "split.tensors.count");
    match said?.1 {
        Meta::Unsigned(v) => Some(v),
        Meta::Signed(v) => u64::try_from(v).ok(),
        _ => None,
    }
}

/// The end of the name of a part, which counts from 1.
fn end_of_part(no: usize, count: usize) -> String {
    format!("-{:05}-of-{count:05}.gguf", no + 1)
}

/// The names of all parts, by the name of one. It must be such a name: nothing else says where the rest are.
pub(super) fn names_of_parts(name: &str, [no, count]: [usize; 2]) -> Read<Vec<String>> {
    let end = end_of_part(no, count);
    let Some(prefix) = name.strip_suffix(&end) else {
        return Err(format!("is part {} of {count} of a split file, so that its name must end with {end}", no + 1));
    };
    Ok((0..count).map(|no| format!("{prefix}{}", end_of_part(no, count))).collect())
}

/// The name of the first part, where this is that of a later one.
pub(super) fn first_of_parts(name: &str) -> Option<String> {
    let (numbered, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (prefix, number) = numbered.rsplit_once('-')?;
    let (no, count) = (number.parse::<usize>().ok()?.checked_sub(1)?, count.parse().ok()?);
    let is_later = no > 0 && name.strip_prefix(prefix)? == end_of_part(no, count);
    is_later.then(|| format!("{prefix}{}", end_of_part(0, count)))
}

/// The bytes of a number of this type.
fn number_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn value(from: &mut Bytes<'_>, kind: u32) -> Read<Meta> {
    Ok(match kind {
        0 => Meta::Unsigned(from.array::<1>()?[0].into()),
        1 => Meta::Signed(i8::from_le_bytes(from.array()?).into()),
        2 => Meta::Unsigned(u16::from_le_bytes(from.array()?).into()),
        3 => Meta::Signed(i16::from_le_bytes(from.array()?).into()),
        4 => Meta::Unsigned(from.u32()?.into()),
        5 => Meta::Signed(i32::from_le_bytes(from.array()?).into()),
        6 => Meta::Float(f32::from_le_bytes(from.array()?).into()),
        7 => match from.array::<1>()?[0] {
            0 => Meta::Flag(false),
            1 => Meta::Flag(true),
            other => return Err(format!("a switch is {other}, but must be 0 or 1")),
        },
        8 => Meta::text(from.text()?),
        9 => {
            let (kind, count) = (from.u32()?, from.u64()?);
            match (kind, number_bytes(kind)) {
                (_, Some(bytes)) => {
                    let size = count.checked_mul(bytes);
                    from.take(size.ok_or_else(|| format!("an array of {count} numbers is more than can be counted"))?)?;
                }
                (8, _) => {
                    // Each has at least its length.
                    if count > STRINGS_MOST || count > from.left() as u64 / 8 {
                        return Err(format!("an array of {count} texts is more than the file or this reader has"));
                    }
                    for _ in 0..count {
                        let size = from.u64()?;
                        from.take(size)?;
                    }
                }
                _ => return Err(format!("an array of the unknown type {kind}")),
            }
            Meta::Array(count)
        }
        10 => Meta::Unsigned(from.u64()?),
        11 => Meta::Signed(i64::from_le_bytes(from.array()?)),
        12 => Meta::Float(f64::from_le_bytes(from.array()?)),
        _ => return Err(format!("unknown type {kind}")),
    })
}
