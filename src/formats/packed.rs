//! A weight on the host.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::{bf16, f16};

use super::Format;
use super::codec::{Check, Codec, F32_F16};
use crate::error::{Result, shape_error};

/// How the numbers of a tensor in a file are stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit signed integer.
    I16,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer; also 8-bit floats.
    U8,
}

impl Dtype {
    /// As written in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I8 => "i8",
            Self::U8 => "u8",
        }
    }

    /// The bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }
}

/// One tensor of a weight, as it stands in a file: row-major, little-endian. [`Packed::new`] judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its bytes: of a map, or its own.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Part<'a> {
    /// A tensor of these bytes.
    pub fn new(dtype: Dtype, shape: &[usize], bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { dtype, shape: shape.to_vec(), bytes: bytes.into() }
    }

    /// An f32 tensor of these values.
    pub(crate) fn f32s(shape: &[usize], values: &[f32]) -> Part<'static> {
        Part::new(Dtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// The number of elements that the bytes make.
    pub(crate) fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.bytes()
    }

    /// Byte i.
    pub(crate) fn byte(&self, i: usize) -> u8 {
        self.bytes[i]
    }

    /// 16 bits, as number i of such.
    pub(crate) fn short(&self, i: usize) -> u16 {
        u16::from_le_bytes([self.bytes[2 * i], self.bytes[2 * i + 1]])
    }

    /// 32 bits, as number i of such.
    pub(crate) fn word(&self, i: usize) -> u32 {
        let b = &self.bytes[4 * i..4 * i + 4];
        u32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }

    /// Number i, as f32.
    pub(crate) fn float(&self, i: usize) -> f32 {
        match self.dtype {
            Dtype::F32 => f32::from_bits(self.word(i)),
            Dtype::F16 => f16::from_bits(self.short(i)).to_f32(),
            Dtype::Bf16 => bf16::from_bits(self.short(i)).to_f32(),
            Dtype::I32 => self.word(i) as i32 as f32,
            Dtype::U32 => self.word(i) as f32,
            Dtype::I16 => f32::from(self.short(i) as i16),
            Dtype::U16 => f32::from(self.short(i)),
            Dtype::I8 => f32::from(self.byte(i) as i8),
            Dtype::U8 => f32::from(self.byte(i)),
        }
    }
}

/// What stands for a tensor that is not there; checks see to it that none is read.
static NOTHING: Part<'static> = Part { dtype: Dtype::U8, shape: Vec::new(), bytes: Cow::Borrowed(&[]) };

/// A weight `w[N,K]` on the host, in a format: tensors by name, all checked. Cannot be changed.
///
/// Beside the format's own tensors there may be a sparse side list, which is added to what the format decodes to:
/// `sparse.row` and `sparse.col` (i32, `[P]`) and `sparse.value` (f32 or f16, `[P]`). A pair may occur more than once.
///
/// Sources of the side list: Super Weight (arXiv 2411.07191), and ReQuant, whose layout is **unverified**: none was published.
#[derive(Clone, Debug)]
pub struct Packed<'a> {
    format: Format,
    n: usize,
    k: usize,
    parts: BTreeMap<String, Part<'a>>,
    /// The side list by row; of a row, in the order of the file.
    side: Vec<(usize, usize, f32)>,
}

impl<'a> Packed<'a> {
    /// Checks the tensors of a weight.
    ///
    /// # Errors
    /// N or K is 0, not a multiple that the format needs, or too large for this machine; a number of the format that it cannot have; a
    /// tensor that is missing, unknown, stored as another type, of a shape that does not follow, or of another number of bytes than its
    /// shape has; an index out of range. The error names the format, the tensor, the rule and both values.
    pub fn new(format: Format, n: usize, k: usize, parts: BTreeMap<String, Part<'a>>) -> Result<Self> {
        let name = format.name();
        if n == 0 || k == 0 {
            return Err(shape_error!(name, "N = {n} and K = {k}, but both must be at least 1"));
        }
        // From here on n·k·16 does not overflow, nor does any size that a codec computes.
        if n.checked_mul(k).is_none_or(|nk| nk > usize::MAX / 16) {
            return Err(shape_error!(name, "N = {n} by K = {k} is more than this machine can count"));
        }
        format.codec().valid(name)?;
        for (role, part) in &parts {
            let elements = part.shape.iter().try_fold(part.dtype.bytes(), |size, d| size.checked_mul(*d));
            if elements != Some(part.bytes.len()) {
                return Err(shape_error!(
                    name,
                    "{role} has {} bytes, but shape {:?} of {}",
                    part.bytes.len(),
                    part.shape,
                    part.dtype.name()
                ));
            }
        }
        let mut check = Check::new(name, n, k, &parts);
        format.codec().check(&mut check)?;
        let side = side_list(&mut check)?;
        check.finish()?;
        Ok(Self { format, n, k, parts, side })
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn codec(&self) -> &dyn Codec {
        self.format.codec()
    }

    /// The number of rows: output features.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The length of a row: input features.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The tensors by name.
    pub fn parts(&self) -> &BTreeMap<String, Part<'a>> {
        &self.parts
    }

