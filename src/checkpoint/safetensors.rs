//! Safetensors: an 8-byte length, a JSON header, the bytes of the tensors.
//!
//! ```text
//! u64     length of the header, at most 100,000,000
//! header  {"name": {"dtype": "F16", "shape": [n, k], "data_offsets": [from, to]}, …, "__metadata__": {"name": "text", …}}, spaces
//! bytes   offsets count from here; the tensors follow each other without a gap, and end with the file
//! ```
//!
//! The header is read where it stands in the map. The `safetensors` crate is not used for it: it keeps the last of two tensors of one
//! name, and takes some thirty bytes of memory for a byte of header. A test holds this reader against it: whatever is
//! accepted here is accepted there, and is the same.
//!
//! Source: the format's description in github.com/huggingface/safetensors.

use std::collections::BTreeSet;

use super::json::Json;
use super::listing::{Listing, Stored};
use super::{Meta, Read};
use crate::formats::Dtype;

/// The longest header, as in the format's own reader.
const HEADER_MOST: usize = 100_000_000;
/// The most dimensions of a tensor.
const RANK_MOST: usize = 16;

/// The ways of storing, by the name in the header.
static STORED: &[Stored] = &[
    Stored::number("f32", 4, Some(Dtype::F32)),
    Stored::number("f16", 2, Some(Dtype::F16)),
    Stored::number("bf16", 2, Some(Dtype::Bf16)),
    Stored::number("i32", 4, Some(Dtype::I32)),
    Stored::number("u32", 4, Some(Dtype::U32)),
    Stored::number("i16", 2, Some(Dtype::I16)),
    Stored::number("u16", 2, Some(Dtype::U16)),
    Stored::number("i8", 1, Some(Dtype::I8)),
    Stored::number("u8", 1, Some(Dtype::U8)),
    Stored::number("bool", 1, None),
    Stored::number("f8_e4m3", 1, None),
    Stored::number("f8_e5m2", 1, None),
    Stored::number("f8_e8m0", 1, None),
    Stored::number("f8_e4m3fnuz", 1, None),
    Stored::number("f8_e5m2fnuz", 1, None),
    Stored::number("f64", 8, None),
    Stored::number("i64", 8, None),
    Stored::number("u64", 8, None),
    Stored::number("c64", 8, None),
    Stored { name: "f4", elements: 2, bytes: 1, dtype: None, format: None },
    Stored { name: "f6_e2m3", elements: 4, bytes: 3, dtype: None, format: None },
    Stored { name: "f6_e3m2", elements: 4, bytes: 3, dtype: None, format: None },
];

