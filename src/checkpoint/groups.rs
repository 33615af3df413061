//! Which tensors of a file are one weight, and of what format.
//!
//! | format | tensors of the weight `X.weight` | what else decides |
//! |---|---|---|
//! | `awq` | `X.qweight`, `X.qzeros`, `X.scales` | the configuration; without one, shapes that fit no other |
//! | `gptq` | the same, and perhaps `X.g_idx` | the same |
//! | `bnb.nf4`, `bnb.fp4` | `X.weight`, `.absmax`, `.quant_state.bitsandbytes__…`, and perhaps `.quant_map`, `.nested_absmax`, `.nested_quant_map` after it | the JSON of the state |
//! | `int8` | `X.weight` i8 and `X.weight_scale`, perhaps `X.weight_zero_point`; or bitsandbytes' `X.SCB`, where the scale is SCB/127 | |
//! | `fp8.*` | `X.weight` f8 and `X.weight_scale` or `X.weight_scale_inv` | `weight_block_size` |
//! | `bitnet` | `X.weight` u8 and `X.weight_scale` of one number | `linear_class`, `quantization_mode` |
//! | `mlx.*` | `X.weight` u32, `X.scales`, and perhaps `X.biases` | `quantization`, and there what it says of X |
//! | `hqq` | `X.W_q`, `X.scale`, `X.zero`, `X.shape`, `X.nbits`, `X.group_size`, `X.axis` | the configuration where the last are absent |
//! | `leanquant` | `X.quant_grid`, `X.weight_codes` | |
//! | `bcq` | `X.bWeight`, `X.alpha` | |
//!
//! A group that its configuration speaks of must agree with it. Other tensors that only look like a group are plain ones.

use super::describe::numbers;
use super::files::Files;
use super::json::{Json, Value};
use super::listing::Entry;
use super::{OP, Read};
use crate::error::shape_error;
use crate::formats::awq::{Awq, AwqVersion};
use crate::formats::bcq::Bcq;
use crate::formats::bitnet::Bitnet;
use crate::formats::bnb::Bnb;
use crate::formats::fp8::Fp8;
use crate::formats::gptq::Gptq;
use crate::formats::hqq::Hqq;
use crate::formats::leanquant::Leanquant;
use crate::formats::mlx_affine::MlxAffine;
use crate::formats::{Dtype, Format, Group as Along, Packed, Part};

/// The most numbers that are converted, rather than borrowed.
const CONVERTED_MOST: usize = 4 << 20;
/// The longest state of a bitsandbytes tensor.
const STATE_MOST: usize = 1 << 16;

/// What the file's tensor is to the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The same.
    Same,
    /// The same bits, as bytes in the same shape.
    Bytes,
    /// The same bits, as a column of bytes.
    Column,
    /// f32 in one of the shapes of a scale: `[1]`, `[N,1]` or as it is.
    Scale,
    /// bitsandbytes' largest magnitudes, of which 127 is one.
    Largest,
    /// In the shape of the scale.
    LikeScale,
    /// It has been looked at, and says nothing more.
    Seen,
}

