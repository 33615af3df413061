//! Finding a device.

#[cfg(not(target_arch = "wasm32"))]
use crate::caps::Caps;
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};

/// What [`Dispatcher::request_with`] looks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// A part of the adapter's or driver's name, whatever the case; `none` asks for no adapter at all.
    /// `GRISTMILL_ADAPTER` where this is `None`.
    pub adapter: Option<String>,
    /// Act as the least device: [`Caps::narrowed`](crate::Caps::narrowed). Also with `GRISTMILL_CAPS=baseline`.
    pub baseline: bool,
}

#[cfg(not(target_arch = "wasm32"))]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

#[cfg(target_arch = "wasm32")]
fn variable(_: &str) -> Option<String> {
    None
}

/// Features that are asked for where the adapter has them: none is needed.
fn wanted() -> wgpu::Features {
    wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::PIPELINE_CACHE
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
}

/// wgpu wants to be told that one knows of an experiment that one asks for.
#[allow(unsafe_code, reason = "the one token that needs it, justified below")]
fn experiments(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        // SAFETY: matrices are loaded from and stored to workgroup memory only, at places that are constants of the shader and within its
        // arrays, by whole subgroups; and the plans that do it are only chosen for devices that say they can.
        unsafe { wgpu::ExperimentalFeatures::enabled() }
    } else {
        wgpu::ExperimentalFeatures::disabled()
    }
}

