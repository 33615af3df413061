//! Weights on a device.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dispatch::Dispatcher;
use crate::error::{Error, Result, shape_error};
use crate::formats::laid::{Chunk, Laid};
use crate::formats::stack::Stack;
use crate::formats::{Dtype, Format, Packed, Part};
use crate::ops::linear::Encode;
use crate::tensor::{Elem, Tensor};

/// A weight `w[N,K]` on a device, in any [`Format`]: what [`Linear`](crate::ops::linear::Linear) multiplies with.
///
/// Its bits are those of the file, in another order: codes side by side along K, scales apart from them, so that every kernel loads
/// whole words next to each other (the layout is explained in `src/formats/laid.rs`). One wider than a binding of the device lies in
/// several buffers; nobody needs to know. Cloning shares the buffers. Made by [`Dispatcher::weight`].
#[derive(Clone, Debug)]
pub struct Weight {
    laid: Arc<Laid>,
    chunks: Vec<Tensor>,
}

impl Weight {
    /// A weight without memory, of no device, for plans where there is no GPU: in the format of `sample`, which has K columns and at
    /// least as few rows as the format allows, but with `n` rows.
    ///
    /// # Errors
    /// No rows, or 2^32; rows that do not fit a binding of [`Caps::baseline`](crate::Caps::baseline).
    pub fn outline(sample: &Packed<'_>, n: usize) -> Result<Self> {
        fits("outline", "n", n)?;
        let laid = Laid::like(sample, n, crate::Caps::baseline().storage_binding_bytes)?;
        let chunks =
            laid.chunks().iter().map(|c| Tensor::outline([c.words as usize], Elem::U32)).collect::<Result<_>>()?;
        Ok(Self { laid: Arc::new(laid), chunks })
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.laid.format()
    }

    /// Rows: output features.
    pub fn n(&self) -> usize {
        self.laid.n()
    }

    /// Columns: input features.
    pub fn k(&self) -> usize {
        self.laid.k()
    }

    /// The bytes that it takes on the device, which kernels stream.
    pub fn bytes(&self) -> u64 {
        self.laid.bytes()
    }

    /// Bits for each number, with all that belongs to it.
    pub fn bits(&self) -> f64 {
        self.bytes() as f64 * 8.0 / (self.n() * self.k()) as f64
    }

    /// The words that it takes on the device, of all its parts, in the layout of `src/formats/laid.rs`: for looking.
    ///
    /// # Errors
    /// A lost device, or an outline.
    pub async fn read_words(&self) -> Result<Vec<u32>> {
        let mut words = Vec::new();
        for chunk in &self.chunks {
            words.extend(chunk.read_words().await?);
        }
        Ok(words)
    }

    pub(crate) fn laid(&self) -> &Arc<Laid> {
        &self.laid
    }

    /// The buffers.
    pub(crate) fn chunks(&self) -> &[Tensor] {
        &self.chunks
    }

    /// What each buffer holds, and the buffer.
    fn parts(&self) -> impl Iterator<Item = (&Chunk, &Tensor)> {
        self.laid.chunks().iter().zip(&self.chunks)
    }

    /// Writes a weight of the same form, whose rows are repeated where it has fewer.
    pub(crate) fn write(&self, w: &Packed<'_>) -> Result<()> {
        self.write_stack(&Stack::one(w))
    }

    fn write_stack(&self, stack: &Stack<'_, '_>) -> Result<()> {
        for (chunk, tensor) in self.parts() {
            self.laid.write(stack, chunk, |at, bytes| put(tensor, at, bytes))?;
        }
        Ok(())
    }

    /// The same weight with other buffers, which hold the same: for timing.
    pub(crate) fn over(&self, chunks: Vec<Tensor>) -> Self {
        Self { laid: Arc::clone(&self.laid), chunks }
    }
}

impl Dispatcher {
    /// Puts a weight on the device. It goes there in pieces of a few megabytes, so that a weight in a memory map takes no memory
    /// of the host.
    ///
    /// # Errors
    /// Rows too wide for a binding of the device, no memory, or a lost device.
    pub fn weight(&self, w: &Packed<'_>) -> Result<Weight> {
        self.laid(&Stack::one(w), Laid::new(w, self.binding_bytes())?)
    }