/// Tensors that are one weight.
#[derive(Debug)]
pub(super) struct Group {
    pub name: Box<str>,
    pub format: Format,
    pub n: usize,
    pub k: usize,
    /// The role, the number of the entry, and what it is to the format.
    parts: Box<[(&'static str, usize, How)]>,
    /// `offset` of nested scales.
    offset: Option<f32>,
}

impl Group {
    fn new(
        name: impl Into<Box<str>>,
        format: Format,
        [n, k]: [usize; 2],
        parts: &[(&'static str, usize, How)],
    ) -> Self {
        Self { name: name.into(), format, n, k, parts: parts.into(), offset: None }
    }

    /// The numbers of its entries.
    pub fn entries(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().map(|(_, entry, _)| *entry)
    }

    /// The weight, borrowed where it is not converted.
    pub fn pack<'c>(&self, files: &'c Files<'_>, entries: &'c [Entry]) -> crate::Result<Packed<'c>> {
        let mut parts = std::collections::BTreeMap::new();
        for (role, at, how) in &self.parts {
            let Some(part) = self.part(&entries[*at], files.bytes(&entries[*at]), *how)? else { continue };
            parts.insert((*role).to_owned(), part);
        }
        if let Some(offset) = self.offset {
            parts.insert("offset".to_owned(), Part::f32s(&[1], &[offset]));
        }
        Packed::new(self.format, self.n, self.k, parts)
    }

    fn part<'c>(&self, entry: &Entry, bytes: &'c [u8], how: How) -> crate::Result<Option<Part<'c>>> {
        let same = || {
            let Some(dtype) = entry.stored.dtype else {
                return Err(shape_error!(
                    OP,
                    "{} is stored as {}, which no format reads",
                    entry.name,
                    entry.stored.name
                ));
            };
            Ok(Part::new(dtype, &entry.shape, bytes))
        };
        Ok(Some(match how {
            How::Same => same()?,
            How::Bytes => Part::new(Dtype::U8, &entry.shape, bytes),
            How::Column => Part::new(Dtype::U8, &[bytes.len(), 1], bytes),
            How::LikeScale => Part { shape: self.scale_shape(entry), ..same()? },
            How::Scale => {
                let (part, shape) = (same()?, self.scale_shape(entry));
                match part.dtype {
                    Dtype::F32 => Part { shape, ..part },
                    Dtype::F16 | Dtype::Bf16 if part.elements() <= CONVERTED_MOST => {
                        let values: Vec<f32> = (0..part.elements()).map(|i| part.float(i)).collect();
                        Part::f32s(&shape, &values)
                    }
                    other => {
                        let elements = part.elements();
                        return Err(shape_error!(OP, "{} is a scale of {elements} {}s", entry.name, other.name()));
                    }
                }
            }
            How::Largest => {
                let part = same()?;
                if part.dtype != Dtype::F32 || part.elements() > CONVERTED_MOST {
                    return Err(shape_error!(OP, "{} is stored as {}, but must be f32", entry.name, part.dtype.name()));
                }
                let values: Vec<f32> = (0..part.elements()).map(|i| part.float(i) / 127.0).collect();
                Part::f32s(&self.scale_shape(entry), &values)
            }
            How::Seen => return Ok(None),
        }))
    }

    /// `[]`, `[1]` and `[1,1]` are one for all, unless there are blocks; `[N]` is `[N,1]`.
    fn scale_shape(&self, entry: &Entry) -> Vec<usize> {
        let blocks = match self.format {
            Format::Fp8E4m3(Fp8 { block }) => block.is_some(),
            Format::Fp8E5m2(Fp8 { block }) => block.is_some(),
            _ => false,
        };
        match *entry.shape {
            _ if blocks => entry.shape.to_vec(),
            [] | [1] | [1, 1] => vec![1],
            [n] => vec![n, 1],
            _ => entry.shape.to_vec(),
        }
    }
}

/// A configuration of quantisation.
#[derive(Debug)]
pub(super) struct Config {
    /// Where it stands.
    pub place: &'static str,
    /// `quant_method`, or what its file is known for.
    pub method: String,
    value: Value,
}

impl Config {
    /// Of a `config.json`, if it has one.
    pub fn of_model(config: &[u8]) -> Read<Option<Self>> {
        let (mut full, mut mlx) = (None, None);
        let mut json = Json::of_config(config);
        json.object(|json, name| {
            match name.as_ref() {
                "quantization_config" => full = Some(json.value()?),
                "quantization" => mlx = Some(json.value()?),
                _ => json.skip()?,
            }
            Ok(())
        })?;
        json.end()?;
        // MLX writes the same a second time, without a method.
        if let Some(value @ Value::Map(_)) = full {
            if let Some(method) = value.name("quant_method")?.map(str::to_ascii_lowercase) {
                return Ok(Some(Self { place: "quantization_config", method, value }));
            }
        }
        Ok(match mlx {
            Some(value @ Value::Map(_)) => Some(Self { place: "quantization", method: "mlx".into(), value }),
            _ => None,
        })
    }

    /// Of a file that is nothing else: AutoGPTQ's and AutoAWQ's own.
    pub fn of_file(place: &'static str, method: &str, text: &[u8]) -> Read<Self> {
        let mut json = Json::of_config(text);
        let value = json.value()?;
        json.end()?;
        let method = value.name("quant_method")?.unwrap_or(method).to_ascii_lowercase();
        Ok(Self { place, method, value })
    }

