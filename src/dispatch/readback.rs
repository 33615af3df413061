//! Writing to and reading from tensors.

use futures::channel::oneshot;

use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};
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
        let bytes = tensor.bytes();
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let from = tensor.offset_bytes() / 4 * 4;
        let head = (tensor.offset_bytes() - from) as usize;
        let size = (head as u64 + bytes).next_multiple_of(4);
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
        let own = self.own_answer();
        heard(self, told).await?;
        own.told().await?;
        self.settle().await?;
        let view = staging
            .get_mapped_range(..)
            .map_err(|e| Error::Device { what: "read".into(), message: format!("{e:?}") })?;
        Ok(view[head..head + bytes as usize].to_vec())
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
async fn heard(gpu: &Dispatcher, told: oneshot::Receiver<std::result::Result<(), String>>) -> Result<()> {
    #[cfg(not(target_arch = "wasm32"))]
    gpu.poll(wgpu::PollType::wait_indefinitely())?;
    match told.await {
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