    /// Puts matrices of one format below each other on the device, as one weight `[ΣN, K]`: one dispatch for what would be one each. Queries,
    /// keys and values of a layer are then [`Qkv::Packed`](crate::decoder::Qkv::Packed); for gate and up there is
    /// [`Linear::up`](crate::ops::linear::Linear). Their numbers are those of each by itself, bit for bit.
    ///
    /// Live adapters are of a whole weight: matrices that have their own stay apart.
    ///
    /// ```no_run
    /// # fn run(gpu: &gristmill::Dispatcher, file: &gristmill::checkpoint::Checkpoint<'_>) -> gristmill::Result<()> {
    /// let name = |of: &str| format!("model.layers.0.self_attn.{of}_proj.weight");
    /// let [q, k, v] = [file.weight(&name("q"))?, file.weight(&name("k"))?, file.weight(&name("v"))?];
    /// let qkv = gpu.weight_stacked(&[&q, &k, &v])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There are none; one is of another format or width than the first, or its numbers or scales are stored otherwise; groups of columns or
    /// a table that are not those of the first; scales that are nested or follow no rows, which belong to one matrix. As [`Dispatcher::weight`].
    pub fn weight_stacked(&self, all: &[&Packed<'_>]) -> Result<Weight> {
        let stack = Stack::new(all)?;
        self.laid(&stack, Laid::of(&stack, self.binding_bytes())?)
    }

    /// A weight of `n` rows that repeat those of `w`: for timing, where what the numbers are is all the same.
    ///
    /// # Errors
    /// As [`Dispatcher::weight`]; no rows, or 2^32; or scales of `w` that run over its last row, which rows that are repeated would not have.
    pub fn weight_repeated(&self, w: &Packed<'_>, n: usize) -> Result<Weight> {
        fits("weight_repeated", "n", n)?;
        let laid = Laid::like(w, n, self.binding_bytes())?;
        if !laid.repeats(w) {
            return Err(shape_error!(
                w.format().name(),
                "its {} rows cannot be repeated for N = {n}: they share scales",
                w.n()
            ));
        }
        self.laid(&Stack::one(w), laid)
    }

    /// A weight of zeros, `[n, k]`, to be written by [`Encode`]: memory in the layout of this format, and its table where it has one. `dense`
    /// is how dense numbers are stored, and not used otherwise.
    ///
    /// # Errors
    /// A format that no kernel encodes, or in which there is no weight of this shape; a row of more than 2^28 numbers; no memory, or a lost
    /// device.
    pub fn weight_zeros(&self, format: Format, dense: Elem, [n, k]: [usize; 2]) -> Result<Weight> {
        let op = "weight_zeros";
        fits(op, "n", n)?;
        fits(op, "k", k)?;
        if !dense.is_float() {
            return Err(Error::Storage { op, operand: "dense", have: dense.name(), want: "f32, f16 or bf16" });
        }
        if k > SAMPLE {
            let rule = "a row must have at most 2^28 numbers";
            return Err(Error::Value { op, name: "k", value: k.to_string(), rule });
        }
        // As many rows as most formats may want together, which are but few; else all, but no gigabytes for a shape that is none.
        let together = 1 << n.trailing_zeros().min(5);
        let rows = together.min(1 << (SAMPLE / k).ilog2());
        let many = matches!(format, Format::Bcq(_) | Format::Hqq(_) | Format::GroupIc(_));
        let all = n.saturating_mul(k) <= if many { 8 * SAMPLE } else { 1 << 20 };
        let sample =
            zeros(format, dense, rows, k).or_else(|e| if all { zeros(format, dense, n, k) } else { Err(e) })?;
        let laid = Laid::blank(&sample, n, self.binding_bytes())?;
        let value = || format.to_string();
        laid.written().map_err(|rule| Error::Value { op, name: "format", value: value(), rule })?;
        let weight = self.memory(laid)?;
        for (chunk, tensor) in weight.parts() {
            weight.laid.write_table(&sample, chunk, |at, bytes| put(tensor, at, bytes))?;
        }
        Ok(weight)
    }

    /// The numbers of `x[N,K]` as a weight in a format, made on the device: [`Dispatcher::weight_zeros`], then [`Encode`]. Dense numbers stay
    /// as they are stored.
    ///
    /// # Errors
    /// As of those two.
    pub fn encode(&self, x: &Tensor, format: Format) -> Result<Weight> {
        let &[n, k] = x.shape().dims() else {
            return Err(shape_error!("encode", "x has shape {}, but a weight has two dimensions", x.shape()));
        };
        let w = self.weight_zeros(format, x.elem(), [n, k])?;
        self.run(Encode { x, w: &w })?;
        Ok(w)
    }

    fn binding_bytes(&self) -> u64 {
        self.caps().storage_binding_bytes.min(self.caps().buffer_bytes)
    }

    fn laid(&self, stack: &Stack<'_, '_>, laid: Laid) -> Result<Weight> {
        let weight = self.memory(laid)?;
        weight.write_stack(stack)?;
        Ok(weight)
    }

    /// A weight all of whose words are 0.
    fn memory(&self, laid: Laid) -> Result<Weight> {
        let memory = |chunk: &Chunk| self.zeros([chunk.words as usize], Elem::U32);
        let chunks = laid.chunks().iter().map(memory).collect::<Result<_>>()?;
        Ok(Weight { laid: Arc::new(laid), chunks })
    }
}

/// So many numbers are rounded on the host to see how a format lies: a gigabyte.
const SAMPLE: usize = 1 << 28;

/// A weight may have so many rows or columns.
fn fits(op: &'static str, name: &'static str, size: usize) -> Result<()> {
    if size > 0 && u32::try_from(size).is_ok() {
        return Ok(());
    }
    Err(Error::Value { op, name, value: size.to_string(), rule: "it must be at least 1 and fit 32 bits" })
}

/// Writes words from word `at` on.
fn put(tensor: &Tensor, at: u64, bytes: &[u8]) -> Result<()> {
    tensor.view(at as usize, [bytes.len() / 4])?.write_bytes(bytes)
}

/// A weight of zeros on the host.
fn zeros(format: Format, dense: Elem, n: usize, k: usize) -> Result<Packed<'static>> {
    let dtype = match (format, dense) {
        (Format::Dense, Elem::F16) => Dtype::F16,
        (Format::Dense, Elem::Bf16) => Dtype::Bf16,
        _ => return Packed::encode(format, n, k, &vec![0.0; n * k]),
    };
    let part = Part::new(dtype, &[n, k], vec![0; n * k * 2]);
    Packed::new(format, n, k, BTreeMap::from([("w".to_owned(), part)]))
}