    /// A whole number by any of its names.
    fn whole(&self, names: &[&str]) -> Read<Option<i64>> {
        names.iter().find(|name| self.value.get(name).is_some()).map_or(Ok(None), |name| self.value.whole(name))
    }

    fn bits(&self) -> Read<Option<u32>> {
        let bits = self.whole(&["bits", "w_bit", "wbits"])?;
        bits.map(|v| u32::try_from(v).map_err(|_| format!("bits = {v} is out of range"))).transpose()
    }

    fn along(&self) -> Read<Option<Along>> {
        self.whole(&["group_size", "q_group_size", "groupsize"])?.map(along).transpose()
    }
}

/// −1 is all.
fn along(size: i64) -> Read<Along> {
    match size {
        -1 => Ok(Along::All),
        1.. => u32::try_from(size).map(Along::Of).map_err(|_| format!("group_size = {size} is out of range")),
        _ => Err(format!("group_size = {size}, but it must be -1 or at least 1")),
    }
}

/// Groups of an axis of this length, if there are so many of one size.
fn split(length: usize, groups: usize) -> Option<Along> {
    if groups == 1 {
        return Some(Along::All);
    }
    let size = length.checked_div(groups).filter(|size| *size > 0 && size * groups == length)?;
    u32::try_from(size).ok().map(Along::Of)
}

/// A group, and whether a configuration vouches for it.
type Found = Read<Option<(Group, bool)>>;

/// All groups of the listing, which is sorted by name; they are sorted too. An error comes with the number of its file.
pub(super) fn recognise(
    files: &Files<'_>,
    entries: &[Entry],
    config: Option<&Config>,
) -> Result<Vec<Group>, (usize, String)> {
    let finder = Finder { files, entries, config };
    let place = config.map_or("its numbers", |config| config.place);
    let mut groups = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Some((base, last)) = entry.name.rsplit_once('.') else { continue };
        let found = match last {
            "weight" => finder.weight(base, at),
            "qweight" => finder.qweight(base, at),
            "W_q" => finder.hqq(base, at),
            "weight_codes" => finder.leanquant(base, at),
            "bWeight" => finder.bcq(base, at),
            _ => continue,
        };
        let found = found.map_err(|why| (entry.file, format!("tensor {}, by {place}: {why}", entry.name)))?;
        let Some((group, sure)) = found else { continue };
        match group.pack(files, entries) {
            // A plain tensor may have the name that only the group should give.
            Ok(_) if group.name != entry.name && finder.at(&group.name).is_some() => {
                return Err((entry.file, format!("weight {} is there in two formats", group.name)));
            }
            Ok(_) => groups.push(group),
            Err(error) if sure => {
                let said = numbers(&group.format);
                return Err((entry.file, format!("tensor {} contradicts {place} ({said}): {error}", entry.name)));
            }
            Err(_) => {}
        }
    }
    groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    // Two of other names, such as X.qweight and X.W_q.
    match groups.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => {
            let file = pair[0].entries().next().map_or(0, |at| entries[at].file);
            Err((file, format!("weight {} is there in two formats", pair[0].name)))
        }
        None => Ok(groups),
    }
}

struct Finder<'c> {
    files: &'c Files<'c>,
    entries: &'c [Entry],
    config: Option<&'c Config>,
}