    /// The tensor of this name.
    pub fn part(&self, name: &str) -> Option<&Part<'a>> {
        self.parts.get(name)
    }

    /// The bytes of all tensors.
    pub fn bytes(&self) -> usize {
        self.parts.values().map(|p| p.bytes.len()).sum()
    }

    /// A tensor that the check has seen.
    pub(crate) fn get(&self, name: &str) -> &Part<'a> {
        self.parts.get(name).unwrap_or(&NOTHING)
    }

    /// All values, row-major `[N,K]`.
    pub fn decode(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.n * self.k];
        for (n, row) in values.chunks_exact_mut(self.k).enumerate() {
            self.fill(n, row);
        }
        values
    }

    /// The K values of row n.
    ///
    /// # Errors
    /// There is no such row, or `out` has not K places.
    pub fn decode_row(&self, n: usize, out: &mut [f32]) -> Result<()> {
        if n >= self.n || out.len() != self.k {
            let format = self.format.name();
            return Err(shape_error!(
                format,
                "row {n} into {} places, but the weight has {} rows of {}",
                out.len(),
                self.n,
                self.k
            ));
        }
        self.fill(n, out);
        Ok(())
    }

    fn fill(&self, n: usize, out: &mut [f32]) {
        let codec = self.format.codec();
        match codec.form(self) {
            Some(form) => form.row(self, codec, n, out),
            None => codec.row(self, n, out),
        }
        for (col, value) in self.side(n) {
            out[col] += value;
        }
    }

    /// What is added to row n, in this order: column and value.
    pub(crate) fn side(&self, n: usize) -> Vec<(usize, f32)> {
        let mut side = self.format.codec().extra(self, n);
        let from = self.side.partition_point(|(row, ..)| *row < n);
        side.extend(self.side[from..].iter().take_while(|(row, ..)| *row == n).map(|(_, col, value)| (*col, *value)));
        side
    }

    /// Something is added to some row.
    pub(crate) fn has_side(&self) -> bool {
        !self.side.is_empty() || !self.format.codec().extra(self, 0).is_empty()
    }
}

impl Packed<'static> {
    /// The values, row-major `[N,K]`, rounded into a format by its published rule. The page of the format says which; scales that f16
    /// cannot hold are stored as its largest number.
    ///
    /// # Errors
    /// The format has no rule ([`Format::encodes`]); there are not N·K values, or one is not finite; groups so much longer than rows that
    /// the weight would be many times as large as its values; as [`Packed::new`].
    pub fn encode(format: Format, n: usize, k: usize, values: &[f32]) -> Result<Self> {
        let name = format.name();
        if !format.encodes() {
            return Err(shape_error!(name, "there is no published rule for encoding"));
        }
        if n.checked_mul(k) != Some(values.len()) || values.is_empty() {
            return Err(shape_error!(name, "{} values for N = {n} by K = {k}", values.len()));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(shape_error!(name, "the value at {at} is {}, which is not finite", values[at]));
        }
        format.codec().valid(name)?;
        let padded = format.codec().padded(k);
        if n.checked_mul(padded).is_none_or(|all| all / 16 > values.len().max(1 << 22)) {
            return Err(shape_error!(name, "{n} rows of K = {k} would be stored as {padded} numbers each"));
        }
        let parts = format.codec().encode(n, k, values);
        Self::new(format, n, k, parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect())
    }
}

/// The sparse side list, sorted by row.
fn side_list(w: &mut Check<'_>) -> Result<Vec<(usize, usize, f32)>> {
    const LIST: [&str; 3] = ["sparse.row", "sparse.col", "sparse.value"];
    if !LIST.iter().any(|name| w.has(name)) {
        return Ok(Vec::new());
    }
    let row = w.need(LIST[0], &[Dtype::I32])?;
    let entries = row.elements();
    w.shape(LIST[0], row, &[&[entries]])?;
    let col = w.exact(LIST[1], &[Dtype::I32], &[entries])?;
    let value = w.exact(LIST[2], F32_F16, &[entries])?;
    w.indices(LIST[0], row, w.n)?;
    w.indices(LIST[1], col, w.k)?;
    let mut list: Vec<_> = (0..entries).map(|i| (row.word(i) as usize, col.word(i) as usize, value.float(i))).collect();
    list.sort_by_key(|(row, ..)| *row);
    Ok(list)
}
