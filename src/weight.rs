//! Weights on a device.

use std::sync::Arc;

use crate::dispatch::Dispatcher;
use crate::error::{Result, shape_error};
use crate::formats::laid::Laid;
use crate::formats::{Format, Packed};
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
    /// Rows that do not fit a binding of [`Caps::baseline`](crate::Caps::baseline).
    pub fn outline(sample: &Packed<'_>, n: usize) -> Result<Self> {
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

    pub(crate) fn laid(&self) -> &Arc<Laid> {
        &self.laid
    }

    /// The buffers.
    pub(crate) fn chunks(&self) -> &[Tensor] {
        &self.chunks
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
        self.laid(w, Laid::new(w, self.binding_bytes())?)
    }

    /// A weight of `n` rows that repeat those of `w`: for timing, where what the numbers are is all the same.
    ///
    /// # Errors
    /// As [`Dispatcher::weight`]; or scales of `w` that run over its last row, which rows that are repeated would not have.
    pub fn weight_repeated(&self, w: &Packed<'_>, n: usize) -> Result<Weight> {
        let laid = Laid::like(w, n, self.binding_bytes())?;
        if !laid.repeats(w) {
            return Err(shape_error!(
                w.format().name(),
                "its {} rows cannot be repeated for N = {n}: they share scales",
                w.n()
            ));
        }
        self.laid(w, laid)
    }

    fn binding_bytes(&self) -> u64 {
        self.caps().storage_binding_bytes.min(self.caps().buffer_bytes)
    }

    fn laid(&self, w: &Packed<'_>, laid: Laid) -> Result<Weight> {
        let mut chunks = Vec::new();
        for chunk in laid.chunks() {
            let tensor = self.zeros([chunk.words as usize], Elem::U32)?;
            laid.write(w, chunk, |at, bytes| tensor.view(at as usize, [bytes.len() / 4])?.write_bytes(bytes))?;
            chunks.push(tensor);
        }
        Ok(Weight { laid: Arc::new(laid), chunks })
    }
}
