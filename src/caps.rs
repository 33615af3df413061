//! What a device can do, as data.
//!
//! Choosing a plan reads [`Caps`] and nothing else, so that plans can be tested for devices that
//! nobody here owns, and any device can be made to act like a lesser one.

/// The most that a binding has: shaders count its bytes in 32 bits, and naga's bounds checks for Metal clamp what a larger one has.
const MOST_BINDING_BYTES: u64 = (4 << 30) - 4;

/// What sort of device it is. Only a hint: `Cpu` devices (lavapipe, SwiftShader, WARP) get plans of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A software device.
    Cpu,
    /// Not known: a virtual device, or a browser that does not say.
    Unknown,
}

impl DeviceKind {
    /// As written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Cpu => "CPU",
            Self::Unknown => "unknown",
        }
    }
}

/// Where WGSL goes: browsers want `enable subgroups;`, naga 30 rejects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Through naga to Vulkan, Metal or DX12.
    Native,
    /// To a browser, verbatim.
    Web,
}

impl Target {
    /// The filling of the slot `agree`. Whether a browser's `workgroupUniformLoad` takes atomics it does not tell.
    pub(crate) fn agree(self) -> &'static str {
        match self {
            Self::Native => "slot/agree/atomic",
            Self::Web => "slot/agree/copied",
        }
    }
}

/// The sizes that a subgroup may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subgroups {
    /// The smallest, a power of two, at least 4.
    pub min: u32,
    /// The largest, at most 128.
    pub max: u32,
}

/// A matrix-unit shape: `M×N×K`, f16 operands or f32, accumulating in f32 or f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixShape {
    /// Rows, columns and inner dimension, which are equal for every shape that wgpu 30 offers.
    pub size: u32,
    /// Operands are f16 (else f32).
    pub f16_operands: bool,
    /// Accumulators are f32 (else f16).
    pub f32_accumulates: bool,
    /// A matrix may be loaded from an array of vectors, as by Vulkan (else of scalars only, as by Metal).
    pub from_vectors: bool,
}

/// The matrix units that our kernels use: f16 operands, f32 sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixUnits {
    /// Rows, columns and inner dimension: 8 or 16.
    pub size: u32,
    /// Lanes of a subgroup, always as many.
    pub subgroup: u32,
    /// A matrix may be loaded from an array of vectors.
    pub from_vectors: bool,
}

impl MatrixUnits {
    /// The filling of the slot `matrix`.
    pub(crate) fn filling(self) -> &'static str {
        match (self.size, self.from_vectors) {
            (16, true) => "slot/matrix/m16_quads",
            (16, false) => "slot/matrix/m16",
            (_, true) => "slot/matrix/m8_quads",
            (_, false) => "slot/matrix/m8",
        }
    }
}

/// What a device can do. Sizes are in bytes where the name ends in `_bytes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caps {
    /// What sort of device it is.
    pub kind: DeviceKind,
    /// Which dialect of WGSL it takes.
    pub target: Target,
    /// `enable f16;` with f16 in storage buffers.
    pub f16: bool,
    /// Products of four int8 codes at a time (`dot4I8Packed`): of naga always, of a browser where its WGSL has
    /// `packed_4x8_integer_dot_product`.
    pub int8_products: bool,
    /// Subgroup operations, with the sizes that may occur.
    pub subgroups: Option<Subgroups>,
    /// Matrix units (`EXPERIMENTAL_COOPERATIVE_MATRIX`).
    pub matrix: Vec<MatrixShape>,
    /// Timestamp queries at pass boundaries.
    pub timestamps: bool,
    /// The driver's pipeline cache can be kept.
    pub pipeline_cache: bool,
    /// Storage buffers that one shader may bind.
    pub storage_buffers: u32,
    /// The widest storage binding.
    pub storage_binding_bytes: u64,
    /// The largest buffer.
    pub buffer_bytes: u64,
    /// The widest uniform binding.
    pub uniform_binding_bytes: u64,
    /// Alignment of uniform offsets.
    pub uniform_align_bytes: u32,
    /// Workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations in a workgroup.
    pub invocations: u32,
    /// Workgroups in one dimension of a grid.
    pub workgroups: u32,
}

