//! Kernels on a device that the application owns, between its own passes, and what is to be done when the device is lost.
//!
//! ```text
//! cargo run --release --example own_device
//! ```

#![allow(clippy::print_stdout, reason = "a program says what it found")]

use gristmill::ops::norm::RmsNorm;
use gristmill::{Dispatcher, Elem, Error, Tensor, wgpu};
use pollster::block_on;

/// What the application has of the kernels: all of it belongs to one device.
struct Kernels {
    gpu: Dispatcher,
    x: Tensor,
    y: Tensor,
}

impl Kernels {
    fn new(gpu: Dispatcher, shared: &wgpu::Buffer) -> gristmill::Result<Self> {
        // A buffer of the application's is a tensor where it lies: nothing is copied.
        let x = gpu.wrap(shared, 0, [2, 4], Elem::F32)?;
        let y = gpu.zeros([2, 4], Elem::F16)?;
        Ok(Self { gpu, x, y })
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder) -> gristmill::Result<()> {
        let mut rec = self.gpu.record_into(encoder)?;
        rec.run(RmsNorm::new(&self.x, &self.y))?;
        rec.finish(); // our pass has ended, and the encoder is the application's again
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;

    // What kernels like to have, and what the application needs itself.
    let mut descriptor = Dispatcher::device_descriptor(&adapter);
    descriptor.label = Some("the application");
    let (device, queue) = block_on(adapter.request_device(&descriptor))?;
    let gpu = block_on(Dispatcher::adopt(&adapter, device.clone(), queue.clone()))?;

    // The device's callbacks stay the application's, which passes a loss on. (A callback that owned the dispatcher would keep its device alive.)
    let (tell, told) = std::sync::mpsc::channel();
    device.set_device_lost_callback(move |reason, message| {
        let _ = tell.send(format!("{reason:?} {message}").trim().to_lowercase());
    });

    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("shared"),
        size: 32,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let kernels = Kernels::new(gpu.clone(), &buffer)?;

    // A frame: the application's own commands, ours, its own again, and one submission.
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.clear_buffer(&buffer, 16, None);
    queue.write_buffer(&buffer, 0, &Elem::F32.encode(&[3.0, 4.0, 0.0, 0.0]));
    kernels.record(&mut encoder)?;
    queue.submit([encoder.finish()]);
    let y = block_on(kernels.y.read())?;
    println!("{y:?} on {}", gpu.info().name);
    assert!((y[0] - 1.2).abs() < 1e-3 && y[4..] == [0.0; 4]);

    // A device that is lost: every call says so from then on, and another is made as the first was.
    device.destroy();
    let _ = device.poll(wgpu::PollType::wait_indefinitely());
    if let Ok(message) = told.recv_timeout(std::time::Duration::from_secs(1)) {
        gpu.mark_lost(message);
    }
    match gpu.check() {
        Err(Error::Lost { reason }) => println!("the device is gone ({reason}); the next begins as this one did"),
        other => return Err(format!("the loss went unheard: {other:?}").into()),
    }
    Ok(())
}
