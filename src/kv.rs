//! Keys and values on a device, as a cache stores them: rows that can be written one by one.
//!
//! F32, f16 and bf16 are a dense tensor. In the other formats rows are blocks of 32 numbers in one tensor of words:
//!
//! ```text
//! codes   row 0: block 0, block 1, …   row 1: …      q8_0, e4m3: 8 words a block    q4_0: 4 words
//! scales  row 0: f16 f16 │ f16 ·       row 1: …      two to a word, whole words a row; none for e4m3
//! ```
//!
//! Byte j of a block of bytes is number j. In a block of nibbles, word w has numbers 8w … 8w + 3 in the low nibbles of its bytes
//! and 8w + 4 … 8w + 7 in the high ones: a load of 16 bytes is 32 codes, four at a time under one mask. No two rows share
//! a word, so that rows can be written at the same time. Codes past the width stand for 0. The whole ends at a multiple of 16 bytes.
//!
//! Sources: the blocks are those of `q8_0` and `q4_0` of GGUF (ggml), in another order; e4m3 is the finite-only kind of Micikevicius et
//! al., "FP8 Formats for Deep Learning" (arXiv 2209.05433), with one scale for the tensor.

use half::f16;

use crate::caps::Caps;
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result, shape_error};
use crate::formats::bits::{amax, f8, f8_from, f16_from, inverse};
use crate::ops::params::params;
use crate::ops::step::{Builder, Loads, Part};
use crate::plan::Access;
use crate::tensor::{Elem, Layout, Tensor};

/// How keys or values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper halves of f32.
    Bf16,
    /// Signed bytes with an f16 scale for 32 numbers: 8.5 bits a number. `d = max|v| / 127`, `q = round(v / d)`.
    Q8_0,
    /// 4 bits about 8 with an f16 scale for 32 numbers: 4.5 bits a number. `d = p / −8` with p the value of the largest magnitude,
    /// `q = min(trunc(v / d + 8.5), 15)`.
    Q4_0,
    /// Floats of 8 bits, 448 at most, with one scale for the tensor.
    E4m3,
}