/// True where a file can be one: the first byte of the header is a brace.
pub(super) fn is(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Reads the header of file number `file`.
pub(super) fn read(bytes: &[u8], file: usize, list: &mut Listing) -> Read<()> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("has {} bytes, which is less than a header", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    let size = usize::try_from(length).ok().filter(|size| *size <= HEADER_MOST);
    let Some(size) = size else {
        return Err(format!("its header has {length} bytes, but at most {HEADER_MOST} are read"));
    };
    if size > rest.len() {
        return Err(format!("is truncated: its header has {size} bytes, but only {} follow", rest.len()));
    }
    let (header, data) = rest.split_at(size);
    if header.first() != Some(&b'{') {
        return Err("its header does not begin with a brace".into());
    }
    let first = list.len();
    let mut json = Json::new(header);
    let mut described = false;
    json.object(|json, name| {
        if name == "__metadata__" {
            if std::mem::replace(&mut described, true) {
                return Err("the name __metadata__ occurs twice".into());
            }
            return json.object(|json, name| {
                let text = json.text()?;
                list.describe(&name, Meta::text(&text))
            });
        }
        tensor(json, &name, file, list).map_err(|why| format!("tensor {name:.200}: {why}"))
    })?;
    json.end()?;

    // The offsets count from the end of the header.
    let mut at = 0;
    for entry in list.by_offset(first) {
        let name = &entry.name;
        if entry.offset != at {
            let what = if entry.offset < at { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return Err(format!("tensor {name} {what}: it begins at {}, and should at {at}", entry.offset));
        }
        at += entry.bytes;
        if at > data.len() {
            return Err(format!(
                "tensor {name} ends at {at}, past the end of the file, which has {} bytes of tensors",
                data.len()
            ));
        }
        entry.offset += 8 + size;
    }
    if at != data.len() {
        return Err(format!("its tensors have {at} bytes, but {} follow the header", data.len()));
    }
    Ok(())
}

fn tensor(json: &mut Json<'_>, name: &str, file: usize, list: &mut Listing) -> Read<()> {
    let (mut stored, mut shape, mut offsets) = (None, None, None);
    json.object(|json, key| {
        let again = match key.as_ref() {
            "dtype" => {
                let text = json.text()?;
                let found = STORED.iter().find(|s| s.name.eq_ignore_ascii_case(&text));
                let known = found.filter(|_| !text.bytes().any(|b| b.is_ascii_lowercase()));
                stored.replace(known.ok_or_else(|| format!("unknown dtype {text:.40}"))?).is_some()
            }
            "shape" => shape.replace(sizes(json, RANK_MOST)?).is_some(),
            "data_offsets" => offsets.replace(sizes(json, 2)?).is_some(),
            _ => return Err(format!("unknown member {key:.40}")),
        };
        if again { Err(format!("{key} occurs twice")) } else { Ok(()) }
    })?;
    let stored = stored.ok_or("it has no dtype")?;
    let shape = shape.ok_or("it has no shape")?;
    let (from, to) = match offsets.as_deref() {
        Some([from, to]) if from <= to => (*from, *to),
        Some(other) => return Err(format!("data_offsets {other:?} are not a beginning and an end")),
        None => return Err("it has no data_offsets".into()),
    };
    let bytes = stored.bytes_of(&shape)?;
    if to - from != bytes {
        return Err(format!(
            "data_offsets [{from}, {to}] are {} bytes, but {} of shape {shape:?} are {bytes}",
            to - from,
            stored.name
        ));
    }
    list.add(name, file, from, stored, shape)
}

fn sizes(json: &mut Json<'_>, most: usize) -> Read<Vec<usize>> {
    let mut sizes = Vec::new();
    json.list(|json| {
        if sizes.len() == most {
            return Err(format!("more than {most} numbers"));
        }
        sizes.push(json.size()?);
        Ok(())
    })?;
    Ok(sizes)
}

/// The names of the files that an index speaks of, in order.
pub(super) fn shards(index: &[u8]) -> Read<Vec<String>> {
    let mut names = BTreeSet::new();
    each_of_index(index, |_, file| {
        if !names.contains(file) {
            if names.len() == super::FILES_MOST {
                return Err(format!("names more than {} files", super::FILES_MOST));
            }
            names.insert(file.to_owned());
        }
        Ok(())
    })?;
    if names.is_empty() { Err("names no file".into()) } else { Ok(names.into_iter().collect()) }
}

/// Every tensor and its file, as an index (`model.safetensors.index.json`) gives them. It is read where it stands, each time.
pub(super) fn each_of_index(index: &[u8], mut each: impl FnMut(&str, &str) -> Read<()>) -> Read<()> {
    let mut json = Json::new(index);
    let mut found = false;
    json.object(|json, name| {
        if name != "weight_map" {
            return json.skip();
        }
        if std::mem::replace(&mut found, true) {
            return Err("weight_map occurs twice".into());
        }
        json.object(|json, tensor| {
            let file = json.text()?;
            let plain = !file.is_empty()
                && file.len() <= 255
                && !file.starts_with('.')
                && !file.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control());
            if !plain {
                return Err(format!("tensor {tensor:.200}: {file:?} is no name of a file beside the index"));
            }
            each(&tensor, &file)
        })
    })?;
    json.end()?;
    if found { Ok(()) } else { Err("has no weight_map".into()) }
}
