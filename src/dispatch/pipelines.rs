//! Pipelines: compose → module → pipeline, inside an error scope; one for each [`PipelineKey`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::caps::Caps;
use crate::dispatch::faults::Faults;
use crate::error::Result;
use crate::plan::{Access, Bind, PipelineKey, Step};
use crate::wgsl::{self, Composed};

/// A compiled kernel and the layout of its one bind group.
pub(crate) struct Pipeline {
    pub raw: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    /// Its number among the pipelines, for the key of a bind group.
    pub id: u64,
}

/// All pipelines of a dispatcher.
pub(crate) struct Pipelines {
    ready: HashMap<PipelineKey, Arc<Pipeline>>,
    #[cfg(not(target_arch = "wasm32"))]
    disk: Option<super::disk::DiskCache>,
}

impl Pipelines {
    #[cfg_attr(target_arch = "wasm32", expect(unused_variables, reason = "browsers keep their own cache"))]
    pub fn new(adapter: &wgpu::AdapterInfo, device: &wgpu::Device, caps: &Caps) -> Self {
        Self {
            ready: HashMap::new(),
            #[cfg(not(target_arch = "wasm32"))]
            disk: caps.pipeline_cache.then(|| super::disk::DiskCache::open(adapter, device)).flatten(),
        }
    }

    pub fn len(&self) -> usize {
        self.ready.len()
    }

    pub fn get(&mut self, device: &wgpu::Device, caps: &Caps, faults: &Faults, step: &Step) -> Result<Arc<Pipeline>> {
        if let Some(found) = self.ready.get(&step.key) {
            return Ok(found.clone());
        }
        let composed = wgsl::compose(&step.key, caps.target, wgsl::Loops::of(caps.kind))?;
        dump(&step.key, &composed)?;
        let made = Arc::new(self.compile(device, faults, step, composed)?);
        self.ready.insert(step.key.clone(), made.clone());
        Ok(made)
    }

    fn compile(&self, device: &wgpu::Device, faults: &Faults, step: &Step, composed: Composed) -> Result<Pipeline> {
        let kernel = step.key.kernel;
        let label = step.key.to_string();
        let entries: Vec<_> = std::iter::once(params_entry()).chain(step.binds.iter().map(storage_entry)).collect();
        let source = wgpu::ShaderSource::Wgsl(composed.text.clone().into());
        let complaint = move |error: wgpu::Error| {
            let message = error.to_string();
            composed.error(kernel, complained_line(&message).unwrap_or(0), message)
        };
        let (raw, layout) = faults.scoped(device, complaint, || {
            let module = module(device, wgpu::ShaderModuleDescriptor { label: Some(&label), source });
            let layout = device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel), entries: &entries });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(kernel),
                bind_group_layouts: &[Some(&layout)],
                ..Default::default()
            });
            let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Kernels write every word of workgroup memory before they read it.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: self.cache(),
            });
            (raw, layout)
        })?;
        Ok(Pipeline { raw, layout, id: self.ready.len() as u64 })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn cache(&self) -> Option<&wgpu::PipelineCache> {
        self.disk.as_ref().map(|d| &d.cache)
    }

    #[cfg(target_arch = "wasm32")]
    fn cache(&self) -> Option<&wgpu::PipelineCache> {
        None
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Drop for Pipelines {
    fn drop(&mut self) {
        if let Some(disk) = self.disk.as_ref().filter(|_| !self.ready.is_empty()) {
            disk.save();
        }
    }
}

/// The shader module, with bounds checks but without the guard against endless loops that naga would add:
/// a counter in every loop keeps drivers from unrolling it.
#[allow(unsafe_code, reason = "the one flag that needs it, justified below")]
fn module(device: &wgpu::Device, source: wgpu::ShaderModuleDescriptor<'_>) -> wgpu::ShaderModule {
    let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
    // SAFETY: every loop under `shaders/` counts up to, or down from, a value fixed before it starts, so none is
    // endless; all other checks stay on.
    unsafe { device.create_shader_module_trusted(source, checks) }
}

fn params_entry() -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: 0,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: None,
        },
        count: None,
    }
}

fn storage_entry(bind: &Bind) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: bind.binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: bind.access == Access::Read },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}

/// The line that a compiler's message is about: naga says `wgsl:12:5`, Tint says `:12:5 error`.
fn complained_line(message: &str) -> Option<u32> {
    let mut parts = message.split(':').map(|p| p.trim_matches(|c: char| !c.is_ascii_digit()));
    parts.find_map(|p| p.parse().ok())
}

/// `GRISTMILL_DUMP=dir` writes every composed shader.
#[cfg(not(target_arch = "wasm32"))]
fn dump(key: &PipelineKey, composed: &Composed) -> Result<()> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let Ok(dir) = std::env::var("GRISTMILL_DUMP") else { return Ok(()) };
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let name = format!("{}-{:016x}.wgsl", key.kernel.replace('/', "-"), hasher.finish());
    let path = std::path::Path::new(&dir).join(name);
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&path, format!("// {key}\n{}", composed.text)))
        .map_err(|e| crate::Error::Device { what: format!("GRISTMILL_DUMP={dir}"), message: e.to_string() })
}

#[cfg(target_arch = "wasm32")]
fn dump(_: &PipelineKey, _: &Composed) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_line_of_a_complaint_is_found() {
        let naga = "Shader 'x' parsing error: expected ';'\n  ┌─ wgsl:12:5\n";
        assert_eq!(super::complained_line(naga), Some(12));
        assert_eq!(super::complained_line(":7:3 error: no such name"), Some(7));
        assert_eq!(super::complained_line("no line here"), None);
    }
}