impl KvFormat {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0, Self::E4m3];

    /// As written in messages and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::E4m3 => "e4m3",
        }
    }

    /// The storage of numbers; none where rows are blocks of codes.
    pub fn elem(self) -> Option<Elem> {
        match self {
            Self::F32 => Some(Elem::F32),
            Self::F16 => Some(Elem::F16),
            Self::Bf16 => Some(Elem::Bf16),
            Self::Q8_0 | Self::Q4_0 | Self::E4m3 => None,
        }
    }

    /// Words of codes in a block.
    fn code_words(self) -> usize {
        if self == Self::Q4_0 { 4 } else { 8 }
    }

    /// Words of scales in a row of so many blocks.
    fn scale_words(self, blocks: usize) -> usize {
        if self == Self::E4m3 { 0 } else { blocks.div_ceil(2) }
    }

    /// Bytes of one row of `width` numbers.
    pub fn row_bytes(self, width: usize) -> usize {
        let blocks = width.div_ceil(32);
        let words = blocks.saturating_mul(self.code_words()).saturating_add(self.scale_words(blocks));
        self.elem().map_or(words.saturating_mul(4), |elem| width.saturating_mul(elem.bytes()))
    }

    /// Bytes of so many rows. Codes are read 16 bytes at a time, and end at a multiple of that.
    pub fn bytes(self, rows: usize, width: usize) -> usize {
        let bytes = rows.saturating_mul(self.row_bytes(width));
        if self.elem().is_some() { bytes } else { bytes.checked_next_multiple_of(16).unwrap_or(usize::MAX) }
    }

    /// Codes of a block, and its scale. It has 32 numbers at most.
    fn block(self, values: &[f32], scale: f32, words: &mut [u32]) -> f16 {
        let byte = |words: &mut [u32], i: usize, q: u8| words[i / 4] |= u32::from(q) << (i % 4 * 8);
        match self {
            Self::Q4_0 => {
                let largest = values.iter().fold(0.0f32, |most, v| if v.abs() > most.abs() { *v } else { most });
                let d = largest / -8.0;
                let id = inverse(d);
                for i in 0..32 {
                    let v = values.get(i).copied().unwrap_or(0.0);
                    let q = (v * id + 8.5).clamp(0.0, 15.0) as u32;
                    words[i / 8] |= q << (i % 4 * 8 + i / 4 % 2 * 4);
                }
                f16_from(d)
            }
            Self::E4m3 => {
                let code = |v: f32| if v.is_nan() { 0x7f } else { f8_from::<3>(v / scale) };
                values.iter().enumerate().for_each(|(i, v)| byte(words, i, code(*v)));
                f16::ZERO
            }
            _ => {
                let d = amax(values) / 127.0;
                let id = inverse(d);
                values.iter().enumerate().for_each(|(i, v)| byte(words, i, (v * id).round() as i8 as u8));
                f16_from(d)
            }
        }
    }

    /// The words of rows of codes, of this width.
    pub(crate) fn encode(self, values: &[f32], width: usize, scale: f32) -> Vec<u32> {
        let rows = values.len() / width.max(1);
        let (blocks, size) = (width.div_ceil(32), self.code_words());
        let (of_row, codes) = (self.scale_words(blocks), rows * blocks * size);
        let mut words = vec![0u32; self.bytes(rows, width) / 4];
        let (code_words, scale_words) = words.split_at_mut(codes);
        for (row, values) in values.chunks(width.max(1)).enumerate() {
            for (b, values) in values.chunks(32).enumerate() {
                let at = (row * blocks + b) * size;
                let scale = self.block(values, scale, &mut code_words[at..at + size]);
                if of_row > 0 {
                    scale_words[row * of_row + b / 2] |= u32::from(scale.to_bits()) << (b % 2 * 16);
                }
            }
        }
        words
    }

    /// What the words of rows of codes stand for.
    pub(crate) fn decode(self, words: &[u32], width: usize, scale: f32) -> Vec<f32> {
        let (blocks, size) = (width.div_ceil(32), self.code_words());
        let of_row = self.scale_words(blocks);
        let rows = words.len() / (blocks * size + of_row).max(1);
        let codes = rows * blocks * size;
        let mut values = Vec::with_capacity(rows * width);
        for row in 0..rows {
            for i in 0..width {
                let b = i / 32;
                let at = (row * blocks + b) * size;
                let scale = if of_row == 0 {
                    scale
                } else {
                    f16::from_bits((words[codes + row * of_row + b / 2] >> (b % 2 * 16)) as u16).to_f32()
                };
                values.push(self.number(&words[at..at + size], i % 32, scale));
            }
        }
        values
    }

    /// Number i of a block.
    fn number(self, words: &[u32], i: usize, scale: f32) -> f32 {
        let byte = (words[i / if self == Self::Q4_0 { 8 } else { 4 }] >> (i % 4 * 8)) as u8;
        match self {
            Self::Q4_0 => f32::from(i16::from(if i / 4 % 2 == 1 { byte >> 4 } else { byte & 15 }) - 8) * scale,
            Self::E4m3 => f8::<3>(byte) * scale,
            _ => f32::from(byte as i8) * scale,
        }
    }
}

/// Keys or values on a device: `rows` rows of `width` numbers, each the key or the value of one token in one head.
///
/// Which row is whose is the affair of what reads and writes them ([`Place`]). Cloning shares the buffer. Made by
/// [`KvRows::of`] over a dense tensor, or by [`Dispatcher::kv`].
#[derive(Clone, Debug)]
pub struct KvRows {
    tensor: Tensor,
    format: KvFormat,
    rows: usize,
    width: usize,
    scale: f32,
}

/// Where the row of a token is among the rows of a cache: token j of head g of element b of the batch.
#[derive(Clone, Copy, Debug, Default)]
pub enum Place<'a> {
    /// `[B, G, room, width]`: row `(b·G + g)·room + j`.
    #[default]
    Heads,
    /// `[B, room, G, width]`: row `(b·room + j)·G + g`.
    Tokens,
    /// Pages of `page` tokens, `[pages, G, page, width]`: with `p = table[b, j / page]`, row `(p·G + g)·page + j % page`.
    Paged {
        /// Block tables, I32, `[B, pages of each]`. What is below 0 or not among the pages is no page: nothing is written there.
        table: &'a Tensor,
        /// Tokens of a page.
        page: usize,
    },
}