impl<'c> Finder<'c> {
    fn find(&self, base: &str, last: &str) -> Option<usize> {
        self.at(&format!("{base}.{last}"))
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.name.as_ref().cmp(name)).ok()
    }

    fn need(&self, base: &str, last: &str) -> Read<usize> {
        self.find(base, last).ok_or_else(|| format!("{base}.{last} is missing"))
    }

    fn shape(&self, at: usize) -> &'c [usize] {
        &self.entries[at].shape
    }

    fn stored(&self, at: usize) -> &'static str {
        self.entries[at].stored.name
    }

    fn method(&self) -> &'c str {
        self.config.map_or("", |config| &config.method)
    }

    /// The few whole numbers of a tensor.
    fn wholes(&self, at: usize) -> Option<Vec<i64>> {
        let entry = &self.entries[at];
        let bytes = self.files.bytes(entry);
        if bytes.len() > 64 {
            return None;
        }
        let chunks = bytes.chunks_exact(entry.stored.bytes);
        Some(match entry.stored.name {
            "u8" => bytes.iter().map(|b| i64::from(*b)).collect(),
            "i32" => chunks.map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
            "i64" => chunks.map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])).collect(),
            _ => return None,
        })
    }

    // ---- one method a family

    fn qweight(&self, base: &str, at: usize) -> Found {
        let &[rows, cols] = self.shape(at) else { return Ok(None) };
        let (scales, zeros) = (self.find(base, "scales"), self.find(base, "qzeros"));
        let packing = self.config.map(|config| config.value.name("packing_format")).transpose()?.flatten();
        let method = match self.method() {
            "awq" => Some(true),
            "gptq" => Some(false),
            "" => None,
            // AutoRound writes either; how it packed is in the name.
            method if method.ends_with("auto-round") => packing.map(|name| name.contains("awq")),
            _ => return Ok(None),
        };
        let sure = method.is_some();
        let (scales, zeros) = match (scales, zeros) {
            (Some(scales), Some(zeros)) => (scales, zeros),
            _ if sure => (self.need(base, "scales")?, self.need(base, "qzeros")?),
            _ => return Ok(None),
        };
        let &[groups, width] = self.shape(scales) else {
            return if sure {
                Err(format!("{base}.scales has shape {:?}, not two sizes", self.shape(scales)))
            } else {
                Ok(None)
            };
        };
        let short = matches!(self.stored(at), "i16" | "u16");
        let words = |packed: usize, plain: usize| packed.checked_mul(8) == Some(plain);
        let is_awq = match method {
            Some(awq) => awq,
            None if short || words(cols, width) => true,
            None if cols == width => false,
            None => return Ok(None),
        };
        let name = format!("{base}.weight");
        let parts = [("qweight", at, How::Same), ("qzeros", zeros, How::Same), ("scales", scales, How::Same)];
        if is_awq {
            let Some((format, size)) = self.awq([rows, cols], groups, short)? else { return Ok(None) };
            return Ok(Some((Group::new(name, format, size, &parts), sure)));
        }

        let config = self.config.filter(|_| sure);
        let dynamic = config.is_some_and(|config| config.value.get("dynamic").is_some());
        let bits = match config.filter(|_| !dynamic) {
            Some(config) => config.bits()?.ok_or("bits is missing")?,
            None => {
                // The zeros have the same bits, and are as many as the columns.
                let zero_words = self.shape(zeros).last().copied().unwrap_or_default();
                let bits = zero_words.saturating_mul(32).checked_div(cols).and_then(|bits| u32::try_from(bits).ok());
                match bits.filter(|bits| *bits > 0) {
                    Some(bits) => bits,
                    None => return Ok(None),
                }
            }
        };
        let field = usize::try_from(bits).ok().filter(|bits| *bits > 0);
        let field = field.ok_or_else(|| format!("bits = {bits}, but it must be at least 1"))?;
        let k = rows.checked_mul(32).ok_or("it has more rows than this machine can count")? / field;
        let along = match config.filter(|_| !dynamic) {
            Some(config) => config.along()?.ok_or("group_size is missing")?,
            None => match split(k, groups) {
                Some(along) => along,
                None => return Ok(None),
            },
        };
        let zero_less_one = match config.map(|config| config.value.name("checkpoint_format")).transpose()?.flatten() {
            // AutoRound's own packing has zeros as they are; it writes one less where its name says gptq.
            None => {
                let as_gptq = packing.is_none_or(|name| name.contains("gptq") && !name.contains("gptqmodel"));
                !self.method().ends_with("auto-round") || as_gptq
            }
            Some("gptq") => true,
            Some("gptq_v2") => false,
            Some(other) => return Err(format!("checkpoint_format = {other:.40}, but gptq and gptq_v2 are read")),
        };
        let format = Format::Gptq(Gptq { bits, group: along, zero_less_one });
        let mut parts = parts.to_vec();
        if let Some(order) = self.find(base, "g_idx") {
            let trivial = self.in_order(order, along, k);
            // The codec leaves the groups to the order.
            let size = if let Along::Of(size) = along { size as usize } else { k };
            let want = k.div_ceil(size.max(1));
            if config.is_some() && want != groups {
                let shape = self.shape(scales);
                return Err(format!(
                    "{base}.scales has shape {shape:?}, but group_size makes {want} groups of K = {k}"
                ));
            }
            let desc_act = config.map(|config| config.value.flag("desc_act")).transpose()?.flatten();
            if !trivial && desc_act == Some(false) && self.shape(order) == [k] {
                return Err(format!(
                    "desc_act = false, but {base}.g_idx is not k/group_size, which is {}",
                    numbers(&format)
                ));
            }
            parts.push(("g_idx", order, if trivial { How::Seen } else { How::Same }));
        }
        Ok(Some((Group::new(name, format, [cols, k], &parts), sure)))
    }

    /// `g_idx` says no more than the size of the group does.
    fn in_order(&self, at: usize, along: Along, k: usize) -> bool {
        let size = match along {
            Along::All => k,
            Along::Of(size) => size as usize,
        };
        let bytes = self.files.bytes(&self.entries[at]);
        self.stored(at) == "i32"
            && self.shape(at) == [k]
            && size > 0
            && bytes
                .chunks_exact(4)
                .enumerate()
                .all(|(k, b)| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize == k / size)
    }

    fn awq(&self, [rows, cols]: [usize; 2], groups: usize, short: bool) -> Read<Option<(Format, [usize; 2])>> {
        let config = self.config;
        if let Some(bits) = config.map(Config::bits).transpose()?.flatten().filter(|bits| *bits != 4) {
            return Err(format!("bits = {bits}, but awq has 4"));
        }
        let version = config.map(|config| config.value.name("version")).transpose()?.flatten();
        let version = match version.map(str::to_ascii_lowercase).as_deref() {
            Some("gemm" | "exllama" | "ipex") => AwqVersion::Gemm,
            Some("gemv") => AwqVersion::Gemv,
            Some("gemv_fast") => AwqVersion::GemvTiled,
            None if short => AwqVersion::GemvTiled,
            None => AwqVersion::Gemm,
            Some(other) => return Err(format!("version = {other:.40}, but gemm, gemv and gemv_fast are read")),
        };
        let times = |a: usize, b: usize| a.checked_mul(b).ok_or("it has more columns than this machine can count");
        let size = match version {
            AwqVersion::Gemm => [times(cols, 8)?, rows],
            AwqVersion::Gemv => [rows, times(cols, 8)?],
            AwqVersion::GemvTiled => [times(rows, 4)?, cols],
        };
        let group = match (config.map(Config::along).transpose()?.flatten(), version) {
            (Some(along), _) => along,
            (None, AwqVersion::Gemm) => match split(rows, groups) {
                Some(along) => along,
                None => return Ok(None),
            },
            // Their scales are padded, so that nothing follows from how many there are.
            (None, _) => return Ok(None),
        };
        Ok(Some((Format::Awq(Awq { version, group }), size)))
    }

    fn weight(&self, base: &str, at: usize) -> Found {
        let name = self.entries[at].name.as_ref();
        for (nf4, state) in [(true, "quant_state.bitsandbytes__nf4"), (false, "quant_state.bitsandbytes__fp4")] {
            if let Some(state) = self.find(name, state) {
                return self.bnb(name, at, state, nf4).map(|group| Some((group, true)));
            }
        }
        let &[rows, cols] = self.shape(at) else { return Ok(None) };
        let size = [rows, cols];
        match self.stored(at) {
            "u8" => self.bitnet(base, at, size),
            "u32" => self.mlx(base, at, size),
            "f8_e4m3" | "f8_e5m2" => self.fp8(base, at, size),
            "i8" => {
                if let Some(largest) = self.find(base, "SCB") {
                    let mut parts = vec![("weight", at, How::Same), ("weight_scale", largest, How::Largest)];
                    if let Some(order) = self.find(base, "weight_format") {
                        // 0 is rows; 1 to 3 are tiles of old versions.
                        let bytes = self.files.bytes(&self.entries[order]);
                        if bytes != [0] {
                            let shown = &bytes[..bytes.len().min(8)];
                            return Err(format!(
                                "{base}.weight_format = {shown:?}, but only [0], which is rows, is read"
                            ));
                        }
                        parts.push(("weight_format", order, How::Seen));
                    }
                    return Ok(Some((Group::new(name, Format::Int8, size, &parts), false)));
                }
                let Some(scale) = self.find(base, "weight_scale") else { return Ok(None) };
                let mut parts = vec![("weight", at, How::Same), ("weight_scale", scale, How::Scale)];
                parts.extend(self.find(base, "weight_zero_point").map(|at| ("weight_zero_point", at, How::LikeScale)));
                Ok(Some((Group::new(name, Format::Int8, size, &parts), false)))
            }
            _ => Ok(None),
        }
    }

    fn bnb(&self, name: &str, at: usize, state: usize, nf4: bool) -> Read<Group> {
        let text = self.files.bytes(&self.entries[state]);
        if text.len() > STATE_MOST {
            return Err(format!("its quant_state has {} bytes, but at most {STATE_MOST} are read", text.len()));
        }
        let mut json = Json::of_config(text);
        let said = json.value().and_then(|value| json.end().map(|()| value));
        let said = said.map_err(|why| format!("its quant_state: {why}"))?;
        let kind = if nf4 { "nf4" } else { "fp4" };
        if let Some(other) = said.name("quant_type")?.filter(|other| *other != kind) {
            return Err(format!("quant_type = {other:.40} of its quant_state, which is called {kind}"));
        }
        let size = said.pair("shape")?.ok_or("its quant_state has no shape")?;
        let blocksize = said.count("blocksize")?.ok_or("its quant_state has no blocksize")?;
        let mut parts = vec![("packed", at, How::Column), ("quant_state", state, How::Seen)];
        if let Some(map) = self.find(name, "quant_map") {
            self.same_table(map, nf4)?;
            parts.push(("quant_map", map, How::Seen));
        }
        let absmax = self.need(name, "absmax")?;
        let nested = self.find(name, "nested_absmax");
        let mut blocksize2 = 256;
        let mut offset = None;
        if let Some(nested) = nested {
            blocksize2 = said.count("nested_blocksize")?.ok_or("its quant_state has no nested_blocksize")?;
            let Some(Value::Number(v)) = said.get("nested_offset") else {
                return Err("its quant_state has no nested_offset".into());
            };
            offset = Some(*v as f32);
            parts.push(("absmax_u8", absmax, How::Same));
            parts.push(("absmax2", nested, How::Same));
            parts.push(("map", self.need(name, "nested_quant_map")?, How::Same));
        } else {
            parts.push(("absmax", absmax, How::Same));
        }
        let format = if nf4 {
            Format::BnbNf4(Bnb { blocksize, blocksize2 })
        } else {
            Format::BnbFp4(Bnb { blocksize, blocksize2 })
        };
        Ok(Group { offset, ..Group::new(name, format, size, &parts) })
    }

    /// The table that the file brings is the one of its format.
    fn same_table(&self, at: usize, nf4: bool) -> Read<()> {
        let numbers = Bnb::<true>::default();
        let format = if nf4 {
            Format::BnbNf4(numbers)
        } else {
            Format::BnbFp4(Bnb { blocksize: numbers.blocksize, blocksize2: numbers.blocksize2 })
        };
        // The codes 0 to 15 with the scale 1.
        let codes = Part::new(Dtype::U8, &[8, 1], (0..8u8).map(|i| (2 * i) << 4 | (2 * i + 1)).collect::<Vec<u8>>());
        let parts = [("packed".to_owned(), codes), ("absmax".to_owned(), Part::f32s(&[1], &[1.0]))].into();
        let table = Packed::new(format, 1, 16, parts).map_err(|e| e.to_string())?.decode();
        let (entry, bytes) = (&self.entries[at], self.files.bytes(&self.entries[at]));
        if entry.stored.name != "f32" || bytes.len() != 64 {
            return Err(format!("{} is not 16 numbers of f32", entry.name));
        }
        for (i, (b, want)) in bytes.chunks_exact(4).zip(table).enumerate() {
            let have = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            if have.is_nan() || (have - want).abs() > 1e-6 {
                return Err(format!("{}[{i}] = {have}, but in the table of {format} it is {want}", entry.name));
            }
        }
        Ok(())
    }

    fn bitnet(&self, base: &str, at: usize, [rows, k]: [usize; 2]) -> Found {
        let sure = self.method() == "bitnet";
        let Some(scale) = self.find(base, "weight_scale").filter(|_| sure || self.method().is_empty()) else {
            return Ok(None);
        };
        let online = |name: &str, value: &str| -> Read<bool> {
            let said = self.config.map(|config| config.value.name(name)).transpose()?.flatten();
            Ok(said == Some(value))
        };
        let multiplies = online("linear_class", "autobitlinear")? && online("quantization_mode", "offline")?;
        let Some(n) = rows.checked_mul(4) else { return Ok(None) };
        let format = Format::Bitnet(Bitnet { scale_is_inverse: !multiplies });
        let parts = [("weight", at, How::Same), ("weight_scale", scale, How::Scale)];
        Ok(Some((Group::new(self.entries[at].name.clone(), format, [n, k], &parts), sure)))
    }

    fn mlx(&self, base: &str, at: usize, [n, cols]: [usize; 2]) -> Found {
        let Some(scales) = self.find(base, "scales") else { return Ok(None) };
        let biases = self.find(base, "biases");
        let group_words = self.shape(scales).last().copied().unwrap_or_default();
        let config = self.config.filter(|config| config.method == "mlx");
        let (mode, said_bits, along) = match config {
            Some(config) => {
                let own = config.value.get(base);
                if own == Some(&Value::Flag(false)) {
                    return Err(format!("{base} = false, but it is packed"));
                }
                // What is said of this weight is in place of what is said of all.
                let own = own.filter(|own| matches!(own, Value::Map(_)));
                let from = own.unwrap_or(&config.value);
                let mode = from.name("mode")?.unwrap_or("affine");
                // What is not said beside it is not what is said of all, but MLX's own default.
                let default = |v| Some(v).filter(|_| own.is_some() && mode == "affine");
                (mode, from.count("bits")?.or(default(4)), from.count("group_size")?.or(default(64)))
            }
            // Four bits to a word and 32 to a scale fit no other.
            None if biases.is_none() && self.stored(scales) == "u8" && group_words.checked_mul(4) == Some(cols) => {
                ("mxfp4", None, None)
            }
            None => return Ok(None),
        };
        let (format, bits, wants) = match mode {
            "affine" => {
                let bits = said_bits.ok_or("bits is missing")?;
                let group = along.ok_or("group_size is missing")?;
                (Format::MlxAffine(MlxAffine { bits, group }), bits, None)
            }
            "mxfp4" => (Format::MlxMxfp4, 4, Some((4, 32))),
            "mxfp8" => (Format::MlxMxfp8, 8, Some((8, 32))),
            "nvfp4" => (Format::MlxNvfp4, 4, Some((4, 16))),
            other => return Err(format!("mode = {other:.40}, but affine, mxfp4, mxfp8 and nvfp4 are read")),
        };
        if let Some((want_bits, want_group)) = wants {
            if said_bits.is_some_and(|said| said != want_bits) {
                return Err(format!("bits = {}, but {mode} has {want_bits}", said_bits.unwrap_or_default()));
            }
            if along.is_some_and(|said| said != want_group) {
                return Err(format!("group_size = {}, but {mode} has {want_group}", along.unwrap_or_default()));
            }
        }
        let fields = cols.checked_mul(32).and_then(|all| all.checked_div(bits as usize));
        let k = fields.ok_or_else(|| format!("bits = {bits}, but it must be at least 1"))?;
        let mut parts = vec![("w", at, How::Same), ("scales", scales, How::Same)];
        parts.extend(biases.map(|at| ("biases", at, How::Same)));
        Ok(Some((Group::new(self.entries[at].name.clone(), format, [n, k], &parts), config.is_some())))
    }

    fn fp8(&self, base: &str, at: usize, [n, k]: [usize; 2]) -> Found {
        let scale = self.find(base, "weight_scale_inv").or_else(|| self.find(base, "weight_scale"));
        let is_float = |at: &usize| matches!(self.stored(*at), "f32" | "f16" | "bf16");
        let Some(scale) = scale.filter(is_float) else { return Ok(None) };
        let sure = matches!(self.method(), "fp8" | "fbgemm_fp8");
        let said = self.config.map(|config| config.value.pair("weight_block_size")).transpose()?.flatten();
        let block = match (said, self.shape(scale)) {
            (Some(block), _) => Some(block),
            (None, [1, 1]) => None,
            (None, [rows, cols]) if (*rows, *cols) != (n, 1) => Some([128, 128]),
            _ => None,
        };
        let small = |size: usize| u32::try_from(size).map_err(|_| format!("weight_block_size {size} is out of range"));
        let block = block.map(|[rows, cols]| Ok::<_, String>([small(rows)?, small(cols)?])).transpose()?;
        let format =
            if self.stored(at) == "f8_e4m3" { Format::Fp8E4m3(Fp8 { block }) } else { Format::Fp8E5m2(Fp8 { block }) };
        let parts = [("weight", at, How::Bytes), ("weight_scale", scale, How::Scale)];
        Ok(Some((Group::new(self.entries[at].name.clone(), format, [n, k], &parts), sure)))
    }

    fn hqq(&self, base: &str, at: usize) -> Found {
        let (Some(scale), Some(zero), Some(shape)) =
            (self.find(base, "scale"), self.find(base, "zero"), self.find(base, "shape"))
        else {
            return Ok(None);
        };
        let sure = self.method() == "hqq";
        let size = |v: &i64| usize::try_from(*v).ok();
        let Some([n, k]) = self.wholes(shape).and_then(|v| match &v[..] {
            [n, k] => Some([size(n)?, size(k)?]),
            _ => None,
        }) else {
            return if sure { Err(format!("{base}.shape is not two sizes")) } else { Ok(None) };
        };
        let mut parts = vec![("W_q", at, How::Same), ("scale", scale, How::Same), ("zero", zero, How::Same)];
        parts.push(("shape", shape, How::Seen));
        let all = self.config.filter(|_| sure).and_then(|config| config.value.get("quant_config"));
        let all = all.and_then(|all| all.get("weight_quant_params"));
        let mut number = |name: &'static str| -> Read<Option<i64>> {
            let own = self.find(base, name);
            parts.extend(own.map(|at| (name, at, How::Seen)));
            match own.and_then(|at| self.wholes(at)).as_deref() {
                Some([v]) => Ok(Some(*v)),
                _ => all.map(|all| all.whole(name)).transpose().map(Option::flatten),
            }
        };
        let (bits, group, axis) = (number("nbits")?, number("group_size")?, number("axis")?);
        let small = |name: &str, v: i64| u32::try_from(v).map_err(|_| format!("{name} = {v} is out of range"));
        let Some(bits) = bits else { return if sure { Err("nbits is missing".into()) } else { Ok(None) } };
        let format = Format::Hqq(Hqq {
            bits: small("nbits", bits)?,
            group: group.map_or(Ok(Along::All), along)?,
            axis: small("axis", axis.unwrap_or(1))?,
        });
        Ok(Some((Group::new(format!("{base}.weight"), format, [n, k], &parts), sure)))
    }

    fn leanquant(&self, base: &str, at: usize) -> Found {
        let (&[n, half], Some(grid)) = (self.shape(at), self.find(base, "quant_grid")) else { return Ok(None) };
        let bits = match self.shape(grid) {
            [_, entries] if entries.is_power_of_two() => entries.trailing_zeros(),
            _ => return Ok(None),
        };
        let Some(k) = half.checked_mul(2) else { return Ok(None) };
        let parts = [("weight_codes", at, How::Same), ("quant_grid", grid, How::Same)];
        let format = Format::Leanquant(Leanquant { bits });
        Ok(Some((Group::new(format!("{base}.weight"), format, [n, k], &parts), false)))
    }

    fn bcq(&self, base: &str, at: usize) -> Found {
        let (&[k, words, bits], Some(alpha)) = (self.shape(at), self.find(base, "alpha")) else { return Ok(None) };
        let &[rows, cols, _] = self.shape(alpha) else { return Ok(None) };
        let n = words.checked_mul(32);
        let exact = |all: usize, parts: usize| all.checked_div(parts).filter(|size| size * parts == all);
        let (Some(n), Some(Ok(across))) = (n, exact(k, rows).map(u32::try_from)) else { return Ok(None) };
        let (Some(group), Ok(bits)) = (split(n, cols), u32::try_from(bits)) else { return Ok(None) };
        let parts = [("bWeight", at, How::Same), ("alpha", alpha, How::Same)];
        let format = Format::Bcq(Bcq { bits, group, cols: across });
        Ok(Some((Group::new(format!("{base}.weight"), format, [n, k], &parts), false)))
    }
}