impl Dispatcher {
    /// What a device is best made with, for an application that makes its own: the features that kernels use where they are there, and the
    /// adapter's limits. Add what you need yourself. None of it is needed: kernels do with the limits of [`Caps::baseline`](crate::Caps::baseline),
    /// which are WebGPU's defaults ([`wgpu::Limits::defaults`]; the downlevel ones have too few storage buffers).
    ///
    /// ```no_run
    /// # async fn own(adapter: wgpu::Adapter) -> Result<(), Box<dyn std::error::Error>> {
    /// use gristmill::{Dispatcher, wgpu};
    ///
    /// let mut wanted = Dispatcher::device_descriptor(&adapter);
    /// wanted.required_features |= wgpu::Features::TEXTURE_FORMAT_16BIT_NORM; // what the rest of the application needs
    /// let (device, queue) = adapter.request_device(&wanted).await?;
    /// let gpu = Dispatcher::adopt(&adapter, device.clone(), queue.clone()).await?;
    /// # Ok(()) }
    /// ```
    pub fn device_descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
        let features = adapter.features() & wanted();
        wgpu::DeviceDescriptor {
            label: Some("gristmill"),
            required_features: features,
            experimental_features: experiments(features),
            required_limits: adapter.limits(),
            ..Default::default()
        }
    }

    /// [`Dispatcher::new`], and what drivers promise is not believed until it is seen: matrix units, and in a browser subgroups, are taken
    /// from the dispatcher where kernels that try them compute something else. That compiles and runs up to five small kernels.
    ///
    /// # Errors
    /// A lost device.
    pub async fn adopt(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        Self::new(adapter, device, queue).proved().await
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn proved(self) -> Result<Self> {
        with_proved_matrices(self).await
    }

    #[cfg(target_arch = "wasm32")]
    async fn proved(self) -> Result<Self> {
        super::web::with_proved_subgroups(self, false).await
    }

    /// A dispatcher on the best adapter: a discrete GPU before an integrated one, before software.
    /// `GRISTMILL_ADAPTER=substring` chooses another.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] with the reason, or what the driver says when the device is made.
    ///
    /// In a browser WebGPU is there on pages from `https:` and from `localhost` only.
    pub async fn request() -> Result<Self> {
        Self::request_with(Request::default()).await
    }

    /// As [`Dispatcher::request`], with choices.
    ///
    /// # Errors
    /// As [`Dispatcher::request`].
    pub async fn request_with(request: Request) -> Result<Self> {
        let name = request.adapter.or_else(|| variable("GRISTMILL_ADAPTER"));
        let baseline = request.baseline || variable("GRISTMILL_CAPS").as_deref() == Some("baseline");
        if name.as_deref() == Some("none") {
            return Err(Error::NoAdapter { reason: "it is asked for by the name `none`".into() });
        }
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            flags: wgpu::InstanceFlags::empty().with_env(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapter = adapter(&instance, name.as_deref()).await?;
        let descriptor = Self::device_descriptor(&adapter);
        #[cfg(not(target_arch = "wasm32"))]
        let made = adapter.request_device(&descriptor);
        #[cfg(target_arch = "wasm32")]
        let (made, subgroups) = super::web::asking_for_subgroups(|| adapter.request_device(&descriptor));
        let (device, queue) = made.await.map_err(|e| Error::Device {
            what: format!("making a device of {}", adapter.get_info().name),
            message: e.to_string(),
        })?;
        let gpu = Self::made(&adapter, device, queue, baseline);
        #[cfg(target_arch = "wasm32")]
        if !baseline {
            return super::web::with_proved_subgroups(gpu, subgroups).await;
        }
        #[cfg(not(target_arch = "wasm32"))]
        let gpu = gpu.proved().await?;
        Ok(gpu)
    }
}

/// `gpu`, without its matrix units if they do not prove to compute: they are an experiment of drivers and wgpu alike. Where they only do from
/// single numbers, they are used so.
#[cfg(not(target_arch = "wasm32"))]
async fn with_proved_matrices(gpu: Dispatcher) -> Result<Dispatcher> {
    let scalars = |caps: &mut Caps| caps.matrix.iter_mut().for_each(|shape| shape.from_vectors = false);
    let vectors = gpu.caps().matrix_units().map(|units| units.from_vectors);
    for from_vectors in [true, false].into_iter().filter(|from| vectors.is_some_and(|may| may || !from)) {
        // Asked of another, so that this one holds nothing of it.
        let asked = gpu.restricted(|caps| {
            if !from_vectors {
                scalars(caps);
            }
        });
        match asked.proves_matrices().await {
            Ok(true) if from_vectors => return Ok(gpu),
            Ok(true) => return Ok(gpu.restricted(scalars)),
            Err(lost @ Error::Lost { .. }) => return Err(lost),
            Ok(false) | Err(_) => {}
        }
    }
    Ok(if vectors.is_some() { gpu.restricted(|caps| caps.matrix.clear()) } else { gpu })
}

#[cfg(not(target_arch = "wasm32"))]
async fn adapter(instance: &wgpu::Instance, name: Option<&str>) -> Result<wgpu::Adapter> {
    use wgpu::DeviceType as Kind;
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    adapters.sort_by_key(|a| match a.get_info().device_type {
        Kind::DiscreteGpu => 0,
        Kind::IntegratedGpu => 1,
        Kind::VirtualGpu => 2,
        Kind::Other => 3,
        Kind::Cpu => 4,
    });
    let describe = |a: &wgpu::Adapter| format!("{} ({})", a.get_info().name, a.get_info().driver);
    let all: Vec<String> = adapters.iter().map(describe).collect();
    let fits = |a: &wgpu::Adapter| name.is_none_or(|n| describe(a).to_lowercase().contains(&n.to_lowercase()));
    adapters.into_iter().find(fits).ok_or_else(|| Error::NoAdapter {
        reason: match name {
            _ if all.is_empty() => "no Vulkan, Metal or DX12 driver answers. On Debian and Ubuntu, \
                `apt-get install mesa-vulkan-drivers` gives a software device"
                .into(),
            Some(name) => format!("none is named {name:?}; there are {}", all.join(", ")),
            None => "every adapter was refused".into(),
        },
    })
}

#[cfg(target_arch = "wasm32")]
async fn adapter(instance: &wgpu::Instance, _: Option<&str>) -> Result<wgpu::Adapter> {
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    instance
        .request_adapter(&options)
        .await
        .map_err(|e| Error::NoAdapter { reason: format!("this browser gives no WebGPU adapter: {e}") })
}