impl<'a> Place<'a> {
    /// The block table.
    pub(crate) fn table(&self) -> Option<&'a Tensor> {
        match self {
            Self::Paged { table, .. } => Some(table),
            Self::Heads | Self::Tokens => None,
        }
    }

    /// Where rows are, in a cache of `heads` heads; where the block tables begin is left open.
    pub(crate) fn of(&self, op: &'static str, rows: u64, batch: usize, heads: usize) -> Result<KvPlace> {
        let pages_of = |each: usize| {
            if each == 0 || u32::try_from(each).is_err() || !rows.is_multiple_of(each as u64) {
                return Err(shape_error!(op, "{rows} rows are not those of {heads} heads in equal parts of {each}"));
            }
            Ok((rows / each as u64) as u32)
        };
        let heads_rows = heads as u32;
        match self {
            Self::Heads | Self::Tokens => {
                let room = if batch == 0 { 0 } else { pages_of(batch.saturating_mul(heads))? };
                let (head_rows, token_rows) = if matches!(self, Self::Heads) { (room, 1) } else { (1, heads_rows) };
                let (batch_rows, page) = (room * heads_rows, u32::MAX);
                Ok(KvPlace { batch_rows, head_rows, token_rows, page, room, held: batch as u32, ..Default::default() })
            }
            Self::Paged { table, page } => {
                if table.elem() != Elem::I32 {
                    let have = table.elem().name();
                    return Err(Error::Storage { op, operand: "the block table", have, want: "i32" });
                }
                let shape = table.shape();
                let [tables, pages] = shape.dims() else {
                    return Err(shape_error!(op, "the block table has shape {shape}, not [B, pages]"));
                };
                if *tables != batch {
                    return Err(shape_error!(
                        op,
                        "the block table has {tables} rows, but the batch has {batch} elements"
                    ));
                }
                let size = *page as u32;
                let held = pages_of(page.saturating_mul(heads))?;
                let (batch_rows, room) = (size * heads_rows, (*pages as u32).saturating_mul(size));
                let pages = *pages as u32;
                Ok(KvPlace { batch_rows, head_rows: size, token_rows: 1, page: size, pages, table: 0, room, held })
            }
        }
    }
}

const OP: &str = "kv rows";