impl Caps {
    /// The default limits of WebGPU, without any feature: what every device has.
    pub fn baseline() -> Self {
        Self {
            kind: DeviceKind::Unknown,
            target: Target::Native,
            f16: false,
            int8_products: false,
            subgroups: None,
            matrix: Vec::new(),
            timestamps: false,
            pipeline_cache: false,
            storage_buffers: 8,
            storage_binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            uniform_binding_bytes: 64 << 10,
            uniform_align_bytes: 256,
            workgroup_bytes: 16 << 10,
            invocations: 256,
            workgroups: 65_535,
        }
    }

    /// The caps of a device that wgpu made. Feature bits count only where the device was created with them.
    pub fn from_device(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Self {
        let (features, limits, info) = (device.features(), device.limits(), adapter.get_info());
        let web = info.backend == wgpu::Backend::BrowserWebGpu;
        let has = |f: wgpu::Features| features.contains(f);
        let subgroups = has(wgpu::Features::SUBGROUP)
            .then_some(Subgroups { min: info.subgroup_min_size, max: info.subgroup_max_size });
        let matrix =
            if has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) { matrix_shapes(adapter) } else { Vec::new() };
        Self {
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
                wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
                wgpu::DeviceType::Cpu => DeviceKind::Cpu,
                _ => DeviceKind::Unknown,
            },
            target: if web { Target::Web } else { Target::Native },
            f16: has(wgpu::Features::SHADER_F16),
            int8_products: knows_int8_products(),
            subgroups,
            matrix,
            timestamps: has(wgpu::Features::TIMESTAMP_QUERY),
            pipeline_cache: has(wgpu::Features::PIPELINE_CACHE),
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            // Shaders count bytes in 32 bits, whatever the device says.
            storage_binding_bytes: limits.max_storage_buffer_binding_size.min(MOST_BINDING_BYTES),
            buffer_bytes: limits.max_buffer_size,
            uniform_binding_bytes: limits.max_uniform_buffer_binding_size,
            uniform_align_bytes: limits.min_uniform_buffer_offset_alignment,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            workgroups: limits.max_compute_workgroups_per_dimension,
        }
    }

    /// The matrix units that take f16 and sum in f32, the larger where there are two, in subgroups that are always as large. Units that sum
    /// in f16 are no use to us.
    pub fn matrix_units(&self) -> Option<MatrixUnits> {
        let ours = |shape: &&MatrixShape| shape.f16_operands && shape.f32_accumulates && [8, 16].contains(&shape.size);
        let shape = self.matrix.iter().filter(ours).max_by_key(|shape| shape.size).filter(|_| self.f16)?;
        let subgroup = self.subgroups.filter(|s| s.min == s.max && s.min.is_power_of_two() && s.min >= 8)?;
        Some(MatrixUnits { size: shape.size, subgroup: subgroup.min, from_vectors: shape.from_vectors })
    }

    /// These caps with everything beyond [`Caps::baseline`] taken away: the same device, acting as
    /// the least one. `kind` and `target` stay.
    pub fn narrowed(&self) -> Self {
        let base = Self::baseline();
        Self {
            kind: self.kind,
            target: self.target,
            timestamps: self.timestamps,
            storage_buffers: self.storage_buffers.min(base.storage_buffers),
            storage_binding_bytes: self.storage_binding_bytes.min(base.storage_binding_bytes),
            buffer_bytes: self.buffer_bytes.min(base.buffer_bytes),
            uniform_binding_bytes: self.uniform_binding_bytes.min(base.uniform_binding_bytes),
            uniform_align_bytes: self.uniform_align_bytes.max(base.uniform_align_bytes),
            workgroup_bytes: self.workgroup_bytes.min(base.workgroup_bytes),
            invocations: self.invocations.min(base.invocations),
            workgroups: self.workgroups.min(base.workgroups),
            ..base
        }
    }

    /// A laptop with an Apple M-series chip, as Metal reports it.
    pub fn apple_m() -> Self {
        Self {
            kind: DeviceKind::Integrated,
            f16: true,
            int8_products: true,
            subgroups: Some(Subgroups { min: 32, max: 32 }),
            matrix: vec![
                MatrixShape { size: 8, f16_operands: true, f32_accumulates: true, from_vectors: false },
                MatrixShape { size: 8, f16_operands: false, f32_accumulates: true, from_vectors: false },
            ],
            timestamps: true,
            storage_buffers: 29,
            storage_binding_bytes: MOST_BINDING_BYTES,
            buffer_bytes: 8 << 30,
            workgroup_bytes: 32 << 10,
            invocations: 1024,
            ..Self::baseline()
        }
    }

    /// A desktop NVIDIA GPU, as Vulkan reports it.
    pub fn nvidia() -> Self {
        Self {
            kind: DeviceKind::Discrete,
            f16: true,
            int8_products: true,
            subgroups: Some(Subgroups { min: 32, max: 32 }),
            matrix: vec![MatrixShape { size: 16, f16_operands: true, f32_accumulates: true, from_vectors: true }],
            timestamps: true,
            pipeline_cache: true,
            storage_buffers: 1 << 20,
            storage_binding_bytes: (1 << 31) - 4,
            buffer_bytes: 1 << 40,
            uniform_align_bytes: 64,
            workgroup_bytes: 48 << 10,
            invocations: 1024,
            ..Self::baseline()
        }
    }

    /// A phone with an Adreno GPU, as Vulkan reports it: wide subgroups whose size varies.
    pub fn adreno() -> Self {
        Self {
            kind: DeviceKind::Integrated,
            f16: true,
            int8_products: true,
            subgroups: Some(Subgroups { min: 64, max: 128 }),
            timestamps: true,
            pipeline_cache: true,
            storage_buffers: 24,
            uniform_align_bytes: 64,
            workgroup_bytes: 32 << 10,
            invocations: 1024,
            ..Self::baseline()
        }
    }

    /// A laptop with an Intel GPU, as Vulkan reports it: subgroups of 8 to 32.
    pub fn intel() -> Self {
        Self {
            kind: DeviceKind::Integrated,
            f16: true,
            int8_products: true,
            subgroups: Some(Subgroups { min: 8, max: 32 }),
            timestamps: true,
            pipeline_cache: true,
            storage_buffers: 1 << 16,
            storage_binding_bytes: 1 << 30,
            buffer_bytes: 1 << 31,
            uniform_align_bytes: 64,
            workgroup_bytes: 64 << 10,
            invocations: 1024,
            ..Self::baseline()
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn knows_int8_products() -> bool {
    true
}

/// A feature of the browser's language, which no device has or lacks.
#[cfg(target_arch = "wasm32")]
fn knows_int8_products() -> bool {
    use wasm_bindgen::{JsCast as _, JsValue};
    let get = |of: JsValue, name: &&str| js_sys::Reflect::get(&of, &(*name).into()).ok();
    let set =
        ["navigator", "gpu", "wgslLanguageFeatures"].iter().try_fold(js_sys::global().into(), get).unwrap_or_default();
    let has = get(set.clone(), &"has").unwrap_or_default().unchecked_into::<js_sys::Function>();
    has.call1(&set, &"packed_4x8_integer_dot_product".into()).is_ok_and(|v| v.is_truthy())
}

/// The square shapes with f16 or f32 operands that the adapter offers.
fn matrix_shapes(adapter: &wgpu::Adapter) -> Vec<MatrixShape> {
    use wgpu::CooperativeScalarType as Scalar;
    let mut shapes: Vec<MatrixShape> = adapter
        .cooperative_matrix_properties()
        .iter()
        .filter(|p| p.m_size == p.n_size && p.n_size == p.k_size)
        .filter(|p| matches!(p.ab_type, Scalar::F16 | Scalar::F32))
        .filter(|p| matches!(p.cr_type, Scalar::F16 | Scalar::F32))
        .map(|p| MatrixShape {
            size: p.m_size,
            f16_operands: p.ab_type == Scalar::F16,
            f32_accumulates: p.cr_type == Scalar::F32,
            from_vectors: adapter.get_info().backend == wgpu::Backend::Vulkan,
        })
        .collect();
    shapes.dedup();
    shapes
}
