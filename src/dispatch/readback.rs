//! Writing to and reading from tensors.

use futures::channel::oneshot;

use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::tensor::Elem;
use crate::tensor::Tensor;

impl Dispatcher {
    /// The bytes have been checked against the tensor; only their end may need padding to a whole word.
    pub(crate) fn write(&self, tensor: &Tensor, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        self.check()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let whole = bytes.len() / 4 * 4;
        let mut rest = [0; 4];
        rest[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
        self.scoped("write", || {
            if whole > 0 {
                self.queue().write_buffer(buffer, tensor.offset_bytes(), &bytes[..whole]);
            }
            if whole < bytes.len() {
                self.queue().write_buffer(buffer, tensor.offset_bytes() + whole as u64, &rest);
            }
        })
    }

    pub(crate) async fn read(&self, tensor: &Tensor, buffer: &wgpu::Buffer) -> Result<Vec<u8>> {
        self.settle().await?;
        if tensor.bytes() == 0 {
            return Ok(Vec::new());
        }
        let (copy, told) = self.copied(tensor, buffer)?;
        let own = self.own_answer();
        heard(self, told).await?;
        own.told().await?;
        self.settle().await?;
        copy.bytes(self)
    }

    /// A copy of a tensor that has bytes, on the way to the host, and who tells that it is there.
    fn copied(&self, tensor: &Tensor, buffer: &wgpu::Buffer) -> Result<(Copied, Told)> {
        let from = tensor.offset_bytes() / 4 * 4;
        let head = (tensor.offset_bytes() - from) as usize;
        let size = (head as u64 + tensor.bytes()).next_multiple_of(4);
        let (tell, told) = oneshot::channel();
        let staging = self.scoped("read", || {
            let staging = self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("gristmill read"),
                size,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            });
            let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(buffer, from, &staging, 0, size);
            self.queue().submit([encoder.finish()]);
            staging.map_async(wgpu::MapMode::Read, .., move |result| {
                let _ = tell.send(result.map_err(|e| e.to_string()));
            });
            staging
        })?;
        Ok((Copied { staging, head, bytes: tensor.bytes() as usize }, told))
    }
}

/// What a callback says.
type Told = oneshot::Receiver<std::result::Result<(), String>>;

/// A buffer of the host's with a tensor's bytes.
#[derive(Debug)]
struct Copied {
    staging: wgpu::Buffer,
    /// Bytes before them.
    head: usize,
    bytes: usize,
}

impl Copied {
    /// Once they are there. A buffer that is ours and was mapped, and is not there, went with its device.
    fn bytes(&self, gpu: &Dispatcher) -> Result<Vec<u8>> {
        let view = self.staging.get_mapped_range(..).or_else(|e| {
            gpu.check()?;
            Err(Error::Lost { reason: format!("{e:?}") })
        })?;
        Ok(view[self.head..self.head + self.bytes].to_vec())
    }
}

/// A tensor's values on their way to the host: of [`Tensor::read_later`].
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct Reading {
    gpu: Dispatcher,
    elem: Elem,
    /// None of a tensor that has no elements.
    copy: Option<Copied>,
    /// None once it has told that they are there.
    told: Option<Told>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Reading {
    pub(crate) fn of(gpu: Dispatcher, tensor: &Tensor, buffer: &wgpu::Buffer) -> Result<Self> {
        gpu.check()?;
        let copied = if tensor.bytes() == 0 { None } else { Some(gpu.copied(tensor, buffer)?) };
        let (copy, told) = copied.unzip();
        Ok(Self { gpu, elem: tensor.elem(), copy, told })
    }

    /// The values, widened to f32, as [`Tensor::read`] gives them; none as long as the device is not done. It does not wait.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub fn values(&mut self) -> Result<Option<Vec<f32>>> {
        Ok(self.bytes()?.map(|bytes| self.elem.decode(&bytes)))
    }

    /// The bytes of the elements, as [`Tensor::read_bytes`] gives them; none as long as the device is not done. It does not wait.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub fn bytes(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(copy) = &self.copy else { return Ok(Some(Vec::new())) };
        if let Some(told) = &mut self.told {
            self.gpu.poll(wgpu::PollType::Poll)?;
            let Some(told) = told.try_recv().transpose() else { return Ok(None) };
            answered(&self.gpu, told)?;
            self.told = None;
        }
        copy.bytes(&self.gpu).map(Some)
    }
}

/// Waits until all that was submitted is done.
pub(super) async fn done(gpu: &Dispatcher) -> Result<()> {
    let (tell, told) = oneshot::channel();
    gpu.queue().on_submitted_work_done(move || {
        let _ = tell.send(Ok(()));
    });
    heard(gpu, told).await
}

/// Waits for a callback. Natively the device must be polled for it, which blocks this thread; a browser calls by itself.
async fn heard(gpu: &Dispatcher, told: Told) -> Result<()> {
    #[cfg(not(target_arch = "wasm32"))]
    gpu.poll(wgpu::PollType::wait_indefinitely())?;
    answered(gpu, told.await)
}

fn answered(
    gpu: &Dispatcher,
    told: std::result::Result<std::result::Result<(), String>, oneshot::Canceled>,
) -> Result<()> {
    match told {
        Ok(Ok(())) => Ok(()),
        Ok(Err(message)) => {
            gpu.check()?;
            Err(Error::Device { what: "read".into(), message })
        }
        // The callback was dropped unheard: only a lost device does that.
        Err(oneshot::Canceled) => {
            gpu.check()?;
            Err(Error::Lost { reason: "it dropped a callback".into() })
        }
    }
}