impl KvRows {
    /// Rows of a dense tensor: its last dimension is their width.
    ///
    /// # Errors
    /// A storage that is no float, or rows of no numbers.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let format = KvFormat::ALL.into_iter().find(|f| f.elem() == Some(tensor.elem()));
        let Some(format) = format else {
            let (have, want) = (tensor.elem().name(), "f32, f16 or bf16");
            return Err(Error::Storage { op: OP, operand: "the tensor", have, want });
        };
        let width = tensor.shape().dims().last().copied().unwrap_or(0);
        if width == 0 {
            return Err(shape_error!(OP, "a tensor of shape {} has rows of no numbers", tensor.shape()));
        }
        Ok(Self { tensor: tensor.clone(), format, rows: tensor.elements() / width, width, scale: 1.0 })
    }

    /// Rows in any format over a tensor that has their bytes: of the format's numbers, or U32.
    ///
    /// # Errors
    /// Another storage or size, rows of no numbers, or words that do not begin at a multiple of 16 bytes.
    pub fn over(tensor: &Tensor, format: KvFormat, rows: usize, width: usize) -> Result<Self> {
        let elem = format.elem().unwrap_or(Elem::U32);
        if tensor.elem() != elem {
            let (have, want) = (tensor.elem().name(), elem.name());
            return Err(Error::Storage { op: OP, operand: "the tensor", have, want });
        }
        if width == 0 {
            return Err(shape_error!(OP, "rows have no numbers"));
        }
        let bytes = format.bytes(rows, width) as u64;
        if tensor.bytes() != bytes {
            let (name, have) = (format.name(), tensor.bytes());
            return Err(shape_error!(OP, "{rows} rows of {width} numbers in {name} are {bytes} bytes, not {have}"));
        }
        if format.elem().is_none() && !tensor.offset_bytes().is_multiple_of(16) {
            return Err(shape_error!(OP, "codes begin at byte {}, not at a multiple of 16", tensor.offset_bytes()));
        }
        Ok(Self { tensor: tensor.clone(), format, rows, width, scale: 1.0 })
    }

    /// Rows without memory, of no device, for plans where there is no GPU.
    ///
    /// # Errors
    /// Rows of no numbers, or more than a shape can have.
    pub fn outline(format: KvFormat, rows: usize, width: usize) -> Result<Self> {
        Self::over(
            &Tensor::outline(words(format, rows, width), format.elem().unwrap_or(Elem::U32))?,
            format,
            rows,
            width,
        )
    }

    /// The same rows, whose codes stand for so many times what they are: of [`KvFormat::E4m3`] only, where `v = e4m3 · scale`.
    ///
    /// # Errors
    /// A scale that is not a normal number above 0, or a format that has its own scales.
    pub fn with_scale(self, scale: f32) -> Result<Self> {
        if self.format != KvFormat::E4m3 || !scale.is_normal() || scale < 0.0 {
            let rule = "it must be a normal number above 0, and the format e4m3";
            return Err(Error::Value { op: OP, name: "scale", value: scale.to_string(), rule });
        }
        Ok(Self { scale, ..self })
    }

    /// The buffer.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// How they are stored.
    pub fn format(&self) -> KvFormat {
        self.format
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in each.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The bytes of all.
    pub fn bytes(&self) -> u64 {
        self.tensor.bytes()
    }

    /// Replaces all rows. This rounds as the kernels do, but for ties.
    ///
    /// # Errors
    /// Another number of values, or as [`Tensor::write_bytes`].
    pub fn write(&self, values: &[f32]) -> Result<()> {
        if values.len() != self.rows * self.width {
            let want = self.rows * self.width;
            return Err(shape_error!(OP, "{} values given for {want}", values.len()));
        }
        if let Some(elem) = self.format.elem() {
            return self.tensor.write_bytes(&elem.encode(values));
        }
        let words = self.format.encode(values, self.width, self.scale);
        self.tensor.write_bytes(bytemuck::cast_slice(&words))
    }

    /// What the rows stand for. Waits for all that was submitted before.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub async fn read(&self) -> Result<Vec<f32>> {
        if self.format.elem().is_some() {
            return self.tensor.read().await;
        }
        Ok(self.format.decode(&self.tensor.read_words().await?, self.width, self.scale))
    }

    /// What a problem keeps.
    pub(crate) fn layout(&self) -> KvLayout {
        KvLayout {
            layout: self.tensor.layout(),
            format: self.format,
            rows: self.rows as u64,
            width: self.width as u64,
            scale: self.scale.to_bits(),
        }
    }
}

/// Elements of a tensor for so many rows.
fn words(format: KvFormat, rows: usize, width: usize) -> [usize; 1] {
    [format.bytes(rows, width) / format.elem().map_or(4, Elem::bytes)]
}

impl Dispatcher {
    /// Rows for keys or values, all zero.
    ///
    /// # Errors
    /// Rows of no numbers, no memory, or a lost device.
    pub fn kv(&self, format: KvFormat, rows: usize, width: usize) -> Result<KvRows> {
        let elem = format.elem().unwrap_or(Elem::U32);
        // Codes that are all 0 do not stand for 0 in q4_0, but their scale does.
        KvRows::over(&self.zeros(words(format, rows, width), elem)?, format, rows, width)
    }
}

/// Rows as a problem keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KvLayout {
    layout: Layout,
    pub format: KvFormat,
    pub rows: u64,
    pub width: u64,
    scale: u32,
}

params! {
    /// Where the sections of rows lie in their buffer: `kv_At` of `lib/kv.wgsl`, where each is explained.
    KvAt {
        /// The first element or word.
        first: u32,
        /// Numbers in a row.
        width: u32,
        /// The first word of scales.
        scales: u32,
        /// The scale of all.
        scale: f32,
    }
}

params! {
    /// Where the row of a token is: `kv_Place` of `lib/kv.wgsl`, where each is explained.
    KvPlace {
        /// From one element of the batch, or page, to the next.
        batch_rows: u32,
        /// From one head to the next.
        head_rows: u32,
        /// From one token to the next.
        token_rows: u32,
        /// Tokens of a page.
        page: u32,
        /// Entries of a block table for one element of the batch.
        pages: u32,
        /// The word at which block tables begin.
        table: u32,
        /// Tokens of one element of the batch at most.
        room: u32,
        /// Pages that there are, or elements of the batch.
        held: u32,
    }
}

/// The names of a slot for rows, and of the slot inside its dense filling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvSlot {
    pub slot: &'static str,
    pub read: &'static str,
    pub write: &'static str,
}

/// Keys.
pub(crate) const KEYS: KvSlot = KvSlot { slot: "keys", read: "keys_read", write: "keys_write" };
/// Values.
pub(crate) const VALUES: KvSlot = KvSlot { slot: "values", read: "values_read", write: "values_write" };

impl KvLayout {
    /// All rows fit a binding of the device.
    pub fn check(&self, op: &'static str, caps: &Caps) -> Result<()> {
        let (_, need, _) = self.layout.bind(0, self.layout.elements);
        // Kernels count elements in 32 bits.
        let have = caps.storage_binding_bytes;
        if need > have {
            return Err(Error::Limit { op, limit: "storage_binding_bytes", need, have });
        }
        Ok(())
    }

    /// Two runs of words that hold `count` rows, codes and scales: where they are, where they go, and how many they are. None where rows are
    /// not whole words.
    pub fn words(&self, from: u64, to: u64, count: u64) -> Option<[[u64; 3]; 2]> {
        let blocks = self.width.div_ceil(32);
        if let Some(elem) = self.format.elem() {
            let bytes = |rows: u64| rows * self.width * elem.bytes() as u64;
            let whole = [bytes(from), bytes(to), bytes(count), self.layout.offset_bytes].iter().all(|b| b % 4 == 0);
            return whole.then(|| [[bytes(from) / 4, bytes(to) / 4, bytes(count) / 4], [0; 3]]);
        }
        let codes = |rows: u64| rows * blocks * self.format.code_words() as u64;
        let scales = |rows: u64| rows * self.format.scale_words(blocks as usize) as u64;
        let first = codes(self.rows);
        Some([[codes(from), codes(to), codes(count)], [first + scales(from), first + scales(to), scales(count)]])
    }

    /// Binds the rows as words that are written: the first of them.
    pub fn bind_words(&self, step: &mut Builder, binding: u32, operand: usize) -> u32 {
        let head = step.bind(binding, Part::whole(operand, self.layout), Access::Write);
        head * self.layout.elem.bytes() as u32 / 4
    }

    fn at(&self, head: u32) -> KvAt {
        let codes = self.rows * self.width.div_ceil(32) * self.format.code_words() as u64;
        KvAt {
            first: head,
            width: self.width as u32,
            scales: head + if self.format.elem().is_some() { 0 } else { codes as u32 },
            scale: f32::from_bits(self.scale),
        }
    }

    fn loads(&self, native_f16: bool) -> Loads {
        let first = self.layout.offset_bytes / self.layout.elem.bytes() as u64;
        Loads { quads: self.width.is_multiple_of(4) && first.is_multiple_of(4), native_f16 }
    }

    /// Fills a slot that reads rows, of operand number `operand`.
    pub fn read(&self, step: &mut Builder, slot: KvSlot, binding: u32, operand: usize, native_f16: bool) -> KvAt {
        let part = Part::whole(operand, self.layout);
        let filling = match self.format {
            KvFormat::Q8_0 => "slot/kv/q8_0",
            KvFormat::Q4_0 => "slot/kv/q4_0",
            KvFormat::E4m3 => "slot/kv/e4m3",
            _ => "slot/kv/dense",
        };
        step.fill(slot.slot, filling);
        self.at(match self.format.elem() {
            Some(_) => step.read_as(slot.read, binding, Some(part), "", self.loads(native_f16)),
            None => step.bind(binding, part, Access::Read),
        })
    }

    /// Fills a slot that writes rows.
    pub fn write(&self, step: &mut Builder, slot: KvSlot, binding: u32, operand: usize, native_f16: bool) -> KvAt {
        let part = Part::whole(operand, self.layout);
        let filling = match self.format {
            KvFormat::Q8_0 => "slot/kv_write/q8_0",
            KvFormat::Q4_0 => "slot/kv_write/q4_0",
            KvFormat::E4m3 => "slot/kv_write/e4m3",
            _ => "slot/kv_write/dense",
        };
        step.fill(slot.slot, filling);
        self.at(match self.format.elem() {
            Some(_) => step.write_as(slot.write, binding, part, self.loads(native_f16)),
            None => step.bind(binding, part, Access::Write),
        })
    }
}
